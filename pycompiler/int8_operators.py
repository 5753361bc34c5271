"""What torch does not say of oneDNN's int8 operators, and tracing and counting need. To be imported, no more.

Their kernels are torch's own for x86 CPUs; the C++ runtime calls them through AOTInductor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula


@torch.library.register_fake("onednn::qlinear_prepack")
def _prepacked(weight: Tensor, x_shape: list[int] | None) -> Tensor:
    """A weight [outputs, inputs] in oneDNN's own layout, which calls itself [inputs, outputs]."""
    return weight.new_empty(weight.shape[1], weight.shape[0])


@register_flop_formula(torch.ops.onednn.qlinear_pointwise)
def _qlinear_flops(x: torch.Size, scale: float, zero: int, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * x.numel() * weight[1]


@register_flop_formula(torch.ops.aten._int_mm)
def _int_mm_flops(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
    return 2 * x.numel() * weight[1]
