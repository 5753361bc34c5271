"""Loading a checkpoint into a model: every weight is found and none is left over, by name."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import collection

from recpile.pycompiler.checkpoints.errors import CheckpointError
from recpile.pycompiler.checkpoints.load import load_checkpoint
from recpile.pycompiler.checkpoints.mapping import CheckpointMapping, Rule
from recpile.pycompiler.checkpoints.read import read_checkpoint
from recpile.pycompiler.checkpoints.weights import HeldWeights


class Ranker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = collection(("item", 5, 4, ["f0"]))
        self.hidden, self.out = nn.Linear(4, 3), nn.Linear(3, 1)
        self.norm = nn.BatchNorm1d(3)


def state(model: nn.Module | None = None) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in (model or Ranker()).state_dict().items()}


def saved(path: Path, what: object) -> Path:
    torch.save(what, path)
    return path


def test_a_saved_state_dict_comes_back_and_fits(tmp_path: Path) -> None:
    trained, model = Ranker(), Ranker()
    load_checkpoint(model, read_checkpoint(saved(tmp_path / "model.pt", trained.state_dict())))
    wanted = trained.state_dict()
    assert list(wanted) == list(model.state_dict())
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_buffers_are_weights_too() -> None:
    held = state()
    del held["norm.running_mean"]
    with pytest.raises(CheckpointError, match=r"1 missing: 'norm.running_mean'"):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_a_missing_weight_is_named() -> None:
    held = state()
    del held["out.bias"]
    with pytest.raises(CheckpointError, match=r"does not fit the model; weights 1 missing: 'out.bias'$"):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_an_unexpected_weight_is_named() -> None:
    with pytest.raises(
        CheckpointError, match=r"weights 1 unexpected: 'optimizer.step'\. In a mapping file .*`drop: true`"
    ):
        load_checkpoint(Ranker(), HeldWeights({**state(), "optimizer.step": torch.zeros(1)}))


def test_a_misnamed_weight_is_shown_beside_what_it_may_be() -> None:
    held = state()
    held["bags.embedding_bags.items.weight"] = held.pop("bags.embedding_bags.item.weight")
    expected = (
        r"'bags.embedding_bags.item.weight' \(did you mean the checkpoint's 'bags.embedding_bags.items.weight'\?\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_a_misshapen_weight_is_named_with_both_shapes() -> None:
    held = {**state(), "hidden.weight": torch.zeros(3, 5)}
    expected = r"1 of another shape or type: 'hidden.weight' is \[3, 5\] in the checkpoint and \[3, 4\] in the model"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_every_problem_is_listed_at_once() -> None:
    held = {**state(), "hidden.weight": torch.zeros(1), "extra": torch.zeros(1)}
    del held["out.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: .*; 1 unexpected: .*; 1 of another shape or type: "):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_a_long_list_is_cut_after_ten_names() -> None:
    with pytest.raises(CheckpointError, match=r"12 unexpected: 'extra0', .*'extra9' and 2 more"):
        load_checkpoint(Ranker(), HeldWeights({**state(), **{f"extra{i}": torch.zeros(1) for i in range(12)}}))


def test_a_checkpoint_that_does_not_fit_changes_nothing() -> None:
    model = Ranker()
    before = copy.deepcopy(model.state_dict())
    others = {name: value + 1 for name, value in before.items()}
    with pytest.raises(CheckpointError):
        load_checkpoint(model, HeldWeights({**others, "extra": torch.zeros(1)}))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_parameter_that_two_modules_share_stays_one() -> None:
    model = Ranker()
    twin = nn.Linear(4, 3)
    twin.weight = model.hidden.weight
    model.add_module("twin", twin)
    load_checkpoint(model, HeldWeights({name: value + 1 for name, value in state(model).items()}))
    assert model.get_parameter("twin.weight") is model.hidden.weight


def test_a_model_on_the_meta_device_is_refused() -> None:
    model = Ranker().to("meta")
    with pytest.raises(CheckpointError, match=r"on the meta device, .* 'hidden.weight'.*; build it on the CPU"):
        load_checkpoint(model, HeldWeights(state()))


def test_narrower_weights_are_widened_and_it_is_said() -> None:
    model = Ranker()
    found = load_checkpoint(model, HeldWeights({**state(), "out.bias": torch.tensor([0.5], dtype=torch.bfloat16)}))
    assert model.out.bias.tolist() == [0.5]
    assert model.out.bias.dtype == torch.float32
    assert "1 weights widened from bf16 to fp32: 'out.bias'" in found.notes()


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float64, "fp64"), (torch.int64, "int64"), (torch.float8_e4m3fn, "torch.float8_e4m3fn")]
)
def test_a_type_that_the_model_cannot_hold_exactly_is_refused(dtype: torch.dtype, name: str) -> None:
    held = {**state(), "out.bias": torch.ones(1).to(dtype)}
    with pytest.raises(CheckpointError, match=rf"'out.bias' is {name} in the checkpoint and fp32 in the model"):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_a_tied_weight_may_be_saved_under_one_of_its_names() -> None:
    model = Ranker()
    twin = nn.Linear(4, 3)
    twin.weight = model.hidden.weight
    model.add_module("twin", twin)
    held = {name: value + 1 for name, value in state(model).items() if name != "hidden.weight"}
    found = load_checkpoint(model, HeldWeights(held))
    assert found.tied == ("hidden.weight",)
    assert torch.equal(model.hidden.weight, held["twin.weight"])


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module.{name}",
        lambda name: f"_dmp_wrapped_module.module.{name}",
        lambda name: name.replace("hidden.", "hidden._orig_mod."),
    ],
    ids=["DDP", "DistributedModelParallel", "a compiled layer"],
)
def test_the_names_of_training_wrappers_are_seen_through(rename: Callable[[str], str]) -> None:
    trained, model = Ranker(), Ranker()
    load_checkpoint(model, HeldWeights({rename(name): value for name, value in trained.state_dict().items()}))
    assert torch.equal(model.hidden.weight, trained.hidden.weight)


def test_a_model_may_be_wrapped_where_its_checkpoint_is_not() -> None:
    trained = Ranker()
    model = nn.ModuleDict({"_orig_mod": Ranker()})
    load_checkpoint(model, HeldWeights(state(trained)))
    assert torch.equal(model.get_parameter("_orig_mod.hidden.weight"), trained.hidden.weight)


def test_two_weights_that_meet_without_their_wrappers_are_refused() -> None:
    held = state()
    held["module.out.bias"] = held["_orig_mod.out.bias"] = held.pop("out.bias")
    expected = r"two weights .*'module.out.bias' and '_orig_mod.out.bias', map onto the model's 'out.bias'"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(Ranker(), HeldWeights(held))


def test_a_prefix_that_one_side_has_gives_the_rule_that_mends_it(tmp_path: Path) -> None:
    prefixed = HeldWeights({f"net.{name}": value for name, value in state().items()})
    with pytest.raises(CheckpointError, match=re.escape("begin with 'net.': a rule `glob: 'net.**'`, `to: '{1}'`")):
        load_checkpoint(Ranker(), prefixed)
    load_checkpoint(Ranker(), prefixed, CheckpointMapping((Rule("glob", "net.**", "{1}"),)))
    model = nn.ModuleDict({"net": Ranker()})
    with pytest.raises(CheckpointError, match=r"the model's names begin with 'net.': a rule `glob: '\*\*'`"):
        load_checkpoint(model, HeldWeights(state()))
    load_checkpoint(model, HeldWeights(state()), CheckpointMapping((Rule("glob", "**", "net.{1}"),)))


def test_missing_weights_that_nothing_depends_on_are_named_and_not_needed() -> None:
    held = state()
    del held["norm.num_batches_tracked"], held["norm.weight"]
    unused = ["norm.num_batches_tracked", "norm.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: 'norm.weight'$"):
        load_checkpoint(Ranker(), HeldWeights(held), unused=lambda: unused)
    held["norm.weight"] = torch.ones(3)
    found = load_checkpoint(Ranker(), HeldWeights(held), unused=lambda: unused)
    assert found.notes() == ["1 weights are not in the checkpoint and not needed: 'norm.num_batches_tracked'"]
