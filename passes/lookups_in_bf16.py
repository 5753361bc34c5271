"""LookupsInBf16: lookups give bf16 where only bf16 layers read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch.fx import GraphModule, Node

from recpile.passes.base import Pass, PassResult
from recpile.passes.dense_precision import DensePrecision
from recpile.passes.graph import PACKED_EMBEDDING_BAGS, aten, editable
from recpile.passes.stage_graph import exported_again
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.schema import TensorSpec

# They move elements and do not look at them.
_MOVES = (
    *(aten.view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims),
    *(aten.slice.Tensor, aten.select.int, aten.transpose.int, aten.permute.default, aten.expand.default),
)
_CASTS = (aten._to_copy.default, aten.to.dtype)
_ASSERTION = aten._assert_tensor_metadata.default


class LookupsInBf16(Pass):
    """Takes the cast to bf16 out of the stages that read a lookup, and has the lookup round as it writes.

    before:  stage embedding gives fp32;  stage dense: linear(pooled.to(bf16), w_bf16)
    after:   stage embedding gives bf16;  stage dense: linear(pooled, w_bf16)

    Half as many bytes are written and read. Where a value lies in the middle between two of bf16's, FBGEMM rounds up
    and PyTorch to even, so answers may differ by a step of bf16. Declined where something reads the fp32 values, and
    where the model itself gives them.
    """

    def __init__(self, precision: str | DensePrecision = "bf16") -> None:
        self.precision = DensePrecision(precision) if isinstance(precision, str) else precision
        self.exact = "bf16" not in self.precision.types

    def run(self, program: Program) -> PassResult:
        if self.exact:
            return PassResult(program.with_notes(self.declined("lookups", "bf16 was not asked for")), changed=False)
        stages = {stage.name: stage for stage in program.stages}
        notes = []
        for stage in program.stages:
            if stage.lookup is None or stage.outputs[0].dtype == torch.bfloat16:
                continue
            value = stage.outputs[0].name
            readers = [one for one in stages.values() if value in one.inputs]
            modules = {one.name: editable(one.graph) for one in readers}
            if value in program.outputs:
                notes.append(self.declined(stage.name, "the model gives its values"))
                continue
            reasons = [_against(modules[one.name], one.inputs.index(value)) for one in readers]
            if reason := next((one for one in reasons if one), "" if readers else "nothing reads it"):
                notes.append(self.declined(stage.name, reason))
                continue
            specs = program.value_specs() | {value: replace(stage.outputs[0], dtype=torch.bfloat16)}
            for one in readers:
                stages[one.name] = _without_casts(one, modules[one.name], value, specs)
            stages[stage.name] = _rounding(stage, specs)
            notes.append(self.did(stage.name, f"gives bf16 to {', '.join(one.name for one in readers)}"))
        made = tuple(stages[stage.name] for stage in program.stages)
        changed = any(new is not old for new, old in zip(made, program.stages, strict=True))
        return PassResult(replace(program, stages=made).with_notes(*notes), changed)


def _against(module: GraphModule, index: int) -> str:
    """Why a stage needs its input number `index` in fp32; empty if it does not."""
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    waiting = [placeholders[index]]
    while waiting:
        for user in waiting.pop().users:
            if user.target in _MOVES:
                waiting.append(user)
            elif user.target is not _ASSERTION and not _is_cast(user):
                return f"'{user.name}' reads its fp32 values"
    return ""


def _is_cast(node: Node) -> bool:
    return node.target in _CASTS and node.meta["val"].dtype == torch.bfloat16


def _without_casts(stage: Stage, module: GraphModule, value: str, specs: Mapping[str, TensorSpec]) -> Stage:
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    reached = [placeholders[stage.inputs.index(value)]]
    for node in reached:  # grows as it is walked
        for user in list(node.users):
            if user.target in _MOVES:
                reached.append(user)
            elif user.target is _ASSERTION:
                module.graph.erase_node(user)
            else:
                user.replace_all_uses_with(node)
                module.graph.erase_node(user)
    return exported_again(stage, module, specs)


def _rounding(stage: Stage, specs: Mapping[str, TensorSpec]) -> Stage:
    module = editable(stage.graph)
    (lookup,) = [node for node in module.graph.nodes if node.target is PACKED_EMBEDDING_BAGS]
    lookup.kwargs = {**lookup.kwargs, "bf16": True}
    made = exported_again(stage, module, specs)
    return replace(made, outputs=(specs[stage.outputs[0].name],))
