"""Whether a model's forward takes the inputs of a schema."""

from __future__ import annotations

import inspect

from torch import nn

from recpile.pycompiler.schema import InputSchema, SchemaError
from recpile.pycompiler.source_lines import source_of_forward


def check_forward(model: nn.Module, schema: InputSchema) -> None:
    """Every input of the schema is a parameter of `forward`, and every required parameter is an input."""
    if getattr(model.forward, "__func__", None) is nn.Module.forward:
        raise SchemaError(f"{type(model).__name__} has no forward; write one that takes the schema's inputs by name")
    parameters = inspect.signature(model.forward).parameters
    names = {one.name for one in schema.inputs}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    source = source_of_forward(model)
    at = f"\n  at forward: {source}" if source else ""
    if unnamed := [name for name, p in parameters.items() if p.kind is p.POSITIONAL_ONLY]:
        raise SchemaError(
            f"{type(model).__name__}.forward takes {unnamed} by position only; the schema's inputs are given by name: "
            f"take the '/' out of its parameters{at}"
        )
    unknown = sorted(names - set(parameters))
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL}
    absent = sorted(required - names)
    if unknown or absent:
        raise SchemaError(
            f"the schema's inputs {sorted(names)} do not fit {type(model).__name__}.forward({', '.join(parameters)}): "
            + "; ".join([f"unknown {unknown}"] * bool(unknown) + [f"absent {absent}"] * bool(absent))
            + f"; name forward's parameters in the schema, and give what only training needs a default{at}"
        )
