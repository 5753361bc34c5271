"""Example inputs by the names of forward's parameters, and the batch size of each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor

from recpile.pycompiler.schema import SchemaError

Value = Tensor | JaggedTensor | KeyedJaggedTensor
Example = dict[str, Value]


def named_examples(model: nn.Module, example_inputs: Any) -> tuple[list[Example], list[str]]:
    """Examples as {parameter: value}, and the parameters left to their defaults (given as None, or not at all).

    `example_inputs` is what forward takes: a mapping by name, a tuple by position, or one value; or a list of such,
    each of another batch size. SchemaError for what is none of these, and for values that are not inputs.
    """
    given = example_inputs if isinstance(example_inputs, list) else [example_inputs]
    if not given:
        raise SchemaError("got no example inputs; give what forward takes: a mapping by name, or a tuple by position")
    examples = [_named(model, one) for one in given]
    names = list(examples[0])
    for other in examples[1:]:
        if list(other) != names:
            raise SchemaError(f"the examples give {names} and {list(other)}; give the same inputs in each")
    defaults = [name for name in inspect.signature(model.forward).parameters if name not in names]
    return examples, defaults


def batch_size(name: str, value: Value) -> int:
    """Rows of a dense input, bags of a jagged one. SchemaError for what cannot be an input."""
    if isinstance(value, KeyedJaggedTensor):
        if value.variable_stride_per_key():
            raise SchemaError(
                f"input '{name}' is a KeyedJaggedTensor of another batch size for each key; recpile takes one for all: "
                "pad it, or give features of another batch size as inputs of their own"
            )
        return value.stride()
    if isinstance(value, JaggedTensor):
        return value.lengths().numel()
    if value.dim() == 0:
        raise SchemaError(f"input '{name}' is a tensor without dimensions; inputs are [batch, …]")
    return value.shape[0]


def _named(model: nn.Module, given: Any) -> Example:
    signature = inspect.signature(model.forward)
    try:
        if isinstance(given, Mapping):
            bound = signature.bind(**given)
        elif isinstance(given, Sequence) and not isinstance(given, str):
            bound = signature.bind(*given)
        else:
            bound = signature.bind(given)
    except TypeError as error:
        raise SchemaError(
            f"the example inputs do not fit {type(model).__name__}.forward{signature}: {error} (a tuple holds "
            "arguments by position, a list several examples)"
        ) from error
    arguments = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(name, {}))
        elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY) and name in arguments:
            raise SchemaError(
                f"{type(model).__name__}.forward{signature} takes '{name}' by position only; inputs are passed by "
                "name: wrap the model in a module whose forward names them"
            )
    held = {name: value for name, value in arguments.items() if value is not None}
    for name, value in held.items():
        if not isinstance(value, Value):
            raise SchemaError(
                f"input '{name}' is {type(value).__name__}; an input is a Tensor, JaggedTensor or KeyedJaggedTensor: "
                "wrap the model in a module that takes these and builds the rest"
            )
    if not held:
        raise SchemaError("the example inputs are all None; give a tensor, JaggedTensor or KeyedJaggedTensor")
    return held
