"""Checkpoints: every weight is found and none is left over, by name; nothing in the file is executed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import collection

from recpile.pycompiler.checkpoint import CheckpointError, load_checkpoint, read_checkpoint


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
        load_checkpoint(Ranker(), held)


def test_a_missing_weight_is_named() -> None:
    held = state()
    del held["out.bias"]
    with pytest.raises(CheckpointError, match=r"does not fit the model; weights 1 missing: 'out.bias'$"):
        load_checkpoint(Ranker(), held)


def test_an_unexpected_weight_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"weights 1 unexpected: 'optimizer.step'$"):
        load_checkpoint(Ranker(), {**state(), "optimizer.step": torch.zeros(1)})


def test_a_misnamed_weight_is_shown_beside_what_it_may_be() -> None:
    held = state()
    held["bags.embedding_bags.items.weight"] = held.pop("bags.embedding_bags.item.weight")
    expected = (
        r"'bags.embedding_bags.item.weight' \(did you mean the checkpoint's 'bags.embedding_bags.items.weight'\?\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(Ranker(), held)


def test_a_misshapen_weight_is_named_with_both_shapes() -> None:
    held = {**state(), "hidden.weight": torch.zeros(3, 5)}
    expected = r"1 of another shape: 'hidden.weight' is \[3, 5\] in the checkpoint and \[3, 4\] in the model"
    with pytest.raises(CheckpointError, match=expected):
        load_checkpoint(Ranker(), held)


def test_every_problem_is_listed_at_once() -> None:
    held = {**state(), "hidden.weight": torch.zeros(1), "extra": torch.zeros(1)}
    del held["out.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing: .*; 1 unexpected: .*; 1 of another shape: "):
        load_checkpoint(Ranker(), held)


def test_a_long_list_is_cut_after_ten_names() -> None:
    with pytest.raises(CheckpointError, match=r"12 unexpected: 'extra0', .*'extra9' and 2 more"):
        load_checkpoint(Ranker(), {**state(), **{f"extra{i}": torch.zeros(1) for i in range(12)}})


def test_a_checkpoint_that_does_not_fit_changes_nothing() -> None:
    model = Ranker()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError):
        load_checkpoint(model, {**{name: value + 1 for name, value in state(model).items()}, "extra": torch.zeros(1)})
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_parameter_that_two_modules_share_stays_one() -> None:
    model = Ranker()
    twin = nn.Linear(4, 3)
    twin.weight = model.hidden.weight
    model.add_module("twin", twin)
    load_checkpoint(model, {name: value + 1 for name, value in state(model).items()})
    assert model.get_parameter("twin.weight") is model.hidden.weight


def test_a_missing_file_is_refused_with_how_to_write_one(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match=r"no checkpoint at .*; give a file written by torch.save\("):
            read_checkpoint(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", state())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"model.pt is not a readable checkpoint: .*; write it with torch.save\("):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint at all"])
def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.pt is not a readable checkpoint: \S"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("what", "held"),
    [
        ({"epoch": 3, "model": {"w": torch.zeros(1)}}, r"\['epoch', 'model'\]"),
        ([torch.zeros(1)], "list"),
        (torch.zeros(1), "Tensor"),
    ],
    ids=["nested", "list", "tensor"],
)
def test_what_is_not_a_flat_state_dict_is_refused_with_what_it_holds(tmp_path: Path, what: object, held: str) -> None:
    with pytest.raises(CheckpointError, match=f"holds {held}, not a flat state_dict of tensors; save model.state_dict"):
        read_checkpoint(saved(tmp_path / "model.pt", what))


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.write_text, (self.path, "executed")


def test_code_in_a_checkpoint_is_not_executed(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path / "model.pt", {"w": torch.zeros(1), "code": Payload(mark)})
    with pytest.raises(CheckpointError, match="is not a readable checkpoint: Weights only load failed"):
        read_checkpoint(path)
    assert not mark.exists()
    # The file is a real trap: a reader that trusts it does run the code.
    torch.load(path, weights_only=False)
    assert mark.read_text() == "executed"
