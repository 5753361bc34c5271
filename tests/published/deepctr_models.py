"""Models of deepctr-torch, small: one tensor of floats, whose first columns hold ids."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from torch import nn

# When it is imported it asks the network for its newest version, with a package that it does not declare: not in tests.
_answer = SimpleNamespace(status_code=0)
with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, "requests", SimpleNamespace(get=lambda _: _answer, codes=SimpleNamespace(ok=200)))
    from deepctr_torch import models
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat  # noqa: E402

from recpile.pycompiler.schema import Dense, InputSchema  # noqa: E402

Made = tuple[nn.Module, InputSchema]
DIM, LENGTH = 8, 6
SPARSE = [SparseFeat(f"c{i}", rows, embedding_dim=DIM) for i, rows in enumerate((20, 13, 7))]
GENRES = VarLenSparseFeat(SparseFeat("genres", 19, embedding_dim=DIM), maxlen=4, combiner="mean")
COLUMNS = [*SPARSE, DenseFeat("price", 1), DenseFeat("age", 1)]
UNITS = {"dnn_hidden_units": (16, 8)}


def wdl() -> Made:
    return _made(models.WDL(COLUMNS, COLUMNS, **UNITS))


def deepfm() -> Made:
    """With a bag of genres, padded with zeros and averaged without them."""
    columns = [*COLUMNS, GENRES]
    return _made(models.DeepFM(columns, columns, **UNITS), columns)


def xdeepfm() -> Made:
    return _made(models.xDeepFM(COLUMNS, COLUMNS, cin_layer_size=(8, 4), **UNITS))


def dcn() -> Made:
    return _made(models.DCN(COLUMNS, COLUMNS, cross_parameterization="matrix", **UNITS))


def dcn_mix() -> Made:
    return _made(models.DCNMix(COLUMNS, COLUMNS, low_rank=4, num_experts=2, **UNITS))


def autoint() -> Made:
    return _made(models.AutoInt(COLUMNS, COLUMNS, att_layer_num=2, **UNITS))


def pnn() -> Made:
    return _made(models.PNN(COLUMNS, use_outter=True, **UNITS))


def nfm() -> Made:
    return _made(models.NFM(COLUMNS, COLUMNS, **UNITS))


def afm() -> Made:
    return _made(models.AFM(COLUMNS, SPARSE))


def ifm() -> Made:
    return _made(models.IFM(COLUMNS, COLUMNS, **UNITS))


def difm() -> Made:
    return _made(models.DIFM(COLUMNS, COLUMNS, att_head_num=2, **UNITS))


def fibinet() -> Made:
    return _made(models.FiBiNET(COLUMNS, COLUMNS, **UNITS))


def din() -> Made:
    columns = [
        *SPARSE,
        SparseFeat("item", 40, embedding_dim=DIM),
        VarLenSparseFeat(
            SparseFeat("hist_item", 40, embedding_dim=DIM, embedding_name="item"), maxlen=LENGTH, length_name="length"
        ),
    ]
    return _made(models.DIN(columns, ["item"], att_hidden_size=(16, 8), **UNITS), columns)


def shared_bottom() -> Made:
    return _made(models.SharedBottom(COLUMNS, bottom_dnn_hidden_units=(16,), tower_dnn_hidden_units=(8,)))


def mmoe() -> Made:
    small = {"expert_dnn_hidden_units": (16,), "gate_dnn_hidden_units": (8,), "tower_dnn_hidden_units": (8,)}
    return _made(models.MMOE(COLUMNS, **small))


def esmm() -> Made:
    return _made(models.ESMM(COLUMNS, tower_dnn_hidden_units=(16,)))


def _made(model: nn.Module, columns: list = COLUMNS) -> Made:
    width = sum(getattr(one, "maxlen", getattr(one, "dimension", 1)) for one in columns)
    width += sum(getattr(one, "length_name", None) is not None for one in columns)
    return model, InputSchema([Dense("X", (width,))])
