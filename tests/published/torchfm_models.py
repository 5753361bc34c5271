"""Models of torchfm, small: ids of five fields in one tensor, offset in the model into one table."""

from __future__ import annotations

import torch
from torch import nn
from torchfm.model.afi import AutomaticFeatureInteractionModel
from torchfm.model.afm import AttentionalFactorizationMachineModel
from torchfm.model.afn import AdaptiveFactorizationNetwork
from torchfm.model.dcn import DeepCrossNetworkModel
from torchfm.model.dfm import DeepFactorizationMachineModel
from torchfm.model.ffm import FieldAwareFactorizationMachineModel
from torchfm.model.fm import FactorizationMachineModel
from torchfm.model.fnfm import FieldAwareNeuralFactorizationMachineModel
from torchfm.model.fnn import FactorizationSupportedNeuralNetworkModel
from torchfm.model.lr import LogisticRegressionModel
from torchfm.model.ncf import NeuralCollaborativeFiltering
from torchfm.model.nfm import NeuralFactorizationMachineModel
from torchfm.model.pnn import ProductNeuralNetworkModel
from torchfm.model.wd import WideAndDeepModel
from torchfm.model.xdfm import ExtremeDeepFactorizationMachineModel

from recpile.pycompiler.schema import Dense, InputSchema

Made = tuple[nn.Module, InputSchema]
FIELDS = [20, 13, 7, 30, 5]  # ids of each field
DIM, MLP, DROPOUT = 8, (16, 8), 0.2


def linear() -> Made:
    return _made(LogisticRegressionModel(FIELDS))


def fm() -> Made:
    return _made(FactorizationMachineModel(FIELDS, DIM))


def ffm() -> Made:
    return _made(FieldAwareFactorizationMachineModel(FIELDS, DIM))


def fnn() -> Made:
    return _made(FactorizationSupportedNeuralNetworkModel(FIELDS, DIM, MLP, DROPOUT))


def wide_and_deep() -> Made:
    return _made(WideAndDeepModel(FIELDS, DIM, MLP, DROPOUT))


def inner_product() -> Made:
    return _made(ProductNeuralNetworkModel(FIELDS, DIM, MLP, DROPOUT, method="inner"))


def outer_product() -> Made:
    return _made(ProductNeuralNetworkModel(FIELDS, DIM, MLP, DROPOUT, method="outer"))


def nfm() -> Made:
    return _made(NeuralFactorizationMachineModel(FIELDS, DIM, MLP, (DROPOUT, DROPOUT)))


def ncf() -> Made:
    user, item = torch.tensor([0]).numpy(), torch.tensor([1]).numpy()
    return _made(NeuralCollaborativeFiltering(FIELDS, user, item, DIM, MLP, DROPOUT))


def fnfm() -> Made:
    return _made(FieldAwareNeuralFactorizationMachineModel(FIELDS, DIM, MLP, (DROPOUT, DROPOUT)))


def deepfm() -> Made:
    return _made(DeepFactorizationMachineModel(FIELDS, DIM, MLP, DROPOUT))


def xdeepfm() -> Made:
    return _made(ExtremeDeepFactorizationMachineModel(FIELDS, DIM, MLP, DROPOUT, (8, 8)))


def afm() -> Made:
    return _made(AttentionalFactorizationMachineModel(FIELDS, DIM, 8, (DROPOUT, DROPOUT)))


def autoint() -> Made:
    return _made(AutomaticFeatureInteractionModel(FIELDS, DIM, 16, 2, 2, MLP, (DROPOUT, DROPOUT)))


def dcn() -> Made:
    return _made(DeepCrossNetworkModel(FIELDS, DIM, 2, MLP, DROPOUT))


def afn() -> Made:
    return _made(AdaptiveFactorizationNetwork(FIELDS, DIM, 10, MLP, (DROPOUT,)))


def _made(model: nn.Module) -> Made:
    return model, InputSchema([Dense("x", (len(FIELDS),), torch.int64)])
