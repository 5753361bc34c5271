"""Which operator of a compiled stage computes otherwise than its exported program says.

AOTInductor fuses operators, so there are none in the code to look at. Instead the program is lowered again: if this
code is right, what the archive holds is not what its program compiles to. If it is wrong too, the program is cut after
one of its operators and lowered up to there, and by halves the first cut is found whose code is wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

# Private in name: what the artifact's writer uses.
from torch.export.pt2_archive._package import PT2ArchiveWriter, _package_aoti_files
from torch.fx import Node

from recpile.passes.graph import editable
from recpile.pycompiler.debugging.describe import told_difference, told_tensor
from recpile.pycompiler.debugging.operators import GraphRunner, OperatorCall
from recpile.pycompiler.differences import difference_of
from recpile.pycompiler.graph_parts import cut
from recpile.pycompiler.lower import LoweredStage, LowerError, lower
from recpile.pycompiler.parity.rounding import Roundings
from recpile.pycompiler.program import Stage

_CHANGED = (
    "compiled anew, its exported program computes what it says: the code in the artifact is another program's, was "
    "changed or is damaged; export again to rebuild it"
)


def told_code(
    stage: dict, program: ExportedProgram, given: Sequence[Tensor], progress: Callable[[str], None] = lambda step: None
) -> tuple[str, ...]:
    """What is wrong with the code of a manifest's compiled `stage`, in lines, if it differs from its `program` on the
    inputs `given`. Lowers the program, and if need be parts of it: seconds each; `progress` hears of them."""
    search = _Search(stage, program, given, progress)
    try:
        found = search.first_wrong()
    except LowerError as error:
        return (f"which operator it is cannot be said, as the program does not compile here: {error}",)
    return (_CHANGED,) if found is None else _told(*found)


def _told(call: OperatorCall, got: Tensor) -> tuple[str, ...]:
    (wanted,) = call.outputs
    lines = [f"compiled anew it is wrong too, from here on: {call}"]
    lines += [f"reads {name}: {told_tensor(one)}" for name, one in call.inputs.items()]
    lines += [f"its code gives {told_tensor(got)}", f"the operator gives {told_tensor(wanted)}"]
    return (*lines, told_difference(wanted, got)) if wanted.numel() == got.numel() else tuple(lines)


class _Search:
    def __init__(
        self, stage: dict, program: ExportedProgram, given: Sequence[Tensor], progress: Callable[[str], None]
    ) -> None:
        self.stage = Stage(stage["name"], "compiled", program, (), (), precision=stage["precision"])
        self.given, self.progress = list(given), progress
        self.module = editable(program)
        calls: list[OperatorCall] = []
        GraphRunner(program, stage["name"]).run(self.given, calls.append)
        self.calls = {call.name: call for call in calls}
        self.operators = [node for node in self.module.graph.nodes if self._gives_a_tensor(node)]
        int8 = any(layer["dtype"].startswith("int8") for layer in stage.get("layers", ()))
        exact = stage["precision"] == "fp32"
        self.roundings = None if exact else Roundings(self.module, self.given, int8)

    def first_wrong(self) -> tuple[OperatorCall, Tensor] | None:
        """The first operator whose code, lowered with all that is before it, is wrong, and what it gives; None if the
        code of the whole program is right."""
        right, wrong = 0, len(self.operators)
        self.progress(f"stage {self.stage.name}: lowered again")
        found = self._wrong_after(wrong)
        while found is not None and wrong - right > 1:
            middle = (right + wrong) // 2
            node = self.operators[middle - 1]
            which = f"'{node.name}', operator {middle} of {len(self.operators)}"
            self.progress(f"stage {self.stage.name}: lowered up to {which}")
            here = self._wrong_after(middle)
            right, wrong, found = (middle, wrong, found) if here is None else (right, middle, here)
        return found

    def _gives_a_tensor(self, node: Node) -> bool:
        return node.name in self.calls and len(self.calls[node.name].outputs) == 1

    def _wrong_after(self, count: int) -> tuple[OperatorCall, Tensor] | None:
        """Of the graph cut after so many operators: the first value that is wrong, of those that come out."""
        part, given = cut(self.module, self.operators, count)
        for node, got in zip(given, _run(lower(self.stage, part), self.given), strict=True):
            call = self.calls[node.name]
            apart, allowed = difference_of(call.outputs, [got])
            if self.roundings:
                allowed = max(allowed, self.roundings.allowed(node.name, call.outputs[0]))
            if not apart <= allowed:
                return call, got
        return None


def _run(lowered: LoweredStage, given: Sequence[Tensor]) -> list[Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "code.pt2")
        with PT2ArchiveWriter(path) as writer:
            _package_aoti_files(writer, {lowered.name: list(lowered.files)})
        code = torch._C._aoti.AOTIModelPackageLoader(path, lowered.name, False, 1, -1)  # type: ignore[attr-defined]
        return code.boxed_run(list(given))
