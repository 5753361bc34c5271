"""A model that cannot be captured is refused with the reason, the line of the model and the way out."""

from __future__ import annotations

import copy
import math
import random
import threading

import numpy as np
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


class ThroughNumpy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.tanh(x.numpy()))


def branch_on_values(self, x):
    if x.sum() > 0:
        return x
    return -x


def loop_on_values(self, x):
    while x.norm() > 1:
        x = x / 2
    return x


def assert_on_values(self, x):
    assert (x >= 0).all(), "negative"
    return x


def branch_on_a_found_size(self, x):
    found = torch.nonzero(x[:, 0])
    return x * 2 if found.shape[0] > 3 else x


def slice_by_a_value(self, x):
    end = int(x[0, 0])
    return x[:end]


def list_of_values(self, x):
    rows = x.tolist()
    return x + rows[0][0]


def choose_by_item(self, x):
    return x * {0: 1.0, 1: 2.0}[x[0, 0].item()]


def index_a_list(self, x):
    return x * [1, 2, 3][x[0, 0].long()]


def through_numpy(self, x):
    return x + torch.from_numpy(x.numpy())


def call_numpy(self, x):
    return torch.as_tensor(np.clip(x, 0, 1))


def call_math(self, x):
    return x * math.sqrt(x[0, 0])


def own_function(self, x):
    return ThroughNumpy.apply(x)


def tensor_of_tensors(self, x):
    return torch.tensor([x[0, 0], x[0, 1]])


def value_into_text(self, x):
    print(f"mean {x.mean():.2f}")
    return x


def copied_memory(self, x):
    return copy.deepcopy(x) * 2


def gradients(self, x):
    y = (x.requires_grad_() ** 2).sum()
    return torch.autograd.grad(y, x)[0]


def fixed_batch(self, x):
    return x.reshape(32, 3)


def traced_batch(self, x):
    return x.reshape(6, 3) * 1


def loop_over_rows(self, x):
    return torch.stack([x[i] for i in range(x.shape[0])])


def branch_on_the_batch(self, x):
    return x * 2 if x.shape[0] > 4 else x


def pairs_of_rows(self, x):
    return x.view(-1, 2, 3).sum(1)


def the_best_three_rows(self, x):
    return torch.topk(x[:, 0], 3).values


def one_hot_of_ids(self, x):
    return F.one_hot(x[:, 0].long())


def least_squares(self, x):
    return torch.linalg.lstsq(x[:3], x[:3]).solution


def sparse_product(self, x):
    return torch.sparse.mm(x.to_sparse(), torch.ones(3, 2))


def no_fake_kernel(self, x):
    return torch.ops.recpile_tests.twice(x)


def on_another_device(self, x):
    return x.to("cuda")


def wrong_shapes(self, x):
    return x @ torch.ones(4, 4)


def own_mistake(self, x):
    return {"a": x}["b"]


CONTROL_FLOW, READ = "Python control flow on tensor values", "value is read into Python"
CHOOSE, KEEP = "torch.where.*, or torch.cond", "keep it a tensor"


@pytest.mark.parametrize(
    ("function", "reason", "operator", "line", "way_out"),
    [
        (branch_on_values, CONTROL_FLOW, "'if'", r"if x.sum\(\) > 0:", CHOOSE),
        (loop_on_values, CONTROL_FLOW, "'while'", r"while x.norm\(\) > 1:", CHOOSE),
        (assert_on_values, CONTROL_FLOW, "'assert'", r"assert \(x >= 0\).all\(\)", CHOOSE),
        (branch_on_a_found_size, "size of a tensor depends on the data", "'if'", "found.shape", "instead of x.mask"),
        (slice_by_a_value, READ, r"int\(…\)", r"end = int\(x\[0, 0\]\)", KEEP),
        (list_of_values, READ, r".tolist\(…\)", r"rows = x.tolist\(\)", KEEP),
        (choose_by_item, READ, r".item\(…\)", r"\[x\[0, 0\].item\(\)\]", KEEP),
        (index_a_list, "value for a number", "Python's use", r"\[1, 2, 3\]\[x", "make the list a tensor"),
        (through_numpy, READ, r".numpy\(…\)", r"x.numpy\(\)", KEEP),
        (call_numpy, READ, "np.clip", r"np.clip\(x, 0, 1\)", "PyTorch has most functions of numpy"),
        (call_math, READ, "math.sqrt", r"math.sqrt\(x\[0, 0\]\)", "under the same name"),
        (own_function, READ, r".numpy\(…\)", r"np.tanh\(x.numpy\(\)\)", KEEP),
        (tensor_of_tensors, READ, r"torch.tensor\(…\)", r"torch.tensor\(\[x", "torch.stack makes one tensor"),
        (value_into_text, "written into text", "f-string", r'print\(f"mean', "leave it out of forward"),
        (copied_memory, "reads a tensor's memory", "what reads", r"copy.deepcopy\(x\)", r"x.clone\(\) for a copy"),
        (gradients, "computes gradients", "autograd", r"torch.autograd.grad\(y, x\)", "write the derivative out"),
        (
            fixed_batch,
            r"\[32, 3\]' does not fit every batch",
            "aten.view.default",
            r"x.reshape\(32, 3\)",
            "write -1 for the batch",
        ),
        (traced_batch, "make 'candidate' always 6", r"x.reshape", r"x.reshape\(6, 3\)", "write -1 for the batch"),
        (
            loop_over_rows,
            "make 'candidate' always 6",
            r"torch.stack\(…\)",
            r"in range\(x.shape\[0\]\)",
            "instead of a Python loop",
        ),
        (branch_on_the_batch, r"only x.shape\[0\] > 4 would be", "'if'", "if x.shape", "without the branch"),
        (pairs_of_rows, "and 8 more would be in the graph", r"x.view\(…\)", r"x.view\(-1, 2, 3\)", "keep rows rows"),
        (the_best_three_rows, r"only x.shape\[0\] >= 3", r"torch.topk\(…\)", "torch.topk", "serves every batch size"),
        (one_hot_of_ids, "a number that only the data has", "aten.one_hot.default", "F.one_hot", "num_classes"),
        (least_squares, "gives depends on the data", "aten.linalg_lstsq.default", "linalg.lstsq", "keep the size"),
        (sparse_product, "not one that torch.export knows", "aten._to_sparse.default", "to_sparse", "custom_op"),
        (no_fake_kernel, "has no fake kernel", "recpile_tests::twice", "tests.twice", "library.register_fake"),
        (on_another_device, "a device is fixed", "aten.to", r'x.to\("cuda"\)', "device=x.device"),
        (wrong_shapes, "RuntimeError while its forward ran", "aten.mm.default", r"x @ torch", "same reduction dim"),
        (own_mistake, "its forward raises KeyError", "KeyError", r'{"a": x}\["b"\]', "mend it there"),
    ],
)
def test_what_torch_cannot_capture_is_named_with_operator_line_and_way_out(
    function, reason, operator, line, way_out
) -> None:
    where = rf"\n  at {operator}[^\n]*: [^\n]*test_export_errors.py:\d+: [^\n]*{line}"
    with pytest.raises(CaptureError, match=rf"(?s){reason}.*{where}.*\n.*{way_out}"):
        captured(Computes(function), X)


def writes_through_data(self, x):
    self.layer.weight.data.mul_(0.9)
    return self.layer(x)


def test_a_failure_of_which_torch_keeps_no_line_has_that_of_the_models_forward() -> None:
    with pytest.raises(
        CaptureError, match=r"(?s)through .data.*graphs.py:\d+: def forward.*compute a new tensor instead"
    ):
        captured(Computes(writes_through_data, layer=nn.Linear(3, 3)), X)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    model = Computes(lambda self, x: x * 2)
    model.__dict__["lock"] = threading.Lock()
    with pytest.raises(CaptureError, match=r"cannot be copied .*cannot pickle .*lock.*keep that out of its attributes"):
        captured(model, X)


@pytest.mark.parametrize(
    ("function", "line", "way_out"),
    [
        (lambda self, sparse: sparse["f9"].lengths().float(), r"sparse\[.f9.\]", "has keys .*name it in the schema"),
        (lambda self, sparse: sparse["f0"].weights().sum(), r"weights\(\)", "say weighted=True in the schema"),
        (lambda self, sparse: sparse["f0"].to_padded_dense(), "to_padded_dense", "give desired_length"),
    ],
)
def test_what_a_jagged_input_cannot_give_is_said_with_the_line(function, line, way_out) -> None:
    with pytest.raises(CaptureError, match=rf"(?s){way_out}.*\n  .*test_export_errors.py:\d+: .*{line}"):
        captured(Computes(function), kjt("f0"))


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


def noise():
    return np.random.rand()


def helped_by_numpy(self, x):
    y = x * 2
    return y + noise()


def chosen_by_python(self, x):
    return x * 2 if random.random() > 0.5 else x


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (helped_by_numpy, r"at np.random.rand\(…\): .*: return np.random.rand\(\)"),
        (chosen_by_python, r"at random.random\(…\): .*: return x \* 2 if random.random\(\) > 0.5 else x"),
    ],
)
def test_random_numbers_of_python_and_numpy_are_refused_with_the_line_that_draws_them(function, line) -> None:
    with pytest.raises(CaptureError, match=rf"(?s)draws random numbers .*\n  {line}\n.*under self.training only"):
        captured(Computes(function), X)


def test_dropout_and_attention_in_eval_mode_draw_nothing() -> None:
    def forward(self, x):
        x = F.dropout(self.drop(x), training=self.training).reshape(-1, 1, 1, 3)
        return F.scaled_dot_product_attention(x, x, x).reshape(-1, 3)

    model = Computes(forward, drop=nn.Dropout(0.5))
    assert farthest(model, captured(model, X)) < 1e-6


@pytest.mark.proves("Plain PyTorch", "max_norm", "graph")
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
