"""QuantizeTables: tables packed in the types asked for, lookups in their packed form, and what it costs."""

from __future__ import annotations

import copy

import pytest
import torch
from compiler.graphs import Computes, captured, count, farthest, kjt, lookup_calls, reasons
from torch import nn
from zoo import collection

from recpile.passes.graph import EMBEDDING_BAGS, PACKED_EMBEDDING_BAGS
from recpile.passes.invariants import verify
from recpile.passes.quantize_tables import QuantizeTables, TablePrecision
from recpile.pycompiler.packing import FBGEMM_TYPES, pack, unpack
from recpile.pycompiler.program import Program

ITEM, USER = "model.bags.embedding_bags.item.weight", "model.bags.embedding_bags.user.weight"


def model_of_two_tables() -> nn.Module:
    torch.manual_seed(0)
    bags = collection(("user", 6, 4, ["f0"]), ("item", 5, 8, ["f0", "f1"]))
    return Computes(lambda self, sparse: self.out(self.bags(sparse).values()), bags=bags, out=nn.Linear(20, 1))


def program_of(model: nn.Module) -> Program:
    return captured(model, kjt("f0", "f1"))


def weight(model: nn.Module, table: str) -> torch.Tensor:
    return model.get_parameter(f"bags.embedding_bags.{table}.weight")


def quantized(program: Program, default: str = "fp32", **rules: str) -> Program:
    result = QuantizeTables(TablePrecision(default, tuple(rules.items()))).run(program)
    verify(result.program)
    assert result.changed
    return result.program


def test_a_lookup_becomes_packed_and_says_dims_and_types() -> None:
    program = program_of(model_of_two_tables())
    after = quantized(program, "int8", user="fp16")
    assert (count(program, EMBEDDING_BAGS), count(program, PACKED_EMBEDDING_BAGS)) == (1, 0)
    assert (count(after, EMBEDDING_BAGS), count(after, PACKED_EMBEDDING_BAGS)) == (0, 1)
    (call,) = lookup_calls(after)
    assert call.dims == [4, 8]
    assert call.dtypes == [FBGEMM_TYPES["fp16"], FBGEMM_TYPES["int8"]]


def test_fp32_weights_are_no_longer_in_the_program() -> None:
    program = program_of(model_of_two_tables())
    after = quantized(program, "int8")
    assert {USER, ITEM} <= set(program.graph.state_dict)
    packed = {fqn: value for fqn, value in after.graph.state_dict.items() if value.dtype == torch.uint8}
    assert {fqn: list(value.shape) for fqn, value in packed.items()} == {
        f"{USER}_packed": [6, 4 + 4],
        f"{ITEM}_packed": [5, 4 + 8],
    }
    assert set(after.graph.state_dict) - set(packed) == {"model.out.weight", "model.out.bias"}
    assert list(after.tables) == list(packed)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16", "int8", "int4", "int2"])
def test_answers_are_those_of_the_model_with_its_tables_rounded(dtype: str) -> None:
    model = model_of_two_tables()
    after = quantized(program_of(model), dtype)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for table in ("user", "item"):
            plain = weight(rounded, table)
            plain.copy_(unpack(pack(plain, dtype), dtype, plain.shape[1]))
    assert farthest(rounded, after) < 1e-5
    assert (farthest(model, after) < 1e-5) == (dtype == "fp32")


def test_each_table_gets_the_type_of_the_first_rule_that_matches_it() -> None:
    precision = TablePrecision("fp32", (("user*", "fp16"), ("*", "int8")))
    assert [precision.of(name) for name in ("user", "user_city", "item")] == ["fp16", "fp16", "int8"]
    program = QuantizeTables(precision).run(program_of(model_of_two_tables())).program
    assert {table.name: table.dtype for table in program.tables.values()} == {"user": "fp16", "item": "int8"}


def test_the_command_line_gives_one_default_and_any_number_of_rules() -> None:
    assert TablePrecision.parse([]) == TablePrecision("fp32")
    assert TablePrecision.parse(["user*=fp16", "int8"]) == TablePrecision("int8", (("user*", "fp16"),))
    by_size = TablePrecision.parse([">=1MB=int4", "fp16", "user*=int8", ">=1KB=bf16"])
    assert [by_size.of(*one) for one in (("user", 10**7), ("item", 10**7), ("item", 2000), ("item", 20))] == [
        *("int8", "int4", "bf16", "fp16")
    ]
    with pytest.raises(ValueError, match="size: got '1 acre'; use a number and B, KB"):
        TablePrecision.parse([">=1 acre=int4"])
    with pytest.raises(ValueError, match=r"got 2 defaults \(int8, fp16\); give one, or TABLE=TYPE"):
        TablePrecision.parse(["int8", "fp16"])


@pytest.mark.parametrize("texts", [["int9"], ["user=int9"]], ids=["default", "rule"])
def test_an_unknown_type_is_refused_with_the_types_there_are(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="embedding dtype: got 'int9'; use one of fp32, fp16, bf16, int8, int4, int2"):
        TablePrecision.parse(texts)


def test_a_lookup_may_have_bf16_rows_beside_others() -> None:
    model = model_of_two_tables()
    after = quantized(program_of(model), "int8", user="bf16")
    (call,) = lookup_calls(after)
    assert call.dtypes == [FBGEMM_TYPES["bf16"], FBGEMM_TYPES["int8"]]
    user = next(table for table in after.tables.values() if table.name == "user")
    plain = weight(model, "user").detach()
    assert user.error.max == float((plain.bfloat16().float() - plain).abs().max()) > 0


def test_a_table_whose_rows_cannot_fill_bytes_is_refused_by_name() -> None:
    bags = collection(("user", 6, 5, ["f0"]))
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=bags)
    with pytest.raises(ValueError, match="table 'user': int4 rows hold a multiple of 2 elements; this table has 5"):
        quantized(captured(model, kjt("f0", "f1")), "int4")


def test_a_rule_that_matches_no_table_is_refused_with_the_tables_there_are() -> None:
    program = program_of(model_of_two_tables())
    with pytest.raises(ValueError, match=r"rule 'usr\*' matches no table; the tables are user, item"):
        QuantizeTables(TablePrecision("fp32", (("usr*", "int8"),))).run(program)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "int8"])
def test_a_weight_that_is_not_finite_is_refused_with_its_table_and_row(dtype: str) -> None:
    model = model_of_two_tables()
    with torch.no_grad():
        weight(model, "item")[3, 2] = float("nan")
    program = program_of(model)
    with pytest.raises(ValueError, match="table 'item': row 3 holds NaN or Inf"):
        quantized(program, dtype)


def test_a_weight_too_large_for_fp16_is_refused_with_its_table() -> None:
    model = model_of_two_tables()
    with torch.no_grad():
        weight(model, "user")[0, 0] = 70000.0
    program = program_of(model)
    with pytest.raises(ValueError, match=r"table 'user': values up to 7e\+04 do not fit fp16 rows .* use bf16 or fp32"):
        quantized(program, "fp16")
    assert farthest(model, quantized(program, "fp32")) < 1e-2
    assert quantized(program, "bf16").tables[f"{USER}_packed"].error.max == abs(
        70000 - float(torch.tensor(70000.0).bfloat16())
    )


def test_errors_are_what_unpacking_gives() -> None:
    model = model_of_two_tables()
    program = quantized(program_of(model), "int8", user="fp16")
    for table in program.tables.values():
        plain = weight(model, table.name).detach()
        difference = (unpack(pack(plain, table.dtype), table.dtype, table.dim) - plain).abs()
        assert table.error.max == float(difference.max()) > 0
        assert table.error.mean == pytest.approx(float(difference.mean()), rel=1e-5)


def test_fp32_tables_have_no_error_and_are_not_copied() -> None:
    model = model_of_two_tables()
    program = quantized(program_of(model))
    assert {(table.error.mean, table.error.max) for table in program.tables.values()} == {(0.0, 0.0)}
    assert program.graph.state_dict[f"{ITEM}_packed"].data_ptr() == weight(model, "item").data_ptr()


def test_the_log_gives_each_tables_size_and_error() -> None:
    did = reasons(quantized(program_of(model_of_two_tables()), "int8"), "QuantizeTables", did=True)
    assert list(did) == ["user", "item"]
    assert did["item"].startswith("int8: 60 bytes of 160, mean error 0.00")


def test_a_second_run_changes_nothing_and_says_why() -> None:
    once = quantized(program_of(model_of_two_tables()), "int8")
    again = QuantizeTables(TablePrecision("int8")).run(once)
    assert not again.changed
    assert (again.program.graph, again.program.tables) == (once.graph, once.tables)
    declined = reasons(again.program, "QuantizeTables", did=False)
    assert declined == {"user": "is packed already", "item": "is packed already"}


def test_the_users_weights_and_the_given_program_are_left_as_they_were() -> None:
    model = model_of_two_tables()
    kept = weight(model, "item").detach().clone()
    program = program_of(model)
    before = str(program.graph.graph)
    quantized(program, "int8")
    assert torch.equal(weight(model, "item"), kept)
    assert str(program.graph.graph) == before
    assert program.graph.state_dict[ITEM].dtype == torch.float32


def test_a_table_that_two_lookups_share_is_packed_once() -> None:
    model = Computes(
        lambda self, a, b: torch.cat([self.bags(a).values(), self.bags(b).values()], dim=1),
        bags=collection(("t", 5, 4, ["f0"])),
    )
    after = quantized(captured(model, kjt("f0", name="a"), kjt("f0", name="b")), "fp16")
    assert count(after, PACKED_EMBEDDING_BAGS) == 2
    assert [fqn for fqn, value in after.graph.state_dict.items() if value.dtype == torch.uint8] == list(after.tables)
    assert farthest(model, after) < 0.01
