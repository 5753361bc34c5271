"""An input schema from a model and examples of what its forward takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recpile.pycompiler.infer.examples import Example, batch_size, named_examples
from recpile.pycompiler.infer.inputs import infer_inputs
from recpile.pycompiler.outputs import by_name
from recpile.pycompiler.schema import InputSchema, SchemaError


def infer_schema(model: nn.Module, example_inputs: Any) -> tuple[InputSchema, list[str]]:
    """The schema, and what was inferred, a message each.

    `example_inputs` is what forward takes (tensors, JaggedTensors, KeyedJaggedTensors): a mapping by name, a tuple by
    position, or one value. A list of such, of different batch sizes, shows which axis is the batch and which sizes
    stay. Outputs are named from a run: a dict's keys, a dataclass's or named tuple's fields, else by position; what is
    not [B, …], such as a loss, is left out. SchemaError says what cannot be inferred, and what to give.
    """
    examples, defaults = named_examples(model, example_inputs)
    inputs, messages = infer_inputs(examples)
    if defaults:
        messages.append(f"parameters left to their defaults: {', '.join(defaults)}")
    runs = [(_rows(example), _run(model, example)) for example in examples]
    batch, returned = runs[0]
    outputs, why_not = [], []
    for name, value in returned.items():
        reason = _why_no_output(name, value, batch) or _why_no_output(name, runs[-1][1].get(name), runs[-1][0])
        if reason:
            why_not.append(f"output '{name}' is left out: {reason}")
        else:
            outputs.append(name)
    if not outputs:
        raise SchemaError(f"the model gives no output that is [B, …]: {'; '.join(why_not) or 'it returns nothing'}")
    messages.append(f"outputs: {', '.join(outputs)}")
    schema = InputSchema(inputs, outputs, tuple(returned) if why_not else ())
    return schema, messages + why_not


def _rows(example: Example) -> int:
    return max(batch_size(name, value) for name, value in example.items())


def _run(model: nn.Module, example: Example) -> dict[str, Any]:
    """What the model returns, by name. It runs in eval mode, and is left in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            got = model.eval()(**example)
    except Exception as error:  # the user's own code: anything
        raise SchemaError(
            f"the model does not run on the example inputs: {type(error).__name__}: {error}; give inputs that "
            "it takes, with ids in range"
        ) from error
    finally:
        for module in training:
            module.training = True
    named = by_name(got)
    if named is not None:
        return {str(name): value for name, value in named.items()}
    if isinstance(got, Tensor):
        return {"score": got}
    if not isinstance(got, Sequence):
        raise SchemaError(
            f"the model returns {type(got).__name__}; it must return a tensor, or a tuple or dict of them"
        )
    return {f"output_{i}": value for i, value in enumerate(got)}


def _why_no_output(name: str, value: object, batch: int) -> str | None:
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return f"it is a {type(value).__name__}; return its parts as outputs of their own if you need them"
    if not isinstance(value, Tensor):
        return f"it is {'None' if value is None else type(value).__name__}, not a tensor"
    if value.dim() == 0:
        return "it is one number, not one a row (a loss, or a size-1 batch squeezed away)"
    if value.shape[0] != batch:
        return f"it is {list(value.shape)}, not one row for each of {batch}"
    return None
