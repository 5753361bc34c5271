"""What torch.export would choke on without saying why is refused by name first."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, farthest, kjt
from torch import nn
from zoo import collection

from recpile.pycompiler.schema import Dense
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (4,))


def test_a_lazy_layer_without_a_shape_is_refused_with_the_way_out() -> None:
    model = Computes(lambda self, x: self.out(x).squeeze(1), out=nn.LazyLinear(1))
    with pytest.raises(
        CaptureError, match=r"weight 'out.weight' \(of LazyLinear 'out'\) has no shape yet.* run the model once"
    ):
        captured(model, X)


def test_a_lazy_layer_that_has_run_is_a_layer() -> None:
    model = Computes(lambda self, x: self.out(x).squeeze(1), out=nn.LazyLinear(1))
    model(x=torch.zeros(1, 4))
    assert farthest(model, captured(model, X)) < 1e-6


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
@pytest.mark.proves("Plain PyTorch", "lists and dicts of tables", "refusal")
def test_a_module_whose_name_cannot_be_written_is_refused(name: str) -> None:
    model = Computes(lambda self, x: self.parts[name](x).squeeze(1), parts=nn.ModuleDict({name: nn.Linear(4, 1)}))
    with pytest.raises(CaptureError, match="has a double quote, a backslash or a line break in its name"):
        captured(model, X)


def test_other_names_are_fine() -> None:
    parts = nn.ModuleDict({"it's a-b c": nn.Linear(4, 1)})
    model = Computes(lambda self, x: self.parts["it's a-b c"](x).squeeze(1), parts=parts)
    assert farthest(model, captured(model, X)) < 1e-6


def test_a_table_whose_name_cannot_be_written_is_refused() -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection(('t"x', 5, 4, ["f0"])))
    with pytest.raises(CaptureError, match="use letters, digits and '_' for the names of modules and tables"):
        captured(model, kjt("f0"))


@pytest.mark.parametrize("name", ["class", "import", "lambda"])
def test_a_table_may_be_named_as_a_python_keyword(name: str) -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection((name, 5, 4, ["f0"])))
    program = captured(model, kjt("f0"))
    assert [table.name for table in program.tables.values()] == [name]
    assert farthest(model, program) == 0
    assert list(model.state_dict()) == [f"bags.embedding_bags.{name}.weight"]
