"""The first stage at which the C++ engine parts from the debug runtime.

An engine gives the model's outputs only. So it is run on a copy of the artifact whose outputs are what its stages give.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor
from torch.export.pt2_archive._package import PT2ArchiveWriter  # private in name: what the artifact's writer uses

from recpile.pycompiler.artifact import layout
from recpile.pycompiler.artifact.reader import Artifact
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.debugging.describe import told_difference, told_tensor
from recpile.pycompiler.inputs import check_inputs
from recpile.pycompiler.parity.comparison import parity_of
from recpile.pycompiler.parity.through_engine import StartEngine
from recpile.pycompiler.schema import AXES, CANDIDATE_TO_REQUEST


def told_engine(
    debug: DebugRuntime,
    asked: Sequence[Mapping[str, Tensor | np.ndarray]],
    own: Sequence[Mapping[str, Tensor]],
    answered: Sequence[Mapping[str, np.ndarray]],
    start: StartEngine,
) -> tuple[str, ...]:
    """Of the first request whose answers differ, in lines: its outputs, and the first stage with inputs and outputs.

    asked: the requests' inputs. own, answered: what the debug runtime and the engine said to them.
    """
    for inputs, wanted, got in zip(asked, own, answered, strict=True):
        pairs = [(name, one, torch.as_tensor(got[name])) for name, one in wanted.items()]
        told = [f"output {name}: {told_difference(a, b)}" for name, a, b in pairs if not parity_of([a], [b]).max <= 0]
        if told:
            return (*told, *_told_stage(debug, check_inputs(debug.manifest, inputs)[0], start))
    return ()


def _told_stage(debug: DebugRuntime, flat: Mapping[str, Tensor], start: StartEngine) -> tuple[str, ...]:
    values: dict[str, Tensor] = dict(flat)
    debug.run(flat, hook=lambda stage, given: values.update(given))
    try:
        got = _given_by_engine(debug.artifact, flat, start)
    except (OSError, RuntimeError, ValueError) as error:  # no room for the copy, or an engine that does not take it
        return (f"at which stage cannot be said: {error}",)
    for stage in debug.manifest["stages"]:
        for name in (output["name"] for output in stage["outputs"]):
            if name not in got:  # a row an id: no output of a model is that
                continue
            given = got[name].view(values[name].dtype) if values[name].dtype == torch.bfloat16 else got[name]
            if not parity_of([values[name]], [given]).max <= 0:
                read = [f"reads {one}: {told_tensor(values[one])}" for one in stage["inputs"] if one in values]
                told = (
                    f"the engine gives {name}: {told_tensor(given)}",
                    f"the debug runtime: {told_tensor(values[name])}",
                )
                return (f"first at stage {stage['name']}", *read, *told, told_difference(values[name], given))
    return ("what its stages give, as far as that can be asked for, is the same",)


def _given_by_engine(artifact: Artifact, flat: Mapping[str, Tensor], start: StartEngine) -> dict[str, Tensor]:
    sent = {name: value.numpy() for name, value in flat.items() if name != CANDIDATE_TO_REQUEST}
    with tempfile.TemporaryDirectory() as folder:
        engine = start(_giving_all(artifact, Path(folder) / "stages.pt2"))
        try:
            answer = engine.infer(sent)
        finally:
            engine.stop()
    return {name: torch.from_numpy(np.array(value)) for name, value in answer.items()}


def _giving_all(artifact: Artifact, path: Path) -> Path:
    """A copy whose outputs are the values of all stages with a row a candidate or request."""
    given = [output for stage in artifact.manifest["stages"] for output in stage["outputs"]]
    outputs = [{**one, "value": one["name"]} for one in given if one["shape"] and one["shape"][0] in AXES]
    with PT2ArchiveWriter(str(path)) as writer:
        for name in artifact.manifest["files"]:
            writer.write_bytes(name, artifact.entry(name))
        text = json.dumps({**artifact.manifest, "outputs": outputs}).encode()
        writer.write_bytes(layout.MANIFEST, text)
        writer.write_bytes(layout.MANIFEST_SUM, xxhash.xxh3_128_hexdigest(text).encode())
    return path
