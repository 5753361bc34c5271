"""Captures a model as one ExportedProgram over flat tensors, with a dynamic batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler.capturable import refuse_unready, refuse_weights
from recpile.pycompiler.decisions import watch_decisions
from recpile.pycompiler.effects import refuse_effects, refuse_max_norm
from recpile.pycompiler.export_errors import export_message, quiet_export
from recpile.pycompiler.export_told import called
from recpile.pycompiler.forward import check_forward
from recpile.pycompiler.jagged import ExportableJagged, ExportableKeyedJagged, JaggedError
from recpile.pycompiler.left_behind import watch_left_behind
from recpile.pycompiler.outputs import left_out, named_outputs
from recpile.pycompiler.program import Program, Table
from recpile.pycompiler.python_random import drawing_line, random_state
from recpile.pycompiler.request_axis import repeat_bags
from recpile.pycompiler.returning_line import returning_line
from recpile.pycompiler.schema import (
    AXES,
    CANDIDATE,
    CANDIDATE_TO_REQUEST,
    REQUEST,
    Dense,
    InputSchema,
    Jagged,
    SchemaError,
)
from recpile.pycompiler.source_lines import source_of_error, source_of_forward, whole_stack_traces
from recpile.pycompiler.source_parts import source_of_part
from recpile.pycompiler.swap import CaptureError, swap_embedding_modules
from recpile.pycompiler.weight_names import rename_keywords


def capture(model: nn.Module, schema: InputSchema, name: str) -> Program:
    """`model` (in eval mode, weights loaded) -> Program. The model itself is left as it was.

    CaptureError names what torch.export could not take, or a batch size that got baked in.
    """
    check_forward(model, schema)
    try:
        refuse_unready(model)
        refuse_max_norm(model)
        copied = _copied(model).eval()
        tables = swap_embedding_modules(copied)
        refuse_weights(copied)
    except CaptureError as error:
        source = source_of_part(model, error.part)
        raise CaptureError(f"{error}\n  {source}" if source else str(error)) from error
    model = copied
    left: list[tuple[str, ...]] = []  # not an attribute: torch.export takes back what forward sets
    before = random_state()
    graph = export_flat(FlatModel(model, schema, left.append), schema)
    refuse_effects(graph)
    if random_state() != before and (line := drawing_line(lambda: export_flat(FlatModel(model, schema), schema))):
        raise CaptureError(
            f"the model draws random numbers with Python's random or numpy.random\n  at {called(line)}: {line}\n"
            "the same request would get different answers, and the graph holds the number drawn while it was captured: "
            "take it out, or do it under self.training only"
        )
    return Program(name, graph, schema, tables=_used_tables(graph, tables), left_out=left[-1])


def _copied(model: nn.Module) -> nn.Module:
    """Shares its weights: swapping must not change the caller's model, and tables are large."""
    # And what forward has left in an attribute: torch copies no tensor that was computed with gradients.
    kept = [one for module in model.modules() for one in tree_leaves(vars(module)) if isinstance(one, Tensor)]
    shared = {id(one): one for one in (*model.parameters(), *model.buffers(), *kept)}
    try:
        return copy.deepcopy(model, memo=shared)
    except Exception as error:  # whatever a part of the model raises when it is pickled
        raise CaptureError(
            f"the model cannot be copied ({type(error).__name__}: {error}); it holds something besides modules and "
            "weights, such as a scripted function, a lock or an open file: keep that out of its attributes"
        ) from error


def _used_tables(graph: ExportedProgram, tables: Sequence[tuple[Tensor, Table]]) -> dict[str, Table]:
    """The tables that lookups of the graph read, in the given order, by the names that their weights have there.

    A weight that hangs in the model under several names has one of them in the graph; a collection that `forward` never
    calls has none.
    """
    names: dict[int, str] = {}  # by address: torch.export keeps the weights' memory, not always the objects
    for node in graph.graph.nodes:
        if node.target is torch.ops.recpile.embedding_bags.default and node.users:
            for weight in node.args[0]:
                name = graph.graph_signature.inputs_to_parameters[weight.name]
                names[graph.state_dict[name].data_ptr()] = name
    return {names[weight.data_ptr()]: table for weight, table in tables if weight.data_ptr() in names}


class FlatModel(nn.Module):
    """A model over its flat tensors: builds the inputs that `forward` wants, and puts the outputs in schema order.

    `tell` hears the names of the outputs that the schema leaves out, each time it runs.
    """

    def __init__(
        self, model: nn.Module, schema: InputSchema, tell: Callable[[tuple[str, ...]], None] = lambda names: None
    ) -> None:
        super().__init__()
        self.model = model
        self.schema = schema
        self.tell = tell

    def forward(self, flat: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        inputs = build_inputs(self.schema, flat, ExportableJagged, ExportableKeyedJagged)
        got = self.model(**inputs)
        self.tell(left_out(got, self.schema))
        return named_outputs(got, self.schema)


def build_inputs(
    schema: InputSchema, flat: Mapping[str, Tensor], jagged: type = JaggedTensor, keyed: type = KeyedJaggedTensor
) -> dict[str, Any]:
    """Flat tensors -> the model's keyword arguments: tensors, JaggedTensors, KeyedJaggedTensors.

    Inputs on the request axis are repeated for every candidate.
    """
    inputs: dict[str, Any] = {}
    for one in schema.inputs:
        repeat = flat[CANDIDATE_TO_REQUEST] if one.axis == REQUEST else None
        if isinstance(one, Dense):
            value = flat[one.name]
            inputs[one.name] = value if repeat is None else value.index_select(0, repeat)
            continue
        values, lengths, weights = (flat.get(f"{one.name}.{part}") for part in ("values", "lengths", "weights"))
        assert values is not None
        assert lengths is not None
        if repeat is not None:
            values = repeat_bags(values, lengths, repeat)
            weights = None if weights is None else repeat_bags(weights, lengths, repeat)
            lengths = lengths.index_select(-1, repeat)
        if isinstance(one, Jagged):
            made = jagged(values=values, lengths=lengths, weights=weights)
        else:
            made = keyed(keys=list(one.keys), values=values, lengths=lengths.reshape(-1), weights=weights)
        if repeat is not None and isinstance(made, (ExportableJagged, ExportableKeyedJagged)):
            made.bags = replace(made.bags, repeated=True)
        inputs[one.name] = made
    return inputs


def example_inputs(schema: InputSchema) -> dict[str, Tensor]:
    """Flat inputs to trace with. Every dynamic size differs: torch.export takes equal sizes for one size, and 0 and 1
    for constants."""
    sizes, nnz = {CANDIDATE: 6, REQUEST: 4}, 10
    flat: dict[str, Tensor] = {}
    for one in schema.inputs:
        nnz += 1
        for tensor in one.tensors():
            shape = [sizes.get(size, nnz) if isinstance(size, str) else size for size in tensor.shape]
            flat[tensor.name] = torch.zeros(shape, dtype=tensor.dtype)
        if not isinstance(one, Dense):
            flat[f"{one.name}.lengths"].view(-1)[0] = nnz
    if schema.has_requests:
        flat[CANDIDATE_TO_REQUEST] = torch.arange(sizes[CANDIDATE]) % sizes[REQUEST]
    return flat


def export_flat(module: nn.Module, schema: InputSchema, known: Collection[object] = ()) -> ExportedProgram:
    """Exports a module over the flat tensors of `schema` (one dict), every named axis dynamic. `known`: see below."""
    # A named axis is one size wherever it appears, and code that branches on it (if len(x) > 4) is refused.
    axes = {axis: Dim(axis, min=1) for axis in AXES}
    dynamic = {
        t.name: {i: axes.get(size, Dim.DYNAMIC) for i, size in enumerate(t.shape) if isinstance(size, str)}
        for t in schema.graph_tensors()
    }
    return export_graph(module, (example_inputs(schema),), (dynamic,), known)


def export_graph(
    module: nn.Module, args: tuple, dynamic_shapes: tuple, known: Collection[object] = ()
) -> ExportedProgram:
    """torch.export with our errors. `dynamic_shapes` as torch.export takes it.

    `known`: operators of a graph that this function gave. A module of nothing else is captured in half the time.
    """
    model = module.model if isinstance(module, FlatModel) else module
    forward = source_of_forward(model) if isinstance(module, FlatModel) else ""
    with watch_decisions() as decisions, watch_left_behind(model):
        try:
            with torch.no_grad(), quiet_export(), whole_stack_traces():
                exported = torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=False)
                rename_keywords(exported)
                # Functional, and without the sub-graphs of autocast and the like: passes follow values from node to
                # node, and would not see that x[:, 0] = y changes x. Costs as much again as the export.
                return exported if _is_decomposed(exported, known) else exported.run_decompositions({})
        except SchemaError as error:  # of the model's outputs
            raise SchemaError(f"{error}{_returned(module, args, dynamic_shapes)}") from error
        except (CaptureError, JaggedError) as error:
            source = source_of_error(error)
            told = not source or source in str(error)
            raise CaptureError(str(error) if told else f"{error}\n  {source}") from error
        except Exception as error:
            raise CaptureError(export_message(error, decisions, forward)) from error


def _returned(module: nn.Module, args: tuple, dynamic_shapes: tuple) -> str:
    if not isinstance(module, FlatModel):
        return ""
    with torch.no_grad(), quiet_export():
        line = returning_line(
            module.model, lambda: torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=False)
        )
    return f"\n  at return: {line or source_of_forward(module.model)}"


def _is_decomposed(graph: ExportedProgram, known: Collection[object]) -> bool:
    """Whether decomposition would leave every operator as it is: it did so before, or it is of ATen's core."""
    calls = {node.target for node in graph.graph.nodes if node.op == "call_function"}
    return bool(known) and all(
        one in known or (isinstance(one, torch._ops.OpOverload) and torch.Tag.core in one.tags) for one in calls
    )
