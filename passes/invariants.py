"""What holds of a program between passes. `verify` raises ValueError with the first thing that does not."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch.export import ExportedProgram

from recpile.passes.graph import EMBEDDING_BAGS, LOOKUPS, LookupCall
from recpile.pycompiler.packing import row_bytes
from recpile.pycompiler.program import Program, Stage
from recpile.pycompiler.schema import CANDIDATE, DTYPE_NAMES
from recpile.pycompiler.source_lines import named


def verify(program: Program) -> None:
    program.graph.graph.lint()
    _verify_interface(program)
    _verify_tables(program)
    _verify_stages(program)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _values(graph: ExportedProgram, names: Collection[object]) -> list[torch.Tensor]:
    by_name = {node.name: node for node in graph.graph.nodes}
    return [by_name[name].meta["val"] for name in names]


def _verify_interface(program: Program) -> None:
    wanted = program.schema.graph_tensors()
    got = _values(program.graph, program.graph.graph_signature.user_inputs)
    _require(len(got) == len(wanted), f"the graph takes {len(got)} inputs; the schema has {len(wanted)}")
    for spec, value in zip(wanted, got, strict=True):
        _require(value.dtype == spec.dtype, f"input '{spec.name}' became {value.dtype}; the schema says {spec.dtype}")
        for size, axis in zip(value.shape, spec.shape, strict=True):
            _require(
                isinstance(size, torch.SymInt) == isinstance(axis, str),
                f"input '{spec.name}' became {list(value.shape)}; the schema says {list(spec.shape)}: its axis "
                f"'{axis}' must stay dynamic (a size fixed in the model's code?)",
            )
    sizes = [
        (axis, size)
        for spec, value in zip(wanted, got, strict=True)
        for axis, size in zip(spec.shape, value.shape, strict=True)
    ]
    batch = {str(size) for axis, size in sizes if axis == CANDIDATE}
    outputs = _values(program.graph, program.graph.graph_signature.user_outputs)
    names = program.schema.outputs
    _require(len(outputs) == len(names), f"the graph gives {len(outputs)} outputs; the schema names {len(names)}")
    nodes = {node.name: node for node in program.graph.graph.nodes}
    given = [nodes[str(one)] for one in program.graph.graph_signature.user_outputs]
    for name, value, node in zip(names, outputs, given, strict=True):
        batched = value.ndim > 0 and str(value.shape[0]) in batch
        shown = f"output '{name}' is {list(value.shape)}"
        way_out = "give a row for each, or leave it out of the schema's outputs"
        made = f" (by {named(node)})" if node.op == "call_function" else ""
        supported = ", ".join(DTYPE_NAMES.values())
        cast = f"an output is one of {supported}: cast it in the model (.to(torch.int32), torch.view_as_real)"
        _require(value.dtype in DTYPE_NAMES, f"output '{name}' is {value.dtype}{made}; {cast}")
        _require(batched, f"{shown}{made}; its first axis must be '{CANDIDATE}', one row a candidate: {way_out}")


def _verify_tables(program: Program) -> None:
    weights = {**program.graph.state_dict, **program.graph.constants}
    for fqn, table in program.tables.items():
        _require(fqn in weights, f"table '{table.name}' has no weight '{fqn}' in the graph")
        columns = row_bytes(table.dtype, table.dim) if table.packed else table.dim
        got = list(weights[fqn].shape)
        _require(got == [table.rows, columns], f"table '{table.name}' holds {got}; expected {[table.rows, columns]}")
    signature = program.graph.graph_signature
    fqns = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    order = list(program.tables)
    packed = {table.packed for table in program.tables.values()}
    for node in program.graph.graph.nodes:
        if node.target in LOOKUPS:
            plain = node.target is EMBEDDING_BAGS
            call = LookupCall.of(node)
            places = [order.index(fqns[table.name]) for table in call.tables if fqns.get(table.name) in order]
            # FBGEMM infers a table's rows from where the next one begins, so the order is not a matter of taste.
            in_order = len(places) == len(call.tables) and places == sorted(set(places))
            _require(in_order, f"lookup '{node.name}' must take its tables in the program's order, each once")
            _require(call.feature_table == sorted(call.feature_table), f"lookup '{node.name}' must go table by table")
            _require(packed == {not plain}, f"lookup '{node.name}' does not fit its tables: packed is {packed}")


def _verify_stages(program: Program) -> None:
    if not program.stages:
        return
    known = {spec.name for spec in program.schema.graph_tensors()}
    for stage in program.stages:
        unknown = [name for name in stage.inputs if name not in known]
        _require(not unknown, f"stage '{stage.name}' takes {unknown}, which no stage before it gives")
        again = [spec.name for spec in stage.outputs if spec.name in known]
        _require(not again, f"stage '{stage.name}' gives {again}, which exists already")
        known |= {spec.name for spec in stage.outputs}
        _verify_stage(stage)
    lost = [name for name in program.outputs if name not in known]
    _require(not lost, f"outputs {lost} are given by no stage")
    _require(len(program.outputs) == len(program.schema.outputs), "the stages do not give every output")


def _verify_stage(stage: Stage) -> None:
    tables = len({feature.table for feature in stage.lookup.features}) if stage.lookup else 0
    takes = len(stage.graph.graph_signature.user_inputs)
    _require(takes == tables + len(stage.inputs), f"stage '{stage.name}' has {takes} graph inputs for {stage.inputs}")
    given = _values(stage.graph, stage.graph.graph_signature.user_outputs)
    _require(len(given) == len(stage.outputs), f"stage '{stage.name}' gives {len(given)} values, not {stage.outputs}")
    for spec, value in zip(stage.outputs, given, strict=True):
        _require(
            value.dtype == spec.dtype and value.ndim == len(spec.shape),
            f"stage '{stage.name}' gives '{spec.name}' as {value.dtype}{list(value.shape)}, not {spec}",
        )
