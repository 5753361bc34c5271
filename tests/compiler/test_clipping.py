"""The search for a row's scale: never worse than spanning its range, and near the best there is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recpile.pycompiler.clipping import codes, search_scale
from recpile.pycompiler.packing import pack, unpack


def errors(table: Tensor, dtype: str, search: bool) -> Tensor:
    """The squared error of each row."""
    return (unpack(pack(table, dtype, search), dtype, table.shape[1]) - table).square().sum(dim=1)


@pytest.mark.parametrize("dtype", ["int4", "int2"])
def test_no_row_is_worse_than_with_its_range_spanned(dtype: str) -> None:
    torch.manual_seed(0)
    table = torch.cat([torch.randn(50, 32), torch.rand(50, 32) ** 4, torch.zeros(1, 32), torch.full((1, 32), 0.3)])
    assert (errors(table, dtype, search=True) <= errors(table, dtype, search=False)).all()


@pytest.mark.parametrize(("dtype", "at_most"), [("int4", 0.85), ("int2", 0.65)])
def test_rows_of_normal_values_lose_much_less(dtype: str, at_most: float) -> None:
    torch.manual_seed(0)
    table = torch.randn(200, 64) * 0.05
    assert errors(table, dtype, search=True).sum() < at_most * errors(table, dtype, search=False).sum()


def test_one_far_value_does_not_cost_the_others_their_precision() -> None:
    row = torch.tensor([[0.0, 0.1, 0.2, 0.3] * 16 + [1.2, 0.0, 0.1, 0.2]])
    assert errors(row, "int2", search=True) < 0.7 * errors(row, "int2", search=False)


def test_the_found_scale_is_near_the_best_of_an_exhaustive_search() -> None:
    torch.manual_seed(1)
    row = torch.randn(1, 8)
    ends = torch.linspace(-3, 3, 121)
    low, high = torch.meshgrid(ends, ends, indexing="ij")
    every = [
        ((codes(row, s.half(), b.half(), 3) * s + b - row) ** 2).sum()
        for b, s in zip(low.reshape(-1, 1, 1), ((high - low) / 3).reshape(-1, 1, 1), strict=True)
        if s > 0
    ]
    assert float(errors(row, "int2", search=True)) <= 1.1 * float(min(every))


def test_rows_are_searched_one_by_one() -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 16)
    scale, bias = search_scale(rows, 15)
    alone = [search_scale(row[None], 15) for row in rows]
    assert torch.equal(scale, torch.cat([one for one, _ in alone]))
    assert torch.equal(bias, torch.cat([one for _, one in alone]))
