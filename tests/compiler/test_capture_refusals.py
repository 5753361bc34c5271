"""Capture: inputs, outputs and collections that do not fit are refused by name."""

from __future__ import annotations

import pytest
from compiler.graphs import Computes, captured, farthest, kjt
from torch import Tensor, nn
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from zoo import collection

from recpile.pycompiler.capture import capture, example_inputs
from recpile.pycompiler.schema import Dense, Input, InputSchema, SchemaError
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (3,))


def refused(error: type[Exception], message: str, model: nn.Module, *inputs: Input, outputs=("score",)) -> None:
    with pytest.raises(error, match=message):
        captured(model, *inputs, outputs=outputs)


def test_a_batch_size_fixed_in_the_models_code_is_refused() -> None:
    hint = "sizes fixed in the code .such as a batch size in a reshape.*write -1 for the batch"
    refused(CaptureError, f"(?s)could not capture the model.*{hint}", Computes(lambda self, x: x.reshape(32, 3)), X)
    # The size that is traced with, too: it must not be baked in.
    traced = example_inputs(InputSchema([X]))["x"].shape[0]
    refused(CaptureError, f"(?s)could not capture.*{hint}", Computes(lambda self, x: x.reshape(traced, 3) * 1), X)


def test_a_branch_on_values_is_refused() -> None:
    refused(CaptureError, "(?s)control flow on tensor values", Computes(lambda self, x: x if x.sum() > 0 else -x), X)


class Optional(nn.Module):
    def forward(self, x: Tensor, bias: Tensor, scale: Tensor | None = None) -> Tensor:
        return x + bias if scale is None else x * scale + bias


def test_an_input_that_forward_does_not_know_is_refused() -> None:
    refused(
        SchemaError,
        r"do not fit Optional.forward\(x, bias, scale\): unknown \['y'\]",
        Optional(),
        X,
        Dense("bias", (3,)),
        Dense("y"),
    )


def test_a_parameter_that_the_schema_lacks_is_refused_unless_it_has_a_default() -> None:
    refused(SchemaError, r"absent \['bias'\]", Optional(), X)
    refused(SchemaError, r"unknown \['y'\]; absent \['bias'\]", Optional(), X, Dense("y"))
    for given in ([], [Dense("scale", (3,))]):
        model = Optional()
        assert farthest(model, captured(model, X, Dense("bias", (3,)), *given)) == 0


def test_a_forward_that_takes_any_further_arguments_is_captured() -> None:
    class Open(nn.Module):
        def forward(self, x: Tensor, *args: Tensor) -> Tensor:
            return x * (1 + len(args))

    for model in (Open(), Computes(lambda self, x, more: x + more)):
        more = [Dense("more", (3,))] if isinstance(model, Computes) else []
        assert farthest(model, captured(model, X, *more)) == 0


@pytest.mark.proves("TorchRec", "KeyedTensor outputs", "refusal")
def test_a_bare_collection_is_refused() -> None:
    with pytest.raises(CaptureError, match="the model is a bare EmbeddingBagCollection; wrap it"):
        capture(collection(("t", 5, 4, ["f0"])), InputSchema([kjt("f0", name="features")]), "bare")


@pytest.mark.proves("TorchRec", "EmbeddingBagCollection", "refusal")
def test_a_collection_that_is_not_fp32_is_refused_by_table() -> None:
    config = EmbeddingBagConfig(
        name="t", num_embeddings=5, embedding_dim=4, feature_names=["f0"], data_type=DataType.FP16
    )
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=EmbeddingBagCollection(tables=[config]))
    refused(
        CaptureError,
        "EmbeddingBagCollection 'bags', table 't': got data type .*FP16; export from fp32",
        model,
        kjt("f0"),
    )


@pytest.mark.proves("TorchRec", "mean pooling", "refusal")
@pytest.mark.proves("TorchRec", "weighted features", "refusal")
def test_weighted_mean_pooling_is_refused_by_table() -> None:
    model = Computes(
        lambda self, sparse: self.bags(sparse).values(), bags=collection(("t", 5, 4, ["f0"]), weighted=True, mean=True)
    )
    refused(CaptureError, "table 't': mean pooling with weights", model, kjt("f0", weighted=True))


@pytest.mark.proves("TorchRec", "KJT argument", "refusal")
def test_a_feature_that_the_input_lacks_is_refused_by_collection() -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection(("t", 5, 4, ["f0", "f9"])))
    refused(
        CaptureError, r"'bags' looks up features \['f9'\]; its input has keys \['f0', 'f1'\]", model, kjt("f0", "f1")
    )


@pytest.mark.proves("Plain PyTorch", "several outputs", "refusal")
@pytest.mark.parametrize(
    ("function", "outputs", "message"),
    [
        (lambda self, x: (x, x), ("score",), r"the model returns 2 outputs; the schema names 1: \['score'\]"),
        (lambda self, x: x, ("a", "b"), r"the model returns 1 outputs; the schema names 2: \['a', 'b'\]"),
        (
            lambda self, x: {"a": x, "c": x},
            ("a", "b"),
            r"the model returns outputs \['a', 'c'\]; the schema names \['a', 'b'\]",
        ),
    ],
    ids=["too many", "too few", "other names"],
)
def test_outputs_that_the_schema_does_not_name_are_refused(function, outputs, message) -> None:
    refused(SchemaError, message, Computes(function), X, outputs=outputs)
