"""How far a compiled model is from its eager original: differences on random inputs, quality on labelled data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recpile.pycompiler.capture import build_inputs
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.eval_data import EvalData, take_rows
from recpile.pycompiler.evaluation.statistics import quality_of, relative_loss, relative_loss_interval
from recpile.pycompiler.metrics import auc, check_scores, normalized_entropy
from recpile.pycompiler.outputs import named_outputs
from recpile.pycompiler.parity.eager_faults import is_finite, told_fault
from recpile.pycompiler.program import Program
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.row_mixing import mixing_operators
from recpile.pycompiler.run_stages import run_stages
from recpile.pycompiler.schema import CANDIDATE, CANDIDATE_TO_REQUEST, InputSchema
from recpile.pycompiler.source_lines import source_of_error

_BATCHES = (1, 2, 3, 17, 512)


class ParityError(RuntimeError):
    """An artifact whose answers are not the model's."""


@dataclass(frozen=True)
class Parity:
    """Largest and mean absolute difference over all outputs and rows compared."""

    max: float
    mean: float


def join_rows(schema: InputSchema, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inverse of take_rows, and what the runtime's coalescer does: candidates of all `parts`, key by key."""
    flat: dict[str, Tensor] = {}
    if schema.has_requests:
        maps = [part[CANDIDATE_TO_REQUEST] for part in parts]
        before = np.cumsum([0, *(int(one.max()) + 1 for one in maps)])
        flat[CANDIDATE_TO_REQUEST] = torch.cat([one + int(first) for one, first in zip(maps, before, strict=False)])
    for one in schema.inputs:
        names = [tensor.name for tensor in one.tensors()]
        if len(names) == 1:
            flat[one.name] = torch.cat([part[one.name] for part in parts])
            continue
        lengths = [part[f"{one.name}.lengths"] for part in parts]
        flat[f"{one.name}.lengths"] = torch.cat(lengths, dim=-1)
        totals = [part.reshape(-1, part.shape[-1]).sum(1).tolist() for part in lengths]
        for name in names:
            if not name.endswith(".lengths"):
                by_key = zip(*(part[name].split(total) for part, total in zip(parts, totals, strict=True)), strict=True)
                flat[name] = torch.cat([piece for key in by_key for piece in key])
    return flat


def check_rows_are_independent(model: nn.Module, schema: InputSchema, parts: Sequence[Mapping[str, Tensor]]) -> None:
    """ParityError if a candidate's score depends on the others of its batch: requests could not share one."""
    together = eager(model, schema, join_rows(schema, parts))
    apart = [eager(model, schema, part) for part in parts]
    for i, name in enumerate(schema.outputs):
        # At one candidate a bare squeeze() drops the axis: the values are what is compared.
        alone = torch.cat([outputs[i].reshape(-1, *together[i].shape[1:]) for outputs in apart])
        if alone.shape != together[i].shape or not torch.allclose(alone, together[i], rtol=1e-3, atol=1e-4):
            worst = compare([alone], [together[i]]).max if alone.shape == together[i].shape else float("nan")
            raise ParityError(
                f"output '{name}' of a candidate depends on the other candidates of its batch (it changes by "
                f"{worst:.3g}): requests cannot be coalesced. Compute each row's answer from that row, and rank or "
                "normalize a request's answers where it came from; look for sums, softmax or normalization over the "
                "batch axis, for its size, and for positions counted along it"
            )


def eager(model: nn.Module, schema: InputSchema, flat: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    if schema.has_requests and CANDIDATE_TO_REQUEST not in flat:
        flat = {**flat, CANDIDATE_TO_REQUEST: _of_one_request(schema, flat)}
    with torch.no_grad():
        return named_outputs(model(**build_inputs(schema, flat)), schema)


def _of_one_request(schema: InputSchema, flat: Mapping[str, Tensor]) -> Tensor:
    spec = next(spec for spec in schema.tensors() if CANDIDATE in spec.shape)
    return torch.zeros(flat[spec.name].shape[spec.shape.index(CANDIDATE)], dtype=torch.int64)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """The model in eval mode for a while; then every module is in the mode that it was in."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def compare(wanted: list[Tensor], got: list[Tensor]) -> Parity:
    differences = torch.cat([(a.double() - b.double()).abs().reshape(-1) for a, b in zip(wanted, got, strict=True)])
    return Parity(float(differences.max()), float(differences.mean()))


def measure_quality(model: nn.Module, program: Program, data: EvalData) -> dict:
    """The manifest's `quality`: AUC and normalized entropy of the model and of the compiled stages on `data`."""
    index = program.schema.outputs.index(data.output) if data.output else 0
    before, after = [], []
    for flat in data.batches(program.schema):
        before.append(eager(model, program.schema, flat)[index])
        after.append(run_stages(program, flat)[index])
    scores = {"eager": torch.cat(before), "artifact": torch.cat(after)}
    check_scores(scores["eager"].float().numpy(), program.schema.outputs[index], data.name)
    labels = np.asarray(data.labels)
    measured = {
        name: {
            "auc": auc(labels, one.float().numpy()),
            "normalized_entropy": normalized_entropy(labels, one.float().numpy()),
        }
        for name, one in scores.items()
    }
    parity = compare([scores["eager"]], [scores["artifact"]])
    return {
        "data": data.name,
        "samples": len(labels),
        **measured,
        "intervals": {name: quality_of(labels, one.float().numpy())["intervals"] for name, one in scores.items()},
        "normalized_entropy_loss": {
            "relative": relative_loss(labels, *(one.float().numpy() for one in scores.values())),
            "interval": relative_loss_interval(labels, *(one.float().numpy() for one in scores.values())),
        },
        "max_difference": parity.max,
        "mean_difference": parity.mean,
    }


def check_batches(
    manifest: dict, schema: InputSchema, data: EvalData | None, whole: bool = False
) -> Iterator[dict[str, Tensor]]:
    """Flat inputs to compare on, small batches to large: rows of `data` or else random ones, and random without ids.

    With `whole`, random dense values are 0 or 1.
    """
    for seed, batch in enumerate(_BATCHES):
        if data is not None:
            yield take_rows(schema, data.inputs, 0, min(batch, len(data.labels)))
            continue
        for longest in (4, 0):  # and once with every bag empty
            yield random_inputs(manifest, batch, seed, longest, requests=3, whole=whole)


def answered_batches(
    model: nn.Module, schema: InputSchema, manifest: dict, data: EvalData | None
) -> list[tuple[dict[str, Tensor], tuple[Tensor, ...]]]:
    """Flat inputs and what the model answers: rows of `data`, and random ones as far as the model takes them.

    ParityError if it takes none (a model that computes ids from its inputs may not), or answers NaN or infinity.
    """
    given = [(flat, eager(model, schema, flat)) for flat in check_batches(manifest, schema, data)] if data else []
    for flat, answer in given:
        _check_finite(model, schema, flat, answer)
    refused: list[str] = []
    for whole in (False, True):
        try:
            batches = [(flat, eager(model, schema, flat)) for flat in check_batches(manifest, schema, None, whole)]
        except Exception as error:  # an id out of range, or whatever the model's own code raises
            source = source_of_error(error)
            refused.append(str(error).split("\n")[0] + (f" ({source})" if source else ""))
            continue
        if given:  # random rows may lie where the model is not defined; the user's own may not
            return given + [(flat, answer) for flat, answer in batches if is_finite(answer)]
        for flat, answer in batches:
            _check_finite(model, schema, flat, answer)
        return batches
    if given:
        return given
    raise ParityError(
        f"the model could not be checked on random inputs: {refused[0]}. If it computes ids from its inputs, give "
        "labelled rows of your own (--eval-data)"
    )


def _check_finite(
    model: nn.Module, schema: InputSchema, flat: Mapping[str, Tensor], answer: tuple[Tensor, ...]
) -> None:
    if not is_finite(answer):
        raise ParityError(told_fault(lambda: eager(model, schema, flat)))


def check_artifact(path: Path, model: nn.Module, program: Program, data: EvalData | None, exact: bool = True) -> Parity:
    """Runs the written artifact beside the model, on rows of `data` or else on random inputs, in several batch sizes.

    ParityError if fp32 answers differ beyond what difference_of allows (unless a pass was not `exact`), if the model
    cannot run on random ids, or if its rows depend on each other.
    """
    runtime = DebugRuntime(path)
    batches = answered_batches(model, program.schema, runtime.manifest, data)
    try:  # first: where rows meet, sums are large, and the artifact may round them otherwise
        check_rows_are_independent(model, program.schema, [flat for flat, _ in batches][:-1])
    except ParityError as error:
        raise ParityError(f"{error}{mixing_operators(program.graph, program.schema)}") from None
    wanted = [one for _, answers in batches for one in answers]
    got = []
    for flat, _ in batches:
        answers = runtime.run(flat)
        got += [answers[name] for name in program.schema.outputs]
    parity = compare(wanted, got)
    allowed = difference_of(wanted, got)[1]
    exact = exact and all(t.dtype == "fp32" for t in program.tables.values())
    exact = exact and all(s.precision == "fp32" for s in program.stages)
    if exact and not parity.max <= allowed:
        raise ParityError(
            f"the fp32 artifact differs from the model by {parity.max:.3g} (at most {allowed:.1g} expected), so "
            "it was not written; a model that draws random numbers, or that is not in eval mode, does that"
        )
    return parity
