"""Both lookup operators against a naive loop, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from recpile.pycompiler.operators import POOLINGS, embedding_bags, packed_embedding_bags
from recpile.pycompiler.packing import FBGEMM_TYPES, pack, unpack

SUM, MEAN = POOLINGS.index("sum"), POOLINGS.index("mean")


def naive(tables, values, lengths, weights, feature_source, feature_row, feature_table, pooling: int) -> Tensor:
    """Id by id, as the operators' words say it."""
    batch = lengths[0].shape[1]
    rows = []
    for b in range(batch):
        parts = []
        for source, row, table in zip(feature_source, feature_row, feature_table, strict=True):
            start = int(lengths[source].reshape(-1)[: row * batch + b].sum())
            size = int(lengths[source][row, b])
            pooled = torch.zeros(tables[table].shape[1], dtype=torch.float64)
            for at in range(start, start + size):
                weight = float(weights[source][at]) if weights else 1.0
                pooled += weight * tables[table][int(values[source][at])].double()
            parts.append(pooled / size if pooling == MEAN and size else pooled)
        rows.append(torch.cat(parts))
    return torch.stack(rows).float()


def both(tables: Sequence[Tensor], *rest, dtypes: Sequence[str] = ()) -> Tensor:
    """Looks up through the plain and the packed operator, checks both against the loop, and gives the plain result."""
    dtypes = dtypes or ["fp32"] * len(tables)
    packed = [pack(table, dtype) for table, dtype in zip(tables, dtypes, strict=True)]
    dims = [table.shape[1] for table in tables]
    rounded = [unpack(one, dtype, dim) for one, dtype, dim in zip(packed, dtypes, dims, strict=True)]
    plain = embedding_bags(tables, *rest)
    from_packed = packed_embedding_bags(packed, dims, [FBGEMM_TYPES[dtype] for dtype in dtypes], *rest)
    assert torch.allclose(plain, naive(tables, *rest), atol=1e-6)
    assert torch.allclose(from_packed, naive(rounded, *rest), atol=1e-6)
    assert plain.shape == from_packed.shape
    assert plain.dtype == from_packed.dtype == torch.float32
    return plain


def bags(features: int, batch: int, ids: int, longest: int = 3, dtype: torch.dtype = torch.int64):
    """values [nnz] below `ids`, lengths [features, batch]."""
    make = torch.Generator().manual_seed(batch)
    lengths = torch.randint(0, longest + 1, (features, batch), generator=make, dtype=dtype)
    return torch.randint(0, ids, (int(lengths.sum()),), generator=make, dtype=dtype), lengths


T = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])


def test_a_bag_is_the_sum_of_its_rows() -> None:
    got = both([T], [torch.tensor([0, 2, 1])], [torch.tensor([[2, 0, 1]])], [], [0], [0], [0], SUM)
    assert got.tolist() == [[4.0, 40.0], [0.0, 0.0], [2.0, 20.0]]


def test_or_their_mean_and_an_empty_bag_is_zero() -> None:
    got = both([T], [torch.tensor([0, 2, 1])], [torch.tensor([[2, 0, 1]])], [], [0], [0], [0], MEAN)
    assert got.tolist() == [[2.0, 20.0], [0.0, 0.0], [2.0, 20.0]]


def test_or_weighted_and_the_same_id_may_come_twice() -> None:
    weights = [torch.tensor([0.5, 2.0, -1.0])]
    got = both([T], [torch.tensor([0, 2, 2])], [torch.tensor([[1, 2]])], weights, [0], [0], [0], SUM)
    assert got.tolist() == [[0.5, 5.0], [3.0, 30.0]]


def test_features_lie_side_by_side_in_the_order_asked_for() -> None:
    other = torch.tensor([[100.0]])
    got = both([T, other], [torch.tensor([0, 1])], [torch.tensor([[1], [1]])], [], [0, 0], [1, 0], [0, 0], SUM)
    assert got.tolist() == [[2.0, 20.0, 1.0, 10.0]]
    got = both([other, T], [torch.tensor([0, 1])], [torch.tensor([[1], [1]])], [], [0, 0], [0, 1], [0, 1], SUM)
    assert got.tolist() == [[100.0, 2.0, 20.0]]


@pytest.mark.parametrize("pooling", [SUM, MEAN])
@pytest.mark.parametrize("batch", [1, 2, 7, 64])
def test_several_sources_tables_and_types(batch: int, pooling: int) -> None:
    tables = [torch.randn(5, 4), torch.randn(9, 8), torch.randn(7, 3)]
    (v0, l0), (v1, l1) = bags(3, batch, 5), bags(1, batch, 5, dtype=torch.int32)
    features = ([0, 1, 0, 1], [2, 0, 0, 0], [0, 0, 1, 2])
    both(tables, [v0, v1], [l0, l1], [], *features, pooling, dtypes=["int8", "fp32", "fp16"])


@pytest.mark.parametrize("batch", [1, 5])
def test_weights_of_several_sources(batch: int) -> None:
    (v0, l0), (v1, l1) = bags(2, batch, 5), bags(2, batch, 5)
    weights = [torch.rand(len(v0)), torch.rand(len(v1)) - 0.5]
    both([torch.randn(5, 4), torch.randn(6, 4)], [v0, v1], [l0, l1], weights, [1, 0], [1, 0], [0, 1], SUM)


def test_a_row_of_a_source_that_no_feature_reads_is_stepped_over() -> None:
    # Rows 0 and 2 hold ids that no table has: only row 1 is looked up.
    values, lengths = torch.tensor([99, 99, 1, 99]), torch.tensor([[2], [1], [1]])
    got = both([T], [values], [lengths], [], [0], [1], [0], SUM)
    assert got.tolist() == [[2.0, 20.0]]


def test_no_ids_at_all_give_zeros() -> None:
    values, lengths = torch.zeros(0, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)
    for pooling in (SUM, MEAN):
        assert both([T], [values], [lengths], [], [0, 0], [0, 1], [0, 0], pooling).tolist() == [[0.0] * 4] * 3


def test_ids_and_lengths_may_be_int32() -> None:
    values, lengths = bags(2, 4, 3, dtype=torch.int32)
    narrow = both([T], [values], [lengths], [], [0, 0], [0, 1], [0, 0], SUM)
    assert torch.equal(narrow, both([T], [values.long()], [lengths.long()], [], [0, 0], [0, 1], [0, 0], SUM))


@pytest.mark.parametrize("dim", [1, 2, 5, 12, 130])
def test_rows_of_any_width(dim: int) -> None:
    values, lengths = bags(1, 6, 4)
    for dtype in FBGEMM_TYPES:
        if dim % {"int4": 2, "int2": 4}.get(dtype, 1):
            continue  # refused: rows fill whole bytes
        both([torch.randn(4, dim)], [values], [lengths], [], [0], [0], [0], SUM, dtypes=[dtype])


@pytest.mark.parametrize("bad", [-1, 3, 2**40])
def test_an_id_outside_its_table_raises_and_is_named(bad: int) -> None:
    source = ([torch.tensor([0, bad])], [torch.tensor([[1, 1]])], [], [0], [0], [0], SUM)
    with pytest.raises(IndexError, match=rf"id {bad} is outside a table of 3 rows"):
        packed_embedding_bags([pack(T, "int8")], [2], [FBGEMM_TYPES["int8"]], *source)
    with pytest.raises(RuntimeError, match=str(bad)):
        embedding_bags([T], *source)


def test_the_operators_read_their_inputs_only() -> None:
    table, values, weights = T.clone(), torch.tensor([0, 2]), torch.tensor([0.5, 2.0])
    packed = pack(table.clone(), "fp32")
    before = packed.clone()
    both([table], [values], [torch.tensor([[2]])], [weights], [0], [0], [0], SUM)
    packed_embedding_bags([packed], [2], [0], [values], [torch.tensor([[2]])], [weights], [0], [0], [0], SUM)
    assert torch.equal(table, T)
    assert torch.equal(packed, before)
    assert weights.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("weighted", [False, True])
def test_torch_accepts_them_as_operators(weighted: bool) -> None:
    """Schema, fake kernel and tracing with dynamic sizes, as torch.library checks them."""
    values, lengths = bags(2, 3, 3)
    rest = ([values], [lengths], [torch.rand(len(values))] if weighted else [], [0, 0], [1, 0], [0, 0], SUM)
    torch.library.opcheck(torch.ops.recpile.embedding_bags.default, ([T], *rest))
    torch.library.opcheck(torch.ops.recpile.packed_embedding_bags.default, ([pack(T, "int8")], [2], [2], *rest))
