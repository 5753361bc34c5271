"""What tests of models with a request axis share."""

from __future__ import annotations

from compiler.graphs import apart, aten, worse
from torch import nn

from recpile.pycompiler.artifact.manifest import build_manifest
from recpile.pycompiler.exactness import runner
from recpile.pycompiler.program import Program
from recpile.pycompiler.quality import eager
from recpile.pycompiler.random_inputs import random_inputs
from recpile.pycompiler.schema import CANDIDATE_TO_REQUEST


def repeats(program: Program) -> list[list[str]]:
    """What is repeated for every candidate: the sizes that it has of a request."""
    nodes = [node for node in program.graph.graph.nodes if node.target is aten.index_select.default]
    shapes = [node.args[0].meta["val"].shape for node in nodes]
    return [[str(size) for size in shape if isinstance(size, int)] for shape in shapes]


def farthest(model: nn.Module, program: Program, whole: Program) -> float:
    """The largest difference from eager, for one request and several. `whole`: a split program, for the ids' ranges."""
    manifest = build_manifest(whole, "1", {}, {})
    answer, largest = runner(program), 0.0
    for candidates, requests, longest in ((1, 1, 3), (5, 1, 3), (7, 3, 3), (6, 2, 0), (4, 4, 2)):
        flat = random_inputs(manifest, candidates, candidates, longest, requests)
        assert flat[CANDIDATE_TO_REQUEST].max() + 1 == requests
        wanted = list(eager(model, program.schema, flat))
        got = list(answer(flat))
        assert [one.shape for one in wanted] == [one.shape for one in got]
        for one, other in zip(wanted, got, strict=True):
            largest = worse(largest, apart(one, other))
    return largest
