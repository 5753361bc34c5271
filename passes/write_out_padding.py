"""WriteOutPadding: the padding of jagged rows as operators that a stage can run."""

from __future__ import annotations

from dataclasses import replace

from recpile.passes.base import Pass, PassResult
from recpile.pycompiler.program import Program
from recpile.pycompiler.request_axis import PAD_BAGS, padded_bags


class WriteOutPadding(Pass):
    """before:  pad_bags(values, lengths[F, B], row, 20, 0.0)
    after:   cumsum(lengths); …; cat([values, row of padding])[where(inside, start + at, nnz)]

    Until here padding is one operator, so that HoistRequestSide can move it as a whole.
    """

    def run(self, program: Program) -> PassResult:
        found = [node.name for node in program.graph.graph.nodes if node.target is PAD_BAGS]
        if not found:
            return PassResult(program, changed=False)
        written = replace(program, graph=program.graph.run_decompositions({PAD_BAGS: padded_bags}))
        return PassResult(written.with_notes(*(self.did(one, "is written out") for one in found)), changed=True)
