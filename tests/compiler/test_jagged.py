"""The exportable JaggedTensor and KeyedJaggedTensor answer as TorchRec's, and no size in them depends on data."""

from __future__ import annotations

import pytest
import torch
from compiler.graphs import Computes, captured, farthest, kjt, lookup_calls
from torch import Tensor
from torchrec.sparse.jagged_tensor import JaggedTensor, KeyedJaggedTensor
from zoo import collection

from recpile.pycompiler.jagged import ExportableJagged, ExportableKeyedJagged
from recpile.pycompiler.schema import Jagged
from recpile.pycompiler.swap import CaptureError

VALUES, LENGTHS = torch.tensor([5, 6, 7, 8, 9, 3]), torch.tensor([2, 0, 1, 1, 0, 2])
WEIGHTS = torch.arange(6) * 0.5
KEYS = ["a", "b", "c"]


def pair() -> tuple[KeyedJaggedTensor, ExportableKeyedJagged]:
    plain = KeyedJaggedTensor(keys=KEYS, values=VALUES, lengths=LENGTHS, weights=WEIGHTS)
    return plain, ExportableKeyedJagged(KEYS, VALUES, LENGTHS, WEIGHTS)


def same(a: KeyedJaggedTensor | JaggedTensor, b: KeyedJaggedTensor | JaggedTensor) -> None:
    assert torch.equal(a.values(), b.values())
    assert torch.equal(a.lengths(), b.lengths())
    assert torch.equal(a.offsets(), b.offsets())
    assert torch.equal(a.weights(), b.weights())


def test_a_key_a_permutation_and_a_split_are_torchrecs() -> None:
    plain, ours = pair()
    for key in KEYS:
        same(plain[key], ours[key])
        same(plain.to_dict()[key], ours.to_dict()[key])
    same(plain.permute([2, 0]), ours.permute([2, 0]))
    assert ours.permute([2, 0]).keys() == ["c", "a"]
    for a, b in zip(plain.split([1, 2]), ours.split([1, 2]), strict=True):
        same(a, b)
    assert (ours.stride(), ours.stride_per_key()) == (plain.stride(), plain.stride_per_key())
    same(plain.permute([2, 0]).split([1, 1])[1]["a"], ours.permute([2, 0]).split([1, 1])[1]["a"])


@pytest.mark.parametrize("length", [1, 2, 5])
def test_padding_is_torchrecs(length: int) -> None:
    plain, ours = pair()
    for key in KEYS:
        assert torch.equal(plain[key].to_padded_dense(length, 7), ours[key].to_padded_dense(length, 7))
        wanted, got = (one[key].to_padded_dense_weights(length, 0.5) for one in (plain, ours))
        assert wanted is not None
        assert got is not None
        assert torch.equal(wanted, got)
    empty = ExportableJagged(torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0]))
    assert empty.to_padded_dense(2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.proves("TorchRec", "EmbeddingCollection, unpooled", "refusal")
@pytest.mark.proves("Plain PyTorch", "attention over a history", "refusal")
def test_padding_to_the_longest_bag_is_refused() -> None:
    with pytest.raises(ValueError, match="depend on what it is coalesced with; give desired_length"):
        pair()[1]["a"].to_padded_dense()


def test_a_permuted_input_is_looked_up_where_it_is() -> None:
    model = Computes(
        lambda self, sparse: self.bags(sparse.permute([2, 0])).values(),
        bags=collection(("t", 5, 4, ["f0"]), ("u", 6, 3, ["f2"])),
    )
    program = captured(model, kjt("f0", "f1", "f2"))
    (call,) = lookup_calls(program)
    assert ([one.name for one in call.values], call.feature_row) == (["flat_sparse_values"], [0, 2])
    assert farthest(model, program) == 0


@pytest.mark.proves("Plain PyTorch", "attention over a history", "graph")
def test_a_padded_history_captures() -> None:
    def function(self, ids: JaggedTensor) -> Tensor:
        return ids.to_padded_dense(4).sum(dim=1)

    model = Computes(function)
    assert farthest(model, captured(model, Jagged("ids"))) == 0


@pytest.mark.parametrize(
    ("function", "line", "way_out"),
    [
        (lambda self, sparse: sparse["f9"].lengths().float(), r"sparse\[.f9.\]", "has keys .*name it in the schema"),
        (lambda self, sparse: sparse["f0"].weights().sum(), r"weights\(\)", "say weighted=True in the schema"),
        (lambda self, sparse: sparse["f0"].to_padded_dense(), "to_padded_dense", "give desired_length"),
    ],
)
def test_what_a_jagged_input_cannot_give_is_said_with_the_line(function, line, way_out) -> None:
    with pytest.raises(CaptureError, match=rf"(?s){way_out}.*\n  .*test_jagged.py:\d+: .*{line}"):
        captured(Computes(function), kjt("f0"))
