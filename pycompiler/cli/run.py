"""`recpile run`: runs an artifact in the Python debug runtime, stage by stage."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recpile.pycompiler.cli.console import make_console
from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.random_inputs import random_inputs


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="run an artifact in the Python debug runtime", description=__doc__)
    parser.add_argument("artifact", metavar="ARTIFACT")
    add_input_options(parser)
    parser.add_argument("--output", "-o", metavar="FILE", help="write the model's outputs to this .npz")
    parser.add_argument("--dump", metavar="FILE", help="write what every stage gave to this .npz, by value name")
    parser.add_argument(
        "--code",
        default="compiled",
        choices=("compiled", "exported"),
        help="run the compiled stages, or their exported programs",
    )
    parser.set_defaults(run=run)


def add_input_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--inputs", metavar="FILE", help=".npz with one array a flat input (x, x.values, x.lengths, …)")
    source.add_argument("--random", type=int, metavar="B", help="random inputs of B candidates (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="of random inputs (default 0)")


def read_inputs(options: argparse.Namespace, manifest: dict) -> dict[str, Tensor]:
    if options.inputs is None:
        return random_inputs(manifest, options.random or 16, options.seed)
    known = {tensor["name"] for one in manifest["inputs"] for tensor in one["tensors"]}
    with np.load(options.inputs) as arrays:
        # An evaluation file holds labels as well.
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files if name in known}


def run(options: argparse.Namespace) -> int:
    runtime = DebugRuntime(options.artifact, options.code)
    console = make_console()
    dumped: dict[str, np.ndarray] = {}

    def show(stage: str, given: Mapping[str, Tensor]) -> None:
        console.print(f"stage {stage}")
        for name, value in given.items():
            console.print(f"  {name} {_described(value)}", soft_wrap=True)
            dumped[name] = _numpy(value)

    outputs = runtime.run(read_inputs(options, runtime.manifest), hook=show)
    for name, value in outputs.items():
        console.print(f"output {name} {_described(value)}", soft_wrap=True)
    if options.output:
        _save(options.output, {name: _numpy(value) for name, value in outputs.items()})
    if options.dump:
        _save(options.dump, dumped)
    return 0


def _described(value: Tensor) -> str:
    floats = value.float()
    bad = int((~torch.isfinite(floats)).sum())
    text = f"{list(value.shape)} min {floats.min():.6g} mean {floats.mean():.6g} max {floats.max():.6g}"
    return text + (f", {bad} NaN or Inf" if bad else "")


def _numpy(value: Tensor) -> np.ndarray:
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _save(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    with Path(path).open("wb") as file:  # a file, so that numpy does not append to the name
        np.savez(file, allow_pickle=False, **arrays)
