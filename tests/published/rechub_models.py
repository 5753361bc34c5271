"""Models of torch-rechub, small. Their forward takes one dict of tensors, which `Named` fills from the inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.matching import DSSM
from torch_rechub.models.multi_task import AITM, ESMM, MMOE, PLE, SharedBottom
from torch_rechub.models.ranking import BST, DCN, DIEN, DIN, EDCN, AutoInt, DCNv2, DeepFM, FiBiNet, WideDeep

from recpile.pycompiler.schema import Dense, InputSchema

Made = tuple[nn.Module, InputSchema]
IDS = torch.int64
DIM, LENGTH = 8, 6
MLP = {"dims": [16, 8], "dropout": 0.2, "activation": "relu"}
TASKS = ["classification", "classification"]


class Named(nn.Module):
    """A model whose forward takes one dict of tensors, by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> object:
        return self.model(inputs)


def wide_deep() -> Made:
    return _ranking(WideDeep(_sparse(), [*_sparse(), *_dense()], mlp_params=MLP))


def deepfm() -> Made:
    return _ranking(DeepFM([*_sparse(), *_dense()], _sparse(), mlp_params=MLP))


def dcn() -> Made:
    return _ranking(DCN([*_sparse(), *_dense()], n_cross_layers=2, mlp_params=MLP))


def dcn_v2() -> Made:
    return _ranking(DCNv2([*_sparse(), *_dense()], 2, mlp_params=MLP, low_rank=4, num_experts=2))


def edcn() -> Made:
    return _ranking(EDCN(_sparse(), n_cross_layers=2, mlp_params={"dropout": 0.2, "activation": "relu"}), dense=False)


def fibinet() -> Made:
    return _ranking(FiBiNet(_sparse(), mlp_params=MLP, reduction_ratio=2), dense=False)


def autoint() -> Made:
    return _ranking(AutoInt(_sparse(), _dense(), num_layers=2, num_heads=2, mlp_params=MLP))


def din() -> Made:
    model = DIN(
        features=_sparse(),
        history_features=[_history("clicked", "item_id")],
        target_features=[SparseFeature("item_id", 40, DIM)],
        mlp_params={"dims": [16, 8]},
        attention_mlp_params={"dims": [16, 8]},
    )
    return _sequence(model)


def bst() -> Made:
    model = BST(
        features=_sparse(),
        history_features=[_history("clicked", "item_id")],
        target_features=[SparseFeature("item_id", 40, DIM, padding_idx=0)],
        mlp_params=MLP,
        nhead=2,
        max_seq_len=LENGTH + 1,
    )
    return _sequence(model)


def dien() -> Made:
    """Returns a training loss beside the score, branches on values (`if nan_rows.any()`)."""
    model = DIEN(
        features=_sparse(),
        history_features=[_history("clicked", "item_id")],
        neg_history_features=[_history("passed", "item_id")],
        target_features=[SparseFeature("item_id", 40, DIM, padding_idx=0)],
        mlp_params={"dims": [16, 8]},
    )
    inputs = [*_inputs(False), _ids("item_id"), _ids("clicked", LENGTH), _ids("passed", LENGTH)]
    return Named(model), InputSchema(inputs, returns=["score", "loss"])


def shared_bottom() -> Made:
    return _ranking(SharedBottom(_all(), TASKS, {"dims": [16]}, [{"dims": [8]}, {"dims": [8]}]))


def mmoe() -> Made:
    return _ranking(MMOE(_all(), TASKS, 3, {"dims": [16]}, [{"dims": [8]}, {"dims": [8]}]))


def ple() -> Made:
    return _ranking(PLE(_all(), TASKS, 1, 2, 1, {"dims": [16]}, [{"dims": [8]}, {"dims": [8]}]))


def aitm() -> Made:
    return _ranking(AITM(_all(), 2, {"dims": [16]}, [{"dims": [8]}, {"dims": [8]}]))


def esmm() -> Made:
    user, item = _sparse()[:2], _sparse()[2:]
    return _ranking(ESMM(user, item, {"dims": [16]}, {"dims": [16]}), dense=False)


def dssm() -> Made:
    user = [*_sparse()[:2], SequenceFeature("clicked", 40, DIM, pooling="mean", shared_with="item_id", padding_idx=0)]
    item = [SparseFeature("item_id", 40, DIM, padding_idx=0)]
    tower = {"dims": [16, 8], "activation": "relu"}
    return _sequence(DSSM(user, item, tower, dict(tower)), fields=2)


def _sparse() -> list[SparseFeature]:
    return [SparseFeature(f"c{i}", rows, DIM) for i, rows in enumerate((20, 13, 7))]


def _dense() -> list[DenseFeature]:
    return [DenseFeature("price"), DenseFeature("age")]


def _all() -> list:
    return [*_sparse(), *_dense()]


def _history(name: str, table: str) -> SequenceFeature:
    return SequenceFeature(name, 40, DIM, pooling="concat", shared_with=table, padding_idx=0)


def _ids(name: str, *shape: int) -> Dense:
    return Dense(name, shape, IDS)


def _inputs(dense: bool, fields: int = 3) -> list[Dense]:
    return [*(_ids(f"c{i}") for i in range(fields)), *([Dense("price"), Dense("age")] if dense else [])]


def _ranking(model: nn.Module, dense: bool = True) -> Made:
    return Named(model), InputSchema(_inputs(dense))


def _sequence(model: nn.Module, fields: int = 3) -> Made:
    return Named(model), InputSchema([*_inputs(False, fields), _ids("item_id"), _ids("clicked", LENGTH)])
