"""The models on which fusions are measured: each as people write it, and as the fusion leaves it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchrec.models.dlrm import InteractionArch
from torchrec.modules.crossnet import CrossNet, LowRankCrossNet

from recpile.passes.base import Pass
from recpile.passes.flatten_interactions import FlattenInteractions
from recpile.passes.fold_batch_norm import FoldBatchNorm
from recpile.passes.join_slices import JoinSlices
from recpile.passes.matmuls_to_linears import MatmulsToLinears
from recpile.passes.merge_linears import MergeLinears
from recpile.passes.stack_branches import StackBranches


@dataclass(frozen=True)
class Case:
    """A model over one input [B, width], fused by a pass, or by one for each type; what has no pass is written by hand
    as one would leave it.

    `declined`: the types in which the pass leaves such a model as it is. It is measured there all the same.
    """

    name: str
    width: int
    model: Callable[[], nn.Module]
    fused: Pass | Mapping[str, Pass] | Callable[[], nn.Module]
    declined: tuple[str, ...] = ()

    def fusion(self, dtype: str) -> Pass | None:
        fused = self.fused[dtype] if isinstance(self.fused, Mapping) else self.fused
        return fused if isinstance(fused, Pass) else None

    def by_hand(self) -> nn.Module:
        assert callable(self.fused)
        return self.fused()

    def in_pipeline(self, dtype: str) -> bool:
        return self.fusion(dtype) is not None and dtype not in self.declined


class Of(nn.Module):
    """`function(self, x)` over named parts, with weights that do not depend on how it is written."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def mlp(*widths: int, between: Callable[[int], list[nn.Module]] = lambda width: [nn.ReLU()]) -> nn.Sequential:
    """Linear layers of these widths with `between` behind each, and a last one of one column."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), *between(b)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


def mlp_after(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, *mlp(256, 128))


def batch_norms() -> nn.Module:
    def norm(width: int) -> list[nn.Module]:
        norm = nn.BatchNorm1d(width)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return [norm, nn.ReLU()]

    return mlp(256, 512, 256, between=norm)


def norm_in_front(fold: bool) -> nn.Module:
    norm, first, last = nn.BatchNorm1d(256), nn.Linear(256, 512), nn.Linear(512, 1)
    # Untrained, the norm scales by 1 and shifts by 0: the folded layer has the same weights, and one operator less.
    return nn.Sequential(*([] if fold else [norm]), first, nn.ReLU(), last)


def layer_norm(fold: bool) -> nn.Module:
    norm = nn.LayerNorm(512, elementwise_affine=not fold)
    return nn.Sequential(nn.Linear(256, 512), nn.ReLU(), norm, nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 1))


def interaction(features: int, dim: int, over: int) -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        first, others = x.view(-1, features, dim).split([1, features - 1], dim=1)
        return self.over(self.dots(first.squeeze(1), others))

    pairs = features * (features - 1) // 2
    return Of(forward, dots=InteractionArch(features - 1), over=mlp(dim + pairs, over))


def low_rank_cross(fold: bool) -> nn.Module:
    def folded(self: Any, x: Tensor) -> Tensor:
        now, cross = x, self.cross
        for v, w, bias in zip(cross.V_kernels, cross.W_kernels, cross.bias, strict=True):
            now = x * F.linear(F.linear(now, v), w, bias) + now
        return self.over(now)

    return Of(
        folded if fold else lambda self, x: self.over(self.cross(x)),
        cross=LowRankCrossNet(432, 3, 64),
        over=mlp(432, 256),
    )


def full_cross() -> nn.Module:
    return Of(lambda self, x: self.over(self.cross(x)), cross=CrossNet(256, 3), over=mlp(256, 256))


def experts(count: int, hidden: int, out: int) -> nn.Module:
    """A mixture of experts with one gate: Ma et al. 2018 (MMoE), one task."""

    def forward(self: Any, x: Tensor) -> Tensor:
        mixed = torch.stack([expert(x) for expert in self.experts], dim=1)
        return self.over((self.gate(x).softmax(dim=1).unsqueeze(2) * mixed).sum(dim=1))

    def expert() -> nn.Module:
        return nn.Sequential(nn.Linear(256, hidden), nn.ReLU(), nn.Linear(hidden, out), nn.ReLU())

    branches = nn.ModuleList([expert() for _ in range(count)])
    return Of(forward, experts=branches, gate=nn.Linear(256, count), over=mlp(out, 32))


def heads(count: int) -> nn.Module:
    """Task heads of one layer each."""

    def forward(self: Any, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x))
        return torch.cat([torch.sigmoid(head(hidden)) for head in self.heads], dim=1)

    return Of(forward, first=nn.Linear(256, 256), heads=nn.ModuleList([nn.Linear(256, 1) for _ in range(count)]))


def sliced() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return self.over(torch.cat([x[:, at : at + 32] for at in range(0, 832, 32)], dim=1))

    return Of(forward, over=mlp(832, 256))


STACKED = {dtype: StackBranches(dtype) for dtype in ("fp32", "bf16")}
CASES = (
    Case("nothing (the noise)", 256, lambda: mlp(256, 512, 256), lambda: mlp(256, 512, 256)),
    Case("FoldBatchNorm: 256-512-256-1", 256, batch_norms, FoldBatchNorm(), ("bf16",)),
    Case("MergeLinears: 256-256 in front of 256-128", 256, lambda: mlp_after(nn.Linear(256, 256)), MergeLinears()),
    Case("FlattenInteractions: 11 x 32, over 128", 352, lambda: interaction(11, 32, 128), FlattenInteractions()),
    Case("FlattenInteractions: 27 x 64, over 512", 1728, lambda: interaction(27, 64, 512), FlattenInteractions()),
    Case("StackBranches: 8 experts 256-128-64", 256, lambda: experts(8, 128, 64), STACKED),
    Case("StackBranches: 3 experts 256-64-32", 256, lambda: experts(3, 64, 32), STACKED),
    Case("StackBranches: 4 heads 256-1", 256, lambda: heads(4), STACKED),
    Case("JoinSlices: 26 features x 32", 832, sliced, JoinSlices()),
    Case("MatmulsToLinears: CrossNet 256 x 3", 256, full_cross, MatmulsToLinears(), ("fp32",)),
    Case("batch norm into the next layer", 256, lambda: norm_in_front(False), lambda: norm_in_front(True)),
    Case("layer norm's affine into the next layer", 256, lambda: layer_norm(False), lambda: layer_norm(True)),
    Case("low-rank cross: bias into the layer", 432, lambda: low_rank_cross(False), lambda: low_rank_cross(True)),
    Case(
        "activations at no cost (a bound)",
        256,
        lambda: mlp(256, 512, 256),
        lambda: mlp(256, 512, 256, between=lambda width: []),
    ),
)
