"""Captures a model as one ExportedProgram over flat tensors, with a dynamic batch."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler.program import Program, Table
from recpile.pycompiler.schema import CANDIDATE, Dense, InputSchema, Jagged, SchemaError
from recpile.pycompiler.swap import CaptureError, swap_embedding_modules


def capture(model: nn.Module, schema: InputSchema, name: str) -> Program:
    """`model` (in eval mode, weights loaded) -> Program. The model itself is left as it was.

    CaptureError names what torch.export could not take, or a batch size that got baked in.
    """
    check_forward(model, schema)
    # A copy of the modules that shares their weights: swapping must not change the caller's model; tables are large.
    weights = {id(one): one for one in (*model.parameters(), *model.buffers())}
    model = copy.deepcopy(model, memo=weights).eval()
    tables = swap_embedding_modules(model)
    graph = export_flat(FlatModel(model, schema), schema)
    return Program(name, graph, schema, tables=_used_tables(graph, tables))


def _used_tables(graph: ExportedProgram, tables: Sequence[tuple[nn.Parameter, Table]]) -> dict[str, Table]:
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
    """A model over its flat tensors: builds the inputs that `forward` wants, and puts the outputs in schema order."""

    def __init__(self, model: nn.Module, schema: InputSchema) -> None:
        super().__init__()
        self.model = model
        self.schema = schema

    def forward(self, flat: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return named_outputs(self.model(**build_inputs(self.schema, flat)), self.schema.outputs)


def build_inputs(schema: InputSchema, flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """Flat tensors -> the model's keyword arguments: tensors, JaggedTensors, KeyedJaggedTensors."""
    inputs: dict[str, Any] = {}
    for one in schema.inputs:
        if isinstance(one, Dense):
            inputs[one.name] = flat[one.name]
            continue
        values, lengths, weights = (flat.get(f"{one.name}.{part}") for part in ("values", "lengths", "weights"))
        assert values is not None
        assert lengths is not None
        if isinstance(one, Jagged):
            inputs[one.name] = JaggedTensor(values=values, lengths=lengths, weights=weights)
        else:
            inputs[one.name] = KeyedJaggedTensor(
                keys=list(one.keys), values=values, lengths=lengths.reshape(-1), weights=weights
            )
    return inputs


def named_outputs(got: Any, names: Sequence[str]) -> tuple[Tensor, ...]:
    """What a model returned (a tensor, a tuple or list, or a dict) -> its tensors in the order of `names`."""
    if isinstance(got, Mapping):
        if set(got) != set(names):
            raise SchemaError(f"the model returns outputs {sorted(got)}; the schema names {list(names)}")
        return tuple(got[name] for name in names)
    outputs = (got,) if isinstance(got, Tensor) else tuple(got)
    if len(outputs) != len(names):
        raise SchemaError(f"the model returns {len(outputs)} outputs; the schema names {len(names)}: {list(names)}")
    return outputs


def example_inputs(schema: InputSchema) -> dict[str, Tensor]:
    """Flat inputs to trace with. Every dynamic size differs: torch.export takes equal sizes for one size, and 0 and 1
    for constants."""
    batch, nnz = 6, 10
    flat: dict[str, Tensor] = {}
    for one in schema.inputs:
        nnz += 1
        for tensor in one.tensors():
            sizes = [batch if size == CANDIDATE else nnz if isinstance(size, str) else size for size in tensor.shape]
            flat[tensor.name] = torch.zeros(sizes, dtype=tensor.dtype)
        if not isinstance(one, Dense):
            flat[f"{one.name}.lengths"].view(-1)[0] = nnz
    return flat


def export_flat(module: nn.Module, schema: InputSchema) -> ExportedProgram:
    """Exports a module over the flat tensors of `schema` (one dict), every named axis dynamic."""
    # A named axis is one size wherever it appears, and code that branches on it (if len(x) > 4) is refused.
    axes = {CANDIDATE: Dim(CANDIDATE, min=1)}
    dynamic = {
        t.name: {i: axes.get(size, Dim.DYNAMIC) for i, size in enumerate(t.shape) if isinstance(size, str)}
        for t in schema.tensors()
    }
    return export_graph(module, (example_inputs(schema),), (dynamic,))


def export_graph(module: nn.Module, args: tuple, dynamic_shapes: tuple) -> ExportedProgram:
    """torch.export with our errors. `dynamic_shapes` as torch.export takes it."""
    try:
        with torch.no_grad():
            exported = torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=False)
            # Functional, and without the sub-graphs of autocast and the like: passes follow values from node to node,
            # and would not see that x[:, 0] = y changes x.
            return exported.run_decompositions({})
    except (CaptureError, SchemaError):
        raise
    except Exception as error:
        raise CaptureError(
            f"torch.export could not capture the model: {str(error).strip()}\n"
            "Python control flow on tensor values, and sizes fixed in the code (such as a batch size in a reshape), "
            "are the usual reasons: use torch.where, and -1 for the batch."
        ) from error


def check_forward(model: nn.Module, schema: InputSchema) -> None:
    """Every input of the schema is a parameter of `forward`, and every required parameter is an input."""
    parameters = inspect.signature(model.forward).parameters
    names = {one.name for one in schema.inputs}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    unknown = sorted(names - set(parameters))
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL}
    absent = sorted(required - names)
    if unknown or absent:
        raise SchemaError(
            f"the schema's inputs {sorted(names)} do not fit {type(model).__name__}.forward({', '.join(parameters)}): "
            + "; ".join([f"unknown {unknown}"] * bool(unknown) + [f"absent {absent}"] * bool(absent))
        )
