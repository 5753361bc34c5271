"""Refuses what a served model must not do: draw random numbers, write into its inputs, its weights or its state, mix
requests in a batch norm, run operators that the server has not."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec
from torch.fx import Node

from recpile.pycompiler.source_lines import at, named
from recpile.pycompiler.swap import CaptureError

_RENORM = (torch.ops.aten.embedding_renorm.default, torch.ops.aten.embedding_renorm_.default)
# An operator with one of these set so draws nothing: dropout and attention in eval mode.
_HARMLESS = {"p": 0.0, "dropout_p": 0.0, "dropout": 0.0, "train": False, "training": False}
_NAMESPACES = ("aten", "prims", "recpile", "fbgemm")
_SHARED = "requests share the model, so nothing may be left behind"
_CLIP = (
    "clip the trained rows once, which gives the same answers: with torch.no_grad(): "
    "table.weight.renorm_({norm:g}, 0, {limit:g}); table.max_norm = None"
)


def refuse_max_norm(model: nn.Module) -> None:
    """CaptureError by name for an embedding with max_norm, which rewrites its table's rows whenever it reads them."""
    for path, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None:
            raise CaptureError(
                f"'{path}' is an {type(module).__name__} with max_norm={module.max_norm:g} (aten.embedding_renorm_): "
                "it rewrites rows of its table as they are read, and a served table is read-only; "
                + _CLIP.format(norm=module.norm_type, limit=module.max_norm),
                part=path,
            )


def refuse_effects(graph: ExportedProgram) -> None:
    """CaptureError for the first operator of a captured model that writes where it must not, or draws at random."""
    nodes = {node.name: node for node in graph.graph.nodes}
    for node in nodes.values():
        if node.target in _RENORM:
            raise CaptureError(
                f"{named(node)}: max_norm rewrites rows of a table as they are read, and a served table is read-only; "
                + _CLIP.format(norm=float(node.args[3]), limit=float(node.args[2]))  # type: ignore[arg-type]
            )
        if node.target is torch.ops.aten._native_batch_norm_legit.no_stats and _of_batch(node):
            raise CaptureError(
                f"{named(node)}: a batch norm without running statistics normalizes by those of its batch, so requests "
                "could not share one: train it with track_running_stats=True, or use nn.LayerNorm"
            )
        if isinstance(node.target, torch._ops.OpOverload) and node.target.namespace not in _NAMESPACES:
            raise CaptureError(
                f"{named(node)} is an operator of your own, and the server has PyTorch's and FBGEMM's only: write it "
                "with those (call the function that torch.library.custom_op wraps)"
            )
        if draws(node):
            raise CaptureError(
                f"{named(node)} draws random numbers, so the same request would get different answers; take it out, or "
                "guard it with self.training (F.dropout(x, p, training=self.training); nn.Dropout does that by itself)"
            )
    for spec in graph.graph_signature.output_specs:
        written = _written(spec)
        if written:
            raise CaptureError(
                f"the model changes {written} when it runs{at(nodes[spec.arg.name])}; {_SHARED}: work on a clone "
                "(x = x.clone()), or move the update under self.training"
            )


def _of_batch(norm: Node) -> bool:
    assert isinstance(norm.args[0], Node)
    return isinstance(norm.args[0].meta["val"].shape[0], torch.SymInt)


def draws(node: Node) -> bool:
    """Whether a node's result is random: by the operator's own tag, unless its arguments turn that off."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    for i, argument in enumerate(target._schema.arguments):
        if argument.name in _HARMLESS:
            default = argument.default_value
            given = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
            if given == _HARMLESS[argument.name]:
                return False
    return True


def _written(spec: OutputSpec) -> str:
    target = (spec.target or "").removeprefix("model.")
    return {
        OutputKind.USER_INPUT_MUTATION: f"its input '{target.removeprefix('flat_')}'",
        OutputKind.BUFFER_MUTATION: f"its buffer '{target}'",
        OutputKind.PARAMETER_MUTATION: f"its weight '{target}'",
    }.get(spec.kind, "")
