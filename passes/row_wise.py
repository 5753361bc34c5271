"""Which operators keep the rows of a batch apart, and where the rows then lie: found by trying each operator out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from recpile.passes.rewrite import changes_an_argument
from recpile.passes.row_axis import RowAxis, possible_axes

_ROWS = 4
# Of few numbers, and whole ones at that, rows that are mixed may look apart by chance.
_FEW, _TRIALS, _TRIALS_OF_FEW = 256, 2, 16
# Beyond so many elements a weight is taken as it is: random numbers of its size would need its memory once more.
_LARGE = 1 << 20


@dataclass(frozen=True)
class RowWise:
    """An operator that gives for each row what it gives for that row alone: where the rows lie in each of its results
    (None: it has none, such as a batch norm's statistics), and what one row costs in products."""

    axes: tuple[RowAxis | None, ...]
    flops: int


def row_wise(
    node: Node, rows: Mapping[Node, RowAxis], batch: sympy.Expr, constant: Callable[[Node], Tensor]
) -> RowWise | None:
    """Runs `node` on four random rows, and on each of them alone: the rows are apart if the answers are the same.

    rows: where the rows lie in those of its inputs that have any. batch: the symbol of the batch. constant: the value
    of another input, of which whole numbers and truth values (indices, masks) are used and others drawn anew.
    None if the rows are mixed, or if the operator cannot be run like that. Why by trial:
    docs/decisions/0022-row-wise-is-tried-out.md.
    """
    if not isinstance(node.target, torch._ops.OpOverload) or changes_an_argument(node):
        return None
    results = _listed(node.meta.get("val"))
    possible = [possible_axes(one, batch, rows.values()) for one in results]
    if not any(possible):
        return None
    trials: list[_Trial] = []
    for seed in range(_TRIALS_OF_FEW):
        # Whole numbers are 0 and 1, ids and places in anything; where 0 is an error (a division), 1 and 2.
        trial = _run(node, rows, batch, constant, seed, 0) or _run(node, rows, batch, constant, seed, 1)
        if trial is None:
            return None
        trials.append(trial)
        if len(trials) >= _TRIALS and all(one.numel() >= _FEW for one in trial.whole):
            break
    found = [
        next((axis for axis in axes if all(_apart(axis, one.whole[i], one.of(i)) for one in trials)), None)
        for i, axes in enumerate(possible)
    ]
    if any(axes and axis is None for axes, axis in zip(possible, found, strict=True)):
        return None
    return RowWise(tuple(found), trials[0].flops)


def call_of(node: Node, rows: Mapping[Node, RowAxis]) -> str:
    """What a trial of `node` depends on, so that layers that are alike are tried once."""

    def argument(one: Node) -> str:
        value = one.meta.get("val")
        if not isinstance(value, Tensor):
            return str(value)
        which = rows[one] if one in rows else "weight" if _drawn_anew(value) else one.name
        return f"{value.dtype} {tuple(value.shape)} {which}"

    return f"{node.target}{map_arg((node.args, node.kwargs), argument)}"


@dataclass(frozen=True)
class _Trial:
    whole: list[Tensor]
    alone: list[list[Tensor]]  # a row
    flops: int  # of one row; counted in the first trial

    def of(self, result: int) -> list[Tensor]:
        return [one[result] for one in self.alone]


def _run(
    node: Node,
    rows: Mapping[Node, RowAxis],
    batch: sympy.Expr,
    constant: Callable[[Node], Tensor],
    seed: int,
    low: int,
) -> _Trial | None:
    random = torch.Generator().manual_seed(seed)
    tensors = [one for one in node.all_input_nodes if isinstance(one.meta.get("val"), Tensor)]

    def draw(one: Node) -> Tensor:
        value = one.meta["val"]
        if one not in rows and not _drawn_anew(value):
            return constant(one)
        return _draw([_size(size, batch, _ROWS) for size in value.shape], value.dtype, random, low)

    def answers(count: int, given: Mapping[Node, Tensor]) -> list[Tensor]:
        def argument(one: Node) -> Any:
            return given[one] if one in given else _size(one.meta["val"], batch, count)

        args, kwargs = map_arg((node.args, node.kwargs), argument)
        return _listed(node.target(*args, **kwargs))  # type: ignore[operator]

    try:
        with torch.no_grad():
            drawn = {one: draw(one) for one in tensors}
            whole = answers(_ROWS, drawn)
            of_rows = [
                {one: rows[one].apart(value)[row] if one in rows else value for one, value in drawn.items()}
                for row in range(_ROWS)
            ]
            alone = [answers(1, given) for given in of_rows]
            flops = _flops(lambda: answers(1, of_rows[0])) if seed == 0 else 0
    except Exception:  # an operator that cannot be run on such numbers, or on one row, is not known to be row-wise
        return None
    return _Trial(whole, alone, flops)


def _flops(run: Callable[[], object]) -> int:
    """Of products, also those within attention and recurrent layers, which are counted as PyTorch writes them out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TF32 on other machines, when oneDNN's flags are put back
        with (
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.mkldnn.flags(enabled=False),
            FlopCounterMode(display=False) as counter,
        ):
            run()
    return counter.get_total_flops()


def _drawn_anew(weight: Tensor) -> bool:
    return weight.is_floating_point() and weight.numel() < _LARGE


def _draw(shape: Sequence[int], dtype: torch.dtype, random: torch.Generator, low: int) -> Tensor:
    if dtype.is_floating_point:  # where roots, logarithms and inverse cosines are numbers
        return (torch.rand(shape, generator=random) * 0.8 + 0.1).to(dtype)
    return torch.randint(0 if dtype is torch.bool else low, 2 + low, shape, generator=random).to(dtype)


def _apart(axis: RowAxis, whole: Tensor, alone: Sequence[Tensor]) -> bool:
    wanted = axis.apart(whole)
    if wanted.shape[0] != len(alone):
        return False
    return all(a.shape == b.shape and _close(a, b) for a, b in zip(wanted, alone, strict=True))


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding: a product of several rows is not always summed as that of one."""
    if torch.equal(a, b) or not a.is_floating_point():
        return torch.equal(a, b)
    finite = a.isfinite()
    if not torch.equal(finite, b.isfinite()) or not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return False
    rounding = 1e-4 if a.dtype in (torch.float32, torch.float64) else 3e-2
    a, b = a[finite].float(), b[finite].float()
    return not a.numel() or bool((a - b).abs().max() <= rounding * a.abs().max())


def _size(size: Any, batch: sympy.Expr, count: int) -> Any:
    """A size at `count` rows. ValueError if it is none, or not a multiple of theirs."""
    if not isinstance(size, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return size
    times = size.node.expr / batch if isinstance(size, torch.SymInt) else None
    if times is None or not times.is_Integer:
        raise ValueError(f"{size} is no multiple of the batch")
    return int(times) * count


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
