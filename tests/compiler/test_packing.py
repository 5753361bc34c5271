"""Packed rows: FBGEMM's inference format, byte for byte."""

from __future__ import annotations

import fbgemm_gpu  # noqa: F401  # registers torch.ops.fbgemm
import pytest
import torch
from torch import Tensor

from recpile.pycompiler.operators import packed_embedding_bags
from recpile.pycompiler.packing import FBGEMM_TYPES, TABLE_DTYPES, fits, pack, row_bytes, unpack

DIMS = (1, 3, 4, 6, 8, 33, 36, 128)
CASES = [(dtype, dim) for dtype in TABLE_DTYPES for dim in DIMS if fits(dtype, dim)]


def looked_up(packed: Tensor, dtype: str, dim: int) -> Tensor:
    """Every row through the lookup's kernel (FBGEMM's, but for bf16), in a bag of its own."""
    rows = packed.shape[0]
    ids, ones = torch.arange(rows), torch.ones(1, rows, dtype=torch.int64)
    return packed_embedding_bags([packed], [dim], [FBGEMM_TYPES[dtype]], [ids], [ones], [], [0], [0], [0], 0)


def round_trip(table: Tensor, dtype: str) -> Tensor:
    return unpack(pack(table, dtype), dtype, table.shape[1])


def test_an_fp32_row_is_its_elements() -> None:
    packed = pack(torch.tensor([[1.0, -2.0]]), "fp32")
    assert bytes(packed[0].tolist()) == bytes.fromhex("0000803f000000c0")


def test_an_fp16_row_is_its_elements_rounded() -> None:
    packed = pack(torch.tensor([[1.0, -2.0, 1.0 + 2**-12]]), "fp16")
    assert bytes(packed[0].tolist()) == bytes.fromhex("003c00c0003c")


def test_a_bf16_row_is_its_elements_rounded_to_even() -> None:
    packed = pack(torch.tensor([[1.0, -2.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1e38]]), "bf16")
    assert bytes(packed[0].tolist()) == bytes.fromhex("803f00c0803f823f967e")


def test_an_int8_row_is_scale_and_bias_in_fp16_and_a_byte_an_element() -> None:
    # From 2 to 2 + 255 * 0.5: scale 0.5 (0x3800), bias 2 (0x4000).
    packed = pack(torch.tensor([[2.0, 129.5, 2.5, 10.2]]), "int8")
    assert bytes(packed[0].tolist()) == bytes.fromhex("0038004000ff0110")
    assert round_trip(torch.tensor([[2.0, 129.5, 2.5, 10.2]]), "int8").tolist() == [[2.0, 129.5, 2.5, 10.0]]


def test_an_int4_row_is_scale_and_bias_and_two_elements_a_byte_the_first_in_the_low_bits() -> None:
    # 2 + 0.5 * 1, 15, 2, 0 -> codes f1 and 02 after scale 0.5 (0x3800) and bias 2 (0x4000).
    packed = pack(torch.tensor([[2.5, 9.5, 3.0, 2.0]]), "int4")
    assert bytes(packed[0].tolist()) == bytes.fromhex("00380040f102")


def test_an_int2_row_is_scale_and_bias_and_four_elements_a_byte() -> None:
    # -1 + 2 * 3, 0, 1, 2 -> codes 10 01 00 11 after scale 2 (0x4000) and bias -1 (0xbc00).
    packed = pack(torch.tensor([[5.0, -1.0, 1.0, 3.0]]), "int2")
    assert bytes(packed[0].tolist()) == bytes.fromhex("004000bc93")


@pytest.mark.parametrize(
    ("dtype", "size"), [("fp32", 32), ("fp16", 16), ("bf16", 16), ("int8", 12), ("int4", 8), ("int2", 6)]
)
def test_row_bytes_of_eight_elements(dtype: str, size: int) -> None:
    assert row_bytes(dtype, 8) == size


@pytest.mark.parametrize(("dtype", "dim"), CASES)
def test_row_bytes_are_those_of_a_packed_row(dtype: str, dim: int) -> None:
    assert pack(torch.rand(3, dim), dtype).shape == (3, row_bytes(dtype, dim))


@pytest.mark.parametrize(
    ("dtype", "dim", "multiple"), [("int4", 5, 2), ("int2", 5, 4), ("int2", 6, 4)], ids=["int4", "int2", "int2 even"]
)
def test_a_row_that_does_not_fill_its_last_byte_is_refused(dtype: str, dim: int, multiple: int) -> None:
    with pytest.raises(ValueError, match=f"{dtype} rows hold a multiple of {multiple} elements; this table has {dim}"):
        pack(torch.rand(3, dim), dtype)


@pytest.mark.parametrize(("dtype", "dim"), CASES)
def test_unpack_gives_what_a_lookup_gives(dtype: str, dim: int) -> None:
    torch.manual_seed(dim)
    packed = pack(torch.randn(7, dim) * torch.logspace(-3, 3, 7)[:, None], dtype)
    assert torch.equal(looked_up(packed, dtype, dim), unpack(packed, dtype, dim))


@pytest.mark.parametrize("dim", DIMS)
def test_fp32_comes_back_exactly_and_fp16_and_bf16_as_rounded(dim: int) -> None:
    table = torch.randn(5, dim)
    assert torch.equal(round_trip(table, "fp32"), table)
    assert torch.equal(round_trip(table, "fp16"), table.half().float())
    assert torch.equal(round_trip(table, "bf16"), table.bfloat16().float())


def test_an_int8_element_is_off_by_half_a_step_at_most() -> None:
    torch.manual_seed(0)
    table = torch.randn(50, 64)
    step = (table.amax(dim=1) - table.amin(dim=1)) / 255
    # Half a step, and what rounding scale and bias to fp16 adds: 2 ** -11 of the largest element.
    allowed = step / 2 + table.abs().amax(dim=1) * 2**-11
    assert ((round_trip(table, "int8") - table).abs().amax(dim=1) <= allowed).all()


def test_bytes_are_chosen_for_the_bias_that_a_lookup_uses() -> None:
    # 100.03 is 100 in fp16: the bytes count from there.
    table = torch.tensor([[100.03, 102.0, 105.0, 110.0]])
    assert ((round_trip(table, "int8") - table).abs() <= 10 / 255 / 2 + 4e-3).all()


def test_int8_loses_no_more_than_fbgemms_own_quantizer_and_its_fp16_header() -> None:
    torch.manual_seed(0)
    table = torch.randn(200, 64)
    theirs = torch.ops.fbgemm.Fused8BitRowwiseQuantizedToFloat(torch.ops.fbgemm.FloatToFused8BitRowwiseQuantized(table))
    ours = (round_trip(table, "int8") - table).abs().mean()
    assert ours <= 1.02 * (theirs - table).abs().mean()


@pytest.mark.parametrize("value", [0.0, 1.0, -0.25, 0.3, 1e-3, -1234.5, 60000.0])
def test_a_row_of_one_value_comes_back_to_fp16_precision_or_better(value: float) -> None:
    table = torch.full((2, 5), value)
    assert ((round_trip(table, "int8") - table).abs() <= abs(value) * 2**-11).all()


def test_rows_do_not_disturb_each_other() -> None:
    table = torch.stack([torch.zeros(4), torch.full((4,), 1e-5), torch.tensor([-6e4, -1.0, 1.0, 6e4])])
    for dtype in TABLE_DTYPES:
        together = round_trip(table, dtype)
        assert torch.equal(together, torch.cat([round_trip(row[None], dtype) for row in table]))
        assert together[0].tolist() == [0.0] * 4


@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1.0, 1e4])
def test_scales_from_tiny_to_huge_stay_finite_and_in_the_rows_range(scale: float) -> None:
    table = torch.linspace(-6, 6, 16)[None] * scale
    for dtype in TABLE_DTYPES:
        back = round_trip(table, dtype)
        assert torch.isfinite(back).all()
        assert float(back.abs().max()) <= 6 * scale * 1.02


def test_a_bag_is_the_sum_of_its_unpacked_rows() -> None:
    table = torch.randn(6, 8)
    for dtype in TABLE_DTYPES:
        ids, lengths = torch.tensor([5, 0, 5]), torch.tensor([[3]])
        got = packed_embedding_bags(
            [pack(table, dtype)], [8], [FBGEMM_TYPES[dtype]], [ids], [lengths], [], [0], [0], [0], 0
        )
        assert torch.allclose(got[0], round_trip(table, dtype)[ids].sum(dim=0), atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", TABLE_DTYPES)
def test_a_value_that_is_not_finite_is_refused_with_its_row(bad: float, dtype: str) -> None:
    table = torch.zeros(4, 4)
    table[2, 1] = bad
    with pytest.raises(ValueError, match="row 2 holds NaN or Inf; a trained table is finite"):
        pack(table, dtype)


@pytest.mark.parametrize("dtype", ["fp16", "int8", "int4"])
def test_a_value_beyond_fp16_is_refused_where_the_format_holds_fp16(dtype: str) -> None:
    table = torch.tensor([[0.0, -65505.0 - 32]])
    with pytest.raises(
        ValueError, match=rf"values up to 6.55e\+04 do not fit {dtype} rows \(at most 65504\); use bf16 or fp32"
    ):
        pack(table, dtype)
    assert torch.equal(round_trip(table, "fp32"), table)
    assert torch.equal(round_trip(table, "bf16"), table.bfloat16().float())


def test_a_value_beyond_bf16_is_refused() -> None:
    largest = torch.finfo(torch.bfloat16).max
    assert round_trip(torch.tensor([[largest]]), "bf16").item() == largest
    with pytest.raises(
        ValueError, match=r"values up to 3\.4e\+38 do not fit bf16 rows \(at most 3.38953e\+38\); use fp32"
    ):
        pack(torch.tensor([[torch.finfo(torch.float32).max]]), "bf16")


def test_the_table_that_was_packed_is_left_as_it_was() -> None:
    table = torch.nn.Parameter(torch.randn(5, 4))
    kept = table.detach().clone()
    for dtype in TABLE_DTYPES:
        pack(table, dtype)
    assert torch.equal(table, kept)
    assert table.requires_grad


def test_a_table_that_is_a_part_of_another_is_packed_as_it_looks() -> None:
    wide = torch.randn(4, 8)
    for dtype in TABLE_DTYPES:
        assert torch.equal(pack(wide[:, 2:6], dtype), pack(wide[:, 2:6].contiguous(), dtype))
