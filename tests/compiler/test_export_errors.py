"""A model that cannot be captured is refused with the reason, the line of the model and the way out."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from compiler.graphs import Computes, captured
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from recpile.pycompiler.schema import Dense
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


def gradients_by_functions(self, x):
    return torch.func.vmap(torch.func.grad(lambda row: row.sum()))(x)


def packed_sequence(self, x):
    steps = pack_padded_sequence(x.unsqueeze(2), x[:, 0].long().clamp(1, 3), batch_first=True, enforce_sorted=False)
    return self.gru(steps)[1][0]


def a_dict_of_inputs(self, x):
    return x["price"] * 2


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
        (
            sparse_product,
            "not one that torch.export knows",
            "aten._to_sparse.default",
            "to_sparse",
            "operators on dense tensors",
        ),
        (no_fake_kernel, "has no fake kernel", "recpile_tests::twice", "tests.twice", "the server has no others"),
        (on_another_device, "a device is fixed", "aten.to", r'x.to\("cuda"\)', "device=x.device"),
        (wrong_shapes, "RuntimeError while its forward ran", "aten.mm.default", r"x @ torch", "same reduction dim"),
        (gradients_by_functions, "computes gradients", "autograd", r"torch.func.grad\(", "write the derivative out"),
        (packed_sequence, "packed sequence", r"torch.nn.utils.rnn.Packed", r"self.gru\(steps\)", "lengths - 1"),
        (a_dict_of_inputs, "forward takes a dict", "a tensor's name", r'x\["price"\]', "a parameter for each input"),
        (own_mistake, "its forward raises KeyError", "KeyError", r'{"a": x}\["b"\]', "mend it there"),
    ],
)
def test_what_torch_cannot_capture_is_named_with_operator_line_and_way_out(
    function, reason, operator, line, way_out
) -> None:
    where = rf"\n  at {operator}[^\n]*: [^\n]*test_export_errors.py:\d+: [^\n]*{line}"
    with pytest.raises(CaptureError, match=rf"(?s){reason}.*{where}.*\n.*{way_out}"):
        captured(Computes(function, gru=nn.GRU(1, 2, batch_first=True)), X)


def test_what_torch_says_of_itself_is_not_repeated() -> None:
    with pytest.raises(CaptureError) as refused:
        captured(Computes(branch_on_values), X)
    assert "TORCH_LOGS" not in str(refused.value)
    assert "draft_export" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 4
