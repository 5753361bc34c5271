"""Labelled rows from files, quality with bootstrap intervals, and an artifact measured through both runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from compiler.graphs import draw
from sklearn.metrics import roc_auc_score
from zoo import tiny_dlrm

from recpile.pycompiler.artifact.manifest import input_entry
from recpile.pycompiler.evaluation.evaluate import evaluate
from recpile.pycompiler.evaluation.rows import LabelledRows, read_rows
from recpile.pycompiler.evaluation.statistics import (
    _WeightedAuc,
    quality_of,
    relative_loss,
    relative_loss_interval,
)
from recpile.pycompiler.quality import EvalData
from recpile.pycompiler.schema import Dense, Jagged, KeyedJagged

INPUTS = [
    input_entry(one)
    for one in (Dense("x", (2,)), Dense("price"), Jagged("seen", weighted=True), KeyedJagged("s", ["a", "b"]))
]
CSV = """price,x,seen,seen.weights,a,s.b,label,country
1.5,0.5 -1,3 17,0.5 2,7,,1,de
2,1 2,,,8,4 5 6,0,fr
"""


def written(folder: Path, text: str, name: str = "rows.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_columns_become_flat_inputs_key_by_key(tmp_path):
    rows = read_rows(written(tmp_path, CSV), INPUTS, segment="country")
    flat = {name: value.tolist() for name, value in rows.data.inputs.items()}
    assert flat == {
        "x": [[0.5, -1], [1, 2]],
        "price": [1.5, 2],
        "seen.values": [3, 17],
        "seen.lengths": [2, 0],
        "seen.weights": [0.5, 2],
        "s.values": [7, 8, 4, 5, 6],
        "s.lengths": [[1, 1], [0, 3]],
    }
    assert rows.data.labels.tolist() == [1, 0]
    assert rows.segments is not None
    assert rows.segments.tolist() == ["de", "fr"]


def test_parquet_says_what_csv_says(tmp_path):
    columns = {
        "price": [1.5, 2.0],
        "x": [[0.5, -1.0], [1.0, 2.0]],
        "seen": [[3, 17], []],
        "seen.weights": [[0.5, 2.0], []],
        "s.a": [[7], [8]],
        "s.b": [None, [4, 5, 6]],
        "label": [1, 0],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    ours = read_rows(tmp_path / "rows.parquet", INPUTS).data
    wanted = read_rows(written(tmp_path, CSV), INPUTS).data
    assert {name: (v.dtype, v.tolist()) for name, v in ours.inputs.items()} == {
        name: (v.dtype, v.tolist()) for name, v in wanted.inputs.items()
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace("s.b", "s.c"), r"rows.csv has no column s.b; it has price, x, seen"),
        (CSV.replace("price", "cost"), "has no column price"),
        (CSV.replace("label", "liked"), "has no label column 'labels'"),
        (CSV.replace(",0,fr", ",4,fr"), "label column 'label' holds other values than 0 and 1"),
        (CSV.replace("1 2,", "1 2 3,"), "row 2: 'x' has 3 values; expected 2"),
        (CSV.replace("4 5 6", "4 five"), "row 2: 's.b' holds '4 five'; use numbers"),
        (CSV.replace(",fr", ",fr,1"), "line 3: 9 cells; the header has 8"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_rows(written(tmp_path, text), INPUTS)


def test_a_segment_that_is_no_column_is_named(tmp_path):
    with pytest.raises(ValueError, match="no segment column 'city'; it has price, x"):
        read_rows(written(tmp_path, CSV), INPUTS, segment="city")


def test_the_weighted_auc_is_scikit_learns_ties_included():
    make = np.random.default_rng(0)
    labels, scores = make.integers(0, 2, 200), make.integers(0, 20, 200) / 20
    counts = make.integers(0, 3, 200).astype(float)
    assert _WeightedAuc(labels, scores)(counts) == pytest.approx(roc_auc_score(labels, scores, sample_weight=counts))


def test_intervals_hold_the_value_and_narrow_with_more_rows():
    make = np.random.default_rng(0)
    widths = []
    for rows in (400, 6400):
        scores = make.random(rows)
        labels = (make.random(rows) < scores).astype(np.float32)
        measured = quality_of(labels, scores)
        for name, (low, high) in measured["intervals"].items():
            assert low < measured[name] < high
        widths.append(np.subtract(*measured["intervals"]["auc"][::-1]))
        assert measured["calibration"] == pytest.approx(1, abs=0.2)
    assert widths[1] == pytest.approx(widths[0] / 4, rel=0.3)


def test_the_loss_between_two_sets_of_scores_is_paired():
    make = np.random.default_rng(0)
    before = make.random(2000) * 0.9 + 0.05
    labels = (make.random(2000) < before).astype(np.float32)
    after = before + 0.001
    low, high = relative_loss_interval(labels, before, after)
    assert low <= relative_loss(labels, before, after) <= high
    assert high - low < 1e-3  # of entropies apart the interval is some 0.05 wide
    assert relative_loss(labels, before, before) == 0


def labelled(rows: int) -> LabelledRows:
    _, schema = tiny_dlrm()
    inputs = {name: value.numpy() for name, value in draw(schema, rows, seed=3).items()}
    labels = np.arange(rows) % 3 == 0
    return LabelledRows(EvalData("rows", inputs, labels.astype(np.float32)), np.array(["a", "b"])[np.arange(rows) % 2])


def test_both_runtimes_measure_the_same_and_segments_are_apart(tiny):
    debug, engine = (evaluate(tiny, labelled(40), runtime) for runtime in ("debug", "engine"))
    assert {**debug, "runtime": ""} == {**engine, "runtime": ""}
    assert (debug["samples"], set(debug["segments"])) == (40, {"a", "b"})
    apart = labelled(40).data
    alone = evaluate(tiny, [(dict(apart.inputs), apart.labels)])
    assert alone["auc"] == debug["auc"]


def test_too_few_rows_are_refused(tiny):
    with pytest.raises(ValueError, match="rows has 7 rows; give at least 20"):
        evaluate(tiny, labelled(7))
