"""What tests of captured programs share: small modules, nodes counted, answers beside eager's."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import Node
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recpile.passes.graph import LOOKUPS, LookupCall
from recpile.pycompiler.capture import capture
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import eager, run_stages
from recpile.pycompiler.schema import Dense, Input, InputSchema, KeyedJagged

aten = torch.ops.aten


class Towers(nn.Module):
    """Collections over one KJT, their columns side by side."""

    def __init__(self, *collections: EmbeddingBagCollection) -> None:
        super().__init__()
        self.bags = nn.ModuleList(collections)

    def forward(self, sparse: KeyedJaggedTensor) -> Tensor:
        return torch.cat([bags(sparse).values() for bags in self.bags], dim=1)


class Computes(nn.Module):
    """`function` of the inputs by name; its first argument is the module, which holds the parts."""

    def __init__(self, function: Callable[..., object], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, **inputs: object) -> object:
        return self.function(self, **inputs)


def kjt(*keys: str, name: str = "sparse", weighted: bool = False) -> KeyedJagged:
    return KeyedJagged(name, keys, weighted=weighted)


def captured(model: nn.Module, *inputs: Input, outputs: tuple[str, ...] = ("score",)) -> Program:
    return capture(model.eval(), InputSchema(inputs, outputs), "small")


def count(program: Program, *targets: object) -> int:
    """How many nodes of the program's graph call one of `targets`."""
    return sum(node.target in targets for node in program.graph.graph.nodes)


def lookup_nodes(program: Program) -> list[Node]:
    return [node for node in program.graph.graph.nodes if node.target in LOOKUPS]


def lookup_calls(program: Program) -> list[LookupCall]:
    return [LookupCall.of(node) for node in lookup_nodes(program)]


def reasons(program: Program, pass_name: str, did: bool) -> dict[str, str]:
    """The log of one pass: subject -> reason, of what it did or of what it declined."""
    return {note.subject: note.reason for note in program.log if note.pass_name == pass_name and note.did is did}


def draw(schema: InputSchema, batch: int, ids: int = 5, longest: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Random flat inputs: ids below `ids`, bags of 0 to `longest` of them."""
    make = torch.Generator().manual_seed(seed)
    flat: dict[str, Tensor] = {}
    for one in schema.inputs:
        if isinstance(one, Dense):
            drawn = torch.rand((batch, *one.shape), generator=make) * ids
            flat[one.name] = drawn.to(one.dtype)
            continue
        values, lengths, *weights = one.tensors()
        sizes = [batch if isinstance(size, str) else size for size in lengths.shape]
        flat[lengths.name] = torch.randint(0, longest + 1, sizes, generator=make, dtype=lengths.dtype)
        total = int(flat[lengths.name].sum())
        flat[values.name] = torch.randint(0, ids, (total,), generator=make, dtype=values.dtype)
        flat.update({tensor.name: torch.rand(total, generator=make) for tensor in weights})
    return {spec.name: flat[spec.name] for spec in schema.tensors()}


def answers(program: Program, flat: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """What the program computes: by its stages if it is split, else by its graph."""
    if program.stages:
        return run_stages(program, flat)
    with torch.no_grad():
        return program.graph.module(check_guards=False)(flat)


def farthest(model: nn.Module, program: Program, ids: int = 5) -> float:
    """The largest difference from eager, over several batch sizes, once with every bag empty. Shapes must be equal."""
    largest = 0.0
    for seed, batch in enumerate((1, 2, 3, 17)):
        for longest in (3, 0):
            flat = draw(program.schema, batch, ids, longest, seed)
            wanted, got = eager(model, program.schema, flat), answers(program, flat)
            for a, b in zip(wanted, got, strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype)
                largest = worse(largest, apart(a, b))
    return largest


def apart(wanted: Tensor, got: Tensor) -> float:
    """The largest difference; of answers beyond 1, as a part of the largest, which another CPU's code may round in its
    last bits. NaN if any is."""
    wanted, got = wanted.double(), got.double()
    return float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1))


def worse(one: float, other: float) -> float:
    """The larger one, or NaN, which max() would lose."""
    return other if math.isnan(other) or other > one else one
