"""Labelled rows that do not fit are refused before anything is compiled, in the user's words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recpile.pycompiler.eval_checks import check_eval_data
from recpile.pycompiler.metrics import check_scores
from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.schema import Dense, InputSchema, Jagged, KeyedJagged

SCHEMA = InputSchema([Dense("x", (2,)), Jagged("ids"), KeyedJagged("sparse", ["a", "b"], weighted=True)])
GOOD = EvalData(
    "rows.npz",
    {
        "x": np.zeros((3, 2), np.float32),
        "ids.values": np.array([7, 8]),
        "ids.lengths": np.array([0, 2, 0]),
        "sparse.values": np.array([1, 2, 3, 4]),
        "sparse.lengths": np.array([[1, 0, 1], [2, 0, 0]]),
        "sparse.weights": np.ones(4, np.float32),
        "user_name": np.array(["not", "an", "input"]),
    },
    np.array([0, 1, 1]),
)


def with_(**arrays: np.ndarray) -> EvalData:
    given = {name.replace("__", "."): value for name, value in arrays.items()}
    return replace(GOOD, inputs={**GOOD.inputs, **given})


def test_rows_that_fit_pass_and_further_arrays_are_nobodys_business() -> None:
    check_eval_data(GOOD, SCHEMA)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            replace(GOOD, inputs={"x": GOOD.inputs["x"], "ids": np.zeros(3)}),
            r"'rows.npz' lacks ids.values, ids.lengths, .*; it has x, ids. Give one array .*: x, ids.values",
        ),
        (with_(x=np.zeros((3, 2))), "'x' is float64; the model takes fp32"),
        (with_(x=np.array(["a", "b"])), "'x' is <U1; the model takes fp32"),
        (with_(x=np.zeros((4, 2), np.float32)), r"'x' is \[4, 2\]; expected \[3, 2\] for 3 labels"),
        (with_(sparse__lengths=np.ones(4, np.int64)), r"'sparse.lengths' is \[4\]; expected \[2, 3\] for 3 labels"),
        (with_(ids__lengths=np.array([0, 2, 1])), "'ids.lengths' sums to 3; 'ids.values' has 2 ids"),
        (with_(ids__lengths=np.array([0, 3, -1])), "'ids.lengths' holds -1; lengths are 0 or more"),
        (replace(GOOD, labels=np.array([1, 5, 3])), "labels are 1, 3, 5; expected 0 and 1 .*labels >= 4"),
        (replace(GOOD, labels=np.array([0.5, 0.1, 0.2])), "labels are 0.1, 0.2, 0.5; expected 0 and 1"),
        (replace(GOOD, labels=np.array([1, 1, 1])), "all 3 labels are 1; AUC needs both 0 and 1"),
        (replace(GOOD, labels=np.zeros((3, 1))), r"labels are \[3, 1\]; expected \[N\]"),
        (replace(GOOD, output="click"), "output 'click' is none of the model's: score"),
    ],
)
def test_rows_that_do_not_fit_are_refused(data: EvalData, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_eval_data(data, SCHEMA)


def test_scores_are_probabilities() -> None:
    check_scores(np.array([0.0, 0.3, 1.0]), "score", "rows")
    for scores in (np.array([-3.0, 0.2]), np.array([0.2, 1.5]), np.array([0.2, np.nan])):
        with pytest.raises(ValueError, match=r"output 'score' is no probability on 'rows' .*apply torch.sigmoid"):
            check_scores(scores, "score", "rows")
