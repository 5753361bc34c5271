"""MatmulsToLinears: a weight times a column a row is a linear layer."""

from __future__ import annotations

import torch
from torch.fx import Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import DENSE_DTYPES
from recpile.passes.graph import editable, recaptured
from recpile.passes.linears import LINEAR
from recpile.passes.rewrite import arguments, call, constants
from recpile.pycompiler.program import Program

_aten = torch.ops.aten


class MatmulsToLinears(Pass):
    """The product of a weight and columns [B, k, 1] becomes a linear layer over rows [B, k].

    before:  matmul(kernel [n, k], x [B, k, 1])
    after:   unsqueeze(linear(squeeze(x, 2), kernel), 2)

    So torchrec's full-rank CrossNet (Wang et al. 2020, DCN-v2, arXiv 2008.13535) writes its layers. In bf16, the first
    form runs as B small products; in fp32 both run as one, so there the pass declines (docs/fusions.md).
    """

    def __init__(self, dense_dtype: str = "bf16") -> None:
        if dense_dtype not in DENSE_DTYPES:
            raise ValueError(f"dense dtype: got '{dense_dtype}'; use one of {', '.join(DENSE_DTYPES)}")
        self.dense_dtype = dense_dtype

    def run(self, program: Program) -> PassResult:
        module = editable(program.graph)
        known = constants(module)
        notes = []
        for node in list(module.graph.nodes):
            if not _is_product_with_columns(node):
                continue
            kernel, columns = arguments(node)["self"], arguments(node)["other"]
            if kernel not in known:
                notes.append(self.declined(node.name, f"'{kernel.name}' is computed from inputs"))
                continue
            if self.dense_dtype == "fp32":
                notes.append(self.declined(node.name, "is one product already in fp32"))
                continue
            rows = call(node, _aten.squeeze.dim, columns, 2)
            node.replace_all_uses_with(call(node, _aten.unsqueeze.default, call(node, LINEAR, rows, kernel), 2))
            notes.append(self.did(node.name, f"a linear layer over '{columns.name}'"))
        if not any(note.did for note in notes):
            return PassResult(program.with_notes(*notes), changed=False)
        return PassResult(recaptured(program, module).with_notes(*notes), changed=True)


def _is_product_with_columns(node: Node) -> bool:
    if node.target is not _aten.matmul.default:
        return False
    kernel, columns = (arguments(node)[name].meta["val"] for name in ("self", "other"))
    return kernel.ndim == 2 and columns.ndim == 3 and columns.shape[2] == 1
