"""What tracing decides from sizes is watched, with the line of the model, also where torch leaves no guard."""

from __future__ import annotations

import torch
import zoo
from compiler.graphs import Computes, kjt

from recpile.pycompiler.capture import capture
from recpile.pycompiler.decisions import broken_by, watch_decisions
from recpile.pycompiler.schema import Dense, InputSchema, Jagged

X = Dense("x", (3,))


def decisions(function, *inputs):
    schema = InputSchema(inputs)
    with watch_decisions() as found:
        program = capture(Computes(function).eval(), schema, "m")
    return found, program


def if_any_ids(self, x, ids):
    if ids.values().numel() > 0:
        return x.sum(1)
    return x.sum(1) * 2


def if_one_candidate(self, x):
    if x.shape[0] == 1:
        return x.sum(1) * 3
    return x.sum(1)


def test_a_branch_that_torch_takes_for_always_true_is_seen_with_its_line():
    for function, line in ((if_any_ids, "if ids.values().numel() > 0:"), (if_one_candidate, "if x.shape[0] == 1:")):
        inputs = [X, Jagged("ids")] if function is if_any_ids else [X]
        found, program = decisions(function, *inputs)
        (branch,) = [one for one in found if one.kind == "branch"]
        assert branch.source.endswith(line)
        assert "test_decisions.py:" in branch.source
        assert all(not range.lower > 2 for range in program.graph.range_constraints.values())


def test_a_guard_is_said_in_the_inputs_names_and_with_sizes_that_break_it():
    def up_to_100_ids(self, x, ids):
        return x.sum(1) if ids.values().shape[0] <= 100 else x.sum(1) * 2

    found, _ = decisions(up_to_100_ids, X, Jagged("ids"))
    schema = InputSchema([X, Jagged("ids")])
    (guard,) = [one for one in found if one.kind == "guard" and broken_by(one, schema)]
    assert guard.condition == "ids.values.shape[0] <= 100"
    assert guard.source.endswith("return x.sum(1) if ids.values().shape[0] <= 100 else x.sum(1) * 2")
    assert broken_by(guard, schema) == {"ids.nnz": 512}


def test_pairs_of_ids_want_an_even_number_of_them():
    def pairs(self, x, ids):
        return x.sum(1) + ids.values().view(-1, 2).sum()

    found, _ = decisions(pairs, X, Jagged("ids"))
    broken = [broken_by(one, InputSchema([X, Jagged("ids")])) for one in found if one.kind == "guard"]
    assert {"ids.nnz": 1} in broken


def test_sizes_that_the_schema_makes_equal_break_no_guard():
    model, schema = zoo.two_sources()
    with watch_decisions() as found:
        capture(model, schema, "m")
    assert [one.kind for one in found] == ["guard"] * len(found)
    assert [broken_by(one, schema) for one in found] == [None] * len(found)


def test_a_models_own_arithmetic_on_sizes_is_no_decision():
    def forward(self, sparse):
        batch = sparse.stride()
        return torch.zeros(batch, 2) + sparse.lengths().reshape(-1, batch).sum(0).unsqueeze(1) / (batch + 1) * (
            batch + 1
        )

    found, _ = decisions(forward, kjt("f0", "f1"))
    assert not [one for one in found if one.kind != "guard"]


def test_torch_is_left_as_it_was():
    before = torch.SymBool.__bool__, torch.SymInt.__index__
    with watch_decisions(), watch_decisions():
        assert torch.SymBool.__bool__ is not before[0]
    assert (torch.SymBool.__bool__, torch.SymInt.__index__) == before
