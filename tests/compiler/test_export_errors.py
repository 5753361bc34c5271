"""A model that cannot be captured is refused with the reason, the line of the model and the way out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, captured, farthest, kjt
from torch import nn
from zoo import collection

from recpile.pycompiler.schema import Dense, SchemaError
from recpile.pycompiler.swap import CaptureError

X = Dense("x", (3,))


@torch.library.custom_op("recpile_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def branch_on_values(self, x):
    if x.sum() > 0:
        return x
    return -x


def branch_on_a_found_size(self, x):
    found = torch.nonzero(x[:, 0])
    return x * 2 if found.shape[0] > 3 else x


def slice_by_a_value(self, x):
    end = int(x[0, 0])
    return x[:end]


def list_of_values(self, x):
    rows = x.tolist()
    return x + rows[0][0]


def through_numpy(self, x):
    return x + torch.from_numpy(x.numpy())


def fixed_batch(self, x):
    return x.reshape(32, 3)


def traced_batch(self, x):
    return x.reshape(6, 3) * 1


def loop_over_rows(self, x):
    return torch.stack([x[i] for i in range(x.shape[0])])


def branch_on_the_batch(self, x):
    return x * 2 if x.shape[0] > 4 else x


def no_fake_kernel(self, x):
    return torch.ops.recpile_tests.twice(x)


def on_another_device(self, x):
    return x.to("cuda")


def wrong_shapes(self, x):
    return x @ torch.ones(4, 4)


@pytest.mark.parametrize(
    ("function", "reason", "line", "way_out"),
    [
        (
            branch_on_values,
            "Python control flow on tensor values",
            r"if x.sum\(\) > 0:",
            "torch.where.*, or torch.cond",
        ),
        (
            branch_on_a_found_size,
            "size of a tensor depends on the data",
            "found.shape",
            "torch.where instead of x.mask",
        ),
        (slice_by_a_value, "value is read into Python", r"end = int\(x\[0, 0\]\)", "keep it a tensor"),
        (list_of_values, "value is read into Python", r"rows = x.tolist\(\)", "keep it a tensor"),
        (through_numpy, "value is read into Python", r"x.numpy\(\)", "keep it a tensor"),
        (fixed_batch, r"shape '\[32, 3\]' does not fit every batch", r"x.reshape\(32, 3\)", "write -1 for the batch"),
        (traced_batch, "make 'candidate' always 6", r"x.reshape\(6, 3\)", "write -1 for the batch"),
        (loop_over_rows, "make 'candidate' always 6", r"for i in range\(x.shape\[0\]\)", "instead of a Python loop"),
        (branch_on_the_batch, r"only x.shape\[0\] > 4 would be in the graph", "if x.shape", "without the branch"),
        (no_fake_kernel, "operator recpile_tests::twice has no fake kernel", "tests.twice", "library.register_fake"),
        (on_another_device, "a device is fixed in the code", r'x.to\("cuda"\)', "device=x.device"),
        (wrong_shapes, "RuntimeError while its forward ran", r"x @ torch.ones\(4, 4\)", "must have same reduction dim"),
    ],
)
def test_what_torch_cannot_capture_is_named_with_its_line_and_the_way_out(function, reason, line, way_out) -> None:
    with pytest.raises(CaptureError, match=rf"(?s){reason}.*test_export_errors.py:\d+: .*{line}.*{way_out}"):
        captured(Computes(function), X)


def test_what_torch_says_of_itself_is_not_repeated() -> None:
    with pytest.raises(CaptureError) as refused:
        captured(Computes(branch_on_values), X)
    assert "TORCH_LOGS" not in str(refused.value)
    assert "draft_export" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 4


def writes_into_its_input(self, x):
    x[:, 0] = 1
    return x.sum(1)


def counts_its_calls(self, x):
    self.norm.num_batches_tracked += 1
    return self.norm(x)


def helper(x):
    return F.dropout(x)


def drops_always(self, x):
    return helper(x)


def draws_noise(self, x):
    return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (writes_into_its_input, r"changes its input 'x' when it runs \(.*: x\[:, 0\] = 1\).*x.clone\(\)"),
        (counts_its_calls, r"changes its buffer 'norm.num_batches_tracked'.*tracked \+= 1\).*under self.training"),
        (drops_always, r"aten.native_dropout.default .*: return F.dropout\(x\)\) draws random.*training=self.training"),
        (draws_noise, r"aten.rand_like.default .*: return x \+ torch.rand_like\(x\)\) draws random numbers"),
    ],
)
def test_what_a_served_model_must_not_do_is_refused_by_name(function, message) -> None:
    with pytest.raises(CaptureError, match=message):
        captured(Computes(function, norm=nn.BatchNorm1d(3)), X)


def test_dropout_and_attention_in_eval_mode_draw_nothing() -> None:
    def forward(self, x):
        x = F.dropout(self.drop(x), training=self.training).reshape(-1, 1, 1, 3)
        return F.scaled_dot_product_attention(x, x, x).reshape(-1, 3)

    model = Computes(forward, drop=nn.Dropout(0.5))
    assert farthest(model, captured(model, X)) < 1e-6


@pytest.mark.proves("Plain PyTorch", "max_norm", "refusal")
@pytest.mark.parametrize("layer", [nn.Embedding, nn.EmbeddingBag])
def test_max_norm_is_refused_by_name_and_the_way_out_keeps_the_answers(layer) -> None:
    torch.manual_seed(0)
    table = layer(9, 4, max_norm=1.0)
    model = Computes(lambda self, ids: self.towers["user"](ids), towers=nn.ModuleDict({"user": table}))
    ids = Dense("ids", (2,), torch.int64)
    with pytest.raises(
        CaptureError, match=rf"'towers.user' is an {layer.__name__} with max_norm=1 .*embedding_renorm_"
    ):
        captured(model, ids)
    wanted = model(ids=torch.tensor([[0, 3], [8, 1]])).detach().clone()
    with torch.no_grad():
        table.weight.renorm_(2, 0, 1)
    table.max_norm = None
    assert torch.allclose(model(ids=torch.tensor([[0, 3], [8, 1]])), wanted, atol=1e-6)
    assert farthest(model, captured(model, ids)) < 1e-6


def test_max_norm_of_a_function_is_refused_with_its_line() -> None:
    def forward(self, ids):
        return F.embedding(ids, self.table.weight, max_norm=0.5)

    model = Computes(forward, table=nn.Embedding(9, 4))
    with pytest.raises(CaptureError, match=r"aten.embedding_renorm.* F.embedding\(ids.*\): max_norm rewrites rows"):
        captured(model, Dense("ids", (), torch.int64))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "the model returns a NoneType; return a tensor, a tuple of tensors or a dict of them"),
        (lambda x: [(x, x)], r"the model returns a tuple for output 'score'; every output is a tensor"),
        (lambda x: {"score": None}, "the model returns a NoneType for output 'score'"),
        (lambda x: {1: x}, r"the model returns outputs \['1'\]; the schema names \['score'\]"),
    ],
)
def test_outputs_that_are_not_tensors_are_refused(returned, message) -> None:
    with pytest.raises(SchemaError, match=message):
        captured(Computes(lambda self, x: returned(x)), X)


@pytest.mark.parametrize("name", ["class", "import", "lambda"])
def test_a_table_may_be_named_as_a_python_keyword(name: str) -> None:
    model = Computes(lambda self, sparse: self.bags(sparse).values(), bags=collection((name, 5, 4, ["f0"])))
    program = captured(model, kjt("f0"))
    assert [table.name for table in program.tables.values()] == [name]
    assert farthest(model, program) == 0
    assert list(model.state_dict()) == [f"bags.embedding_bags.{name}.weight"]
