"""run_passes: passes in order, the program's invariants verified after each, errors that say which pass it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from compiler.graphs import Computes, captured, kjt
from torch import nn
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor
from zoo import collection

from recpile.passes.base import Pass, PassError, PassResult, run_passes
from recpile.passes.invariants import verify
from recpile.passes.pipeline import passes
from recpile.passes.quantize_tables import TablePrecision
from recpile.pycompiler.capture import FlatModel, example_inputs
from recpile.pycompiler.operators import embedding_bags
from recpile.pycompiler.program import Program, Table
from recpile.pycompiler.schema import Dense, InputSchema, KeyedJagged, TensorSpec


class Quiet(Pass):
    """Leaves the program, and a note."""

    def run(self, program: Program) -> PassResult:
        return PassResult(program.with_notes(self.declined("all", "nothing to do")), changed=False)


class Busy(Pass):
    """Renames the program."""

    def run(self, program: Program) -> PassResult:
        return PassResult(replace(program, name="busy").with_notes(self.did("name", "is busy now")), changed=True)


class Raises(Pass):
    def run(self, program: Program) -> PassResult:
        raise KeyError("lost")


class ForgetsWeights(Pass):
    """Leaves a table that the graph does not hold."""

    def run(self, program: Program) -> PassResult:
        return PassResult(replace(program, tables={**program.tables, "gone": Table("gone", 3, 4)}), changed=True)


@pytest.fixture(scope="module")
def whole() -> Program:
    """One lookup of two tables and one layer, as captured."""
    model = Computes(
        lambda self, x, sparse: self.out(torch.cat([x, self.bags(sparse).values()], dim=1)),
        bags=collection(("a", 5, 4, ["f0"]), ("b", 5, 4, ["f1"])),
        out=nn.Linear(3 + 8, 1),
    )
    return captured(model, Dense("x", (3,)), kjt("f0", "f1"))


@pytest.fixture(scope="module")
def cut(whole: Program) -> Program:
    """The same after all passes: stages embedding and dense."""
    return run_passes(whole, passes(TablePrecision(), "fp32"))


def test_passes_run_in_order_and_each_is_announced(whole: Program) -> None:
    announced: list[str] = []
    program = run_passes(whole, [Busy(), Quiet(), Busy()], before=lambda one: announced.append(one.name))
    assert announced == ["Busy", "Quiet", "Busy"]
    assert program.name == "busy"
    assert [(note.pass_name, note.did, note.subject, note.reason) for note in program.log] == [
        ("Busy", True, "name", "is busy now"),
        ("Quiet", False, "all", "nothing to do"),
        ("Busy", True, "name", "is busy now"),
    ]


def test_no_passes_give_the_program_back(whole: Program) -> None:
    assert run_passes(whole, []) is whole


def test_a_pass_that_raises_is_named_with_those_before_it(whole: Program) -> None:
    with pytest.raises(PassError, match=r"pass Raises failed \(after Quiet, Busy\): 'lost'") as caught:
        run_passes(whole, [Quiet(), Busy(), Raises(), Quiet()])
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_pass_that_breaks_an_invariant_is_named_with_those_before_it(whole: Program) -> None:
    expected = r"pass ForgetsWeights broke the program \(after Quiet\): table 'gone' has no weight 'gone' in the graph"
    with pytest.raises(PassError, match=expected):
        run_passes(whole, [Quiet(), ForgetsWeights(), Busy()])


def test_the_first_pass_comes_after_no_other(whole: Program) -> None:
    with pytest.raises(PassError, match=r"pass Raises failed \(after no other pass\)"):
        run_passes(whole, [Raises()])


def test_the_program_is_verified_before_the_first_pass(whole: Program) -> None:
    broken = replace(whole, tables={})
    with pytest.raises(ValueError, match="must take its tables in the program's order") as caught:
        run_passes(broken, [Raises()])
    assert not isinstance(caught.value, PassError)


def breaks(message: str, program: Program) -> None:
    with pytest.raises(ValueError, match=message):
        verify(program)


def test_a_program_whole_or_cut_holds_every_invariant(whole: Program, cut: Program) -> None:
    verify(whole)
    verify(cut)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([Dense("x", (3,))], ["s"], "the graph takes 3 inputs; the schema has 1"),
        (
            [Dense("x", (3,), torch.float16), kjt("f0", "f1")],
            ["s"],
            "input 'x' became torch.float32; the schema says torch.float16",
        ),
        ([Dense("x", (3,)), kjt("f0", "f1")], ["s", "t"], "the graph gives 1 outputs; the schema names 2"),
    ],
    ids=["inputs", "types", "outputs"],
)
def test_the_graph_takes_and_gives_what_the_schema_says(whole, inputs, outputs, message) -> None:
    breaks(message, replace(whole, schema=InputSchema(inputs, outputs)))


def test_every_named_axis_is_dynamic(whole: Program) -> None:
    model = FlatModel(Computes(lambda self, x: x * 2).eval(), InputSchema([Dense("x", (3,))]))
    fixed = torch.export.export(model, (example_inputs(model.schema),), strict=False)
    message = r"input 'x' became \[6, 3\]; the schema says \['candidate', 3\]: its axis 'candidate' must stay dynamic"
    breaks(message, Program("fixed", fixed, model.schema, {}))


def test_every_output_begins_with_the_batch() -> None:
    program = captured(Computes(lambda self, x: x.mean()), Dense("x", (3,)))
    breaks(r"output 'score' is \[\] \(by aten.mean.default .*\); its first axis must be 'candidate'", program)
    turned = captured(Computes(lambda self, x: x.t()), Dense("x", (3,)))
    breaks(r"output 'score' is \[3, s\d+\] .*; its first axis must be 'candidate'", turned)


def test_every_table_has_its_weight_in_its_shape(whole: Program) -> None:
    (fqn, table), *rest = whole.tables.items()
    other = dict(rest)
    breaks("table 'a' has no weight 'elsewhere' in the graph", replace(whole, tables={"elsewhere": table, **other}))
    breaks(
        r"table 'a' holds \[5, 4\]; expected \[6, 4\]", replace(whole, tables={fqn: replace(table, rows=6), **other})
    )


def test_a_packed_table_has_the_bytes_of_its_type(cut: Program) -> None:
    grown = {fqn: replace(table, dtype="int8") for fqn, table in cut.tables.items()}
    breaks(r"table 'a' holds \[5, 16\]; expected \[5, 8\]", replace(cut, tables=grown))


def test_a_lookup_takes_its_tables_in_the_programs_order(whole: Program) -> None:
    turned = dict(reversed(list(whole.tables.items())))
    breaks("lookup 'embedding_bags' must take its tables in the program's order", replace(whole, tables=turned))


def test_lookups_are_packed_if_and_only_if_their_tables_are() -> None:
    # A table of 5 plain fp32 columns has the shape of one of a single int8 element behind its header.
    program = captured(
        Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection(("a", 4, 5, ["f0"]))), kjt("f0")
    )
    packed = {fqn: Table("a", 4, 1, "int8", packed=True) for fqn in program.tables}
    breaks("lookup 'embedding_bags' does not fit its tables: packed is", replace(program, tables=packed))


class OutOfOrder(nn.Module):
    """A lookup whose first feature reads its second table."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.rand(5, 4)), nn.Parameter(torch.rand(5, 4))

    def forward(self, sparse: KeyedJaggedTensor) -> torch.Tensor:
        lengths = sparse.lengths().view(2, -1)
        return embedding_bags([self.a, self.b], [sparse.values()], [lengths], [], [0, 0], [0, 1], [1, 0], 0)


def test_a_lookup_goes_table_by_table() -> None:
    program = captured(OutOfOrder(), KeyedJagged("sparse", ["f0", "f1"]))
    tables = {f"model.{name}": Table(name, 5, 4) for name in "ab"}
    breaks("lookup 'embedding_bags' must go table by table", replace(program, tables=tables))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda p: {"stages": p.stages[::-1]}, r"stage 'dense' takes \['embedding/pooled'\], which no stage before it"),
        (
            lambda p: {"stages": (*p.stages, p.stages[0])},
            r"stage 'embedding' gives \['embedding/pooled'\], which exists",
        ),
        (lambda p: {"stages": p.stages[:1]}, r"outputs \['dense/linear'\] are given by no stage"),
        (lambda p: {"outputs": ()}, "the stages do not give every output"),
        (lambda p: {"stages": (p.stages[0], replace(p.stages[1], inputs=("x",)))}, "stage 'dense' has 2 graph inputs"),
        (lambda p: {"stages": (p.stages[0], replace(p.stages[1], outputs=()))}, "stage 'dense' gives 1 values, not"),
    ],
    ids=["order", "twice", "lost output", "too few outputs", "graph inputs", "graph outputs"],
)
def test_stages_give_what_later_ones_take(cut: Program, edit: Callable[[Program], dict], message: str) -> None:
    breaks(message, replace(cut, **edit(cut)))


@pytest.mark.parametrize("wrong", [{"dtype": torch.float16}, {"shape": ("candidate",)}], ids=["type", "rank"])
def test_a_stage_gives_what_it_says(cut: Program, wrong: dict) -> None:
    dense = cut.stages[1]
    (spec,) = dense.outputs
    told = replace(dense, outputs=(TensorSpec(**{**vars(spec), **wrong}),))
    breaks("stage 'dense' gives 'dense/linear' as torch.float32", replace(cut, stages=(cut.stages[0], told)))
