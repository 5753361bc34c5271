"""FlattenInteractions: the pairs of a dot interaction are gathered with one index, which is known at export."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.graph import editable, recaptured
from recpile.passes.rewrite import add_weight, arguments, call, constants, drop_weights, evaluate, weight_names
from recpile.pycompiler.program import Program

_aten = torch.ops.aten
_PRODUCTS = (_aten.bmm.default, _aten.matmul.default)


class FlattenInteractions(Pass):
    """A gather of pairs (i, j) out of a matrix a row becomes a gather out of the flat matrix.

    before:  dots = bmm(x, x^T) [B, F, F];  index(dots, [None, triu[0], triu[1]])        two int64 indices a pair
    after:   dots = bmm(x, x^T) [B, F, F];  index(view(dots, [-1, F * F]), [None, at])   one int32 index a pair

    It is what DLRM's interaction does (Naumov et al. 2019, arXiv 1906.00091), the model's own way of choosing the pairs
    aside. Indices below 0 count from the end, as before; one outside the matrix is declined, and fails when it runs.
    """

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        weights, known = weight_names(module), constants(module)
        notes = []
        for node in list(module.graph.nodes):
            pairs = _pairs(node)
            if pairs is None:
                continue
            if any(one not in known for one in pairs):
                notes.append(self.declined(node.name, "its indices are computed from inputs"))
                continue
            dots = arguments(node)["self"]
            row, column = (evaluate(module, one) for one in pairs)
            at = _flat_index(row, column, dots.meta["val"].shape[1:])
            if at is None:
                notes.append(self.declined(node.name, f"has indices outside {list(dots.meta['val'].shape)}"))
                continue
            _gather(module, node, at)
            notes.append(self.did(node.name, f"{len(at)} pairs of '{dots.name}' with one index each"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        drop_weights(module, weights)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _pairs(node: Node) -> tuple[Node, Node] | None:
    """The two indices of a gather of pairs out of a product [B, n, m]; None for anything else."""
    if node.target is not _aten.index.Tensor:
        return None
    given = arguments(node)
    value, indices = given["self"].meta["val"], list(given["indices"])
    if given["self"].target not in _PRODUCTS or value.ndim != 3 or not value.is_contiguous():
        return None
    if len(indices) != 3 or indices[0] is not None or None in indices[1:]:
        return None
    plain = all(one.meta["val"].ndim == 1 and one.meta["val"].dtype == torch.int64 for one in indices[1:])
    static = all(isinstance(size, int) for size in value.shape[1:])
    return (indices[1], indices[2]) if plain and static else None


def _flat_index(row: Tensor, column: Tensor, sizes: torch.Size) -> Tensor | None:
    """int32 positions in the flat matrix; None if one lies outside."""
    rows, columns = sizes
    if not (((row >= -rows) & (row < rows)).all() and ((column >= -columns) & (column < columns)).all()):
        return None
    return (row % rows * columns + column % columns).to(torch.int32)


def _gather(module: GraphModule, node: Node, at: Tensor) -> None:
    dots = arguments(node)["self"]
    rows, columns = dots.meta["val"].shape[1:]
    flat = call(node, _aten.view.default, dots, [-1, rows * columns])
    index = add_weight(module, node, f"{node.name}_pairs", at)
    node.replace_all_uses_with(call(node, _aten.index.Tensor, flat, [None, index]))
    module.graph.erase_node(node)
