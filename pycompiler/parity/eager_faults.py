"""Where a model itself gives what nothing can be compared with: NaN, infinity, a tensor without values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recpile.pycompiler.source_lines import source_of_caller

_KEPT = (
    "its forward uses a tensor that it has kept from another call (functools.cache, a global, a list), and what is "
    "kept while a model is captured has no values: compute it in every call, or once in __init__ (register_buffer)"
)
_UNDEFINED = (
    "so nothing can be compared with it: keep what the operator reads where it is defined (clamp it; an empty bag has "
    "no mean, a row that is all masked no softmax), or give labelled rows of your own (--eval-data)"
)


def is_finite(outputs: Sequence[Tensor]) -> bool:
    return all(not isinstance(one, FakeTensor) and bool(torch.isfinite(one).all()) for one in outputs)


def told_fault(answer: Callable[[], Sequence[Tensor]]) -> str:
    """Of a model whose outputs, which `answer` computes in eager PyTorch, are not finite: what they are, the first
    operator that made them so with its line, and the way out."""
    with _First(_is_kept, of_inputs=True) as kept, _First(torch.isnan) as nan, _First(torch.isinf) as infinite:
        outputs = answer()
    if any(isinstance(one, FakeTensor) for one in outputs):
        return f"the model answers without values at {kept.found}: {_KEPT}"
    is_nan = any(bool(torch.isnan(one).any()) for one in outputs)
    what, first = ("NaN", nan.found) if is_nan else ("infinity", infinite.found)
    return f"the model itself answers {what}{f', first from {first}' if first else ''}, {_UNDEFINED}"


def _is_kept(tensor: Tensor) -> bool:
    return isinstance(tensor, FakeTensor)


class _First(TorchDispatchMode):
    """Notes the first operator that gives what is `bad` and reads nothing of the kind; `of_inputs`: that reads it."""

    def __init__(self, bad: Callable[[Tensor], Tensor | bool], of_inputs: bool = False) -> None:
        super().__init__()
        self.bad, self.of_inputs = bad, of_inputs
        self.found = ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not self.found and self._any((args, kwargs)) == self.of_inputs and (self.of_inputs or self._any(result)):
            source = source_of_caller()
            self.found = f"{func} ({source})" if source else str(func)
        return result

    def _any(self, values: object) -> bool:
        floating = [one for one in tree_leaves(values) if isinstance(one, Tensor) and one.is_floating_point()]
        if not self.of_inputs:
            floating = [one for one in floating if not isinstance(one, FakeTensor)]
        with torch._C._DisableTorchDispatch():  # else the mode outside this one sees the question
            return any(bool(torch.as_tensor(self.bad(one)).any()) for one in floating)
