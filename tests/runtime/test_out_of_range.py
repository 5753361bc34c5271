"""Ids that no table has: an error or a row of zeros, as configured, and counted by table either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import handmade
import numpy as np
import pytest
import torch
import tritonclient.http as triton
from engines import together
from handmade import Rows, keyed, lookup, output
from wire import flat_request, scrape, tensors

from recpile.pycompiler.debug_runtime import DebugRuntime
from recpile.pycompiler.server_process import ServerProcess
from recpile.runtime_cpp import Engine

TABLES = {"a": Rows.of(torch.arange(1.0, 5).reshape(4, 1)), "b": Rows.of(torch.arange(10.0, 16).reshape(6, 1), "fp16")}
# Of the ids of "p" table a has 0 to 3; of the ids of "q" table b has 0 to 5: a 4 is one to b, and none to a.
STRANGE = {"s.values": np.array([0, 4, -1, 3, 4, 6]), "s.lengths": np.array([[2, 2], [1, 1]])}
FINE = {"s.values": np.array([3, 5]), "s.lengths": np.array([[1], [1]])}
COUNTED = {"a": {"lookups": 4, "out_of_range": 2}, "b": {"lookups": 2, "out_of_range": 1}}


def artifact(folder: Path, pooling: str) -> Path:
    stage = lookup("look", pooling, [{"values": "s.values", "lengths": "s.lengths"}], [(0, 0, "a"), (0, 1, "b")])
    outputs = [output("out", "look/out", ["candidate", 2])]
    return handmade.write(folder / "strange.pt2", [keyed("s", "pq")], [stage], outputs, TABLES)


@pytest.mark.parametrize(("pooling", "wanted"), [("sum", [[1, 14], [4, 0]]), ("mean", [[0.5, 14], [2, 0]])])
def test_a_stranger_is_a_row_of_zeros_to_both_runtimes(tmp_path, pooling, wanted):
    path = artifact(tmp_path, pooling)
    engine = Engine(path, instances=1, out_of_range="zero")
    np.testing.assert_array_equal(engine.infer(STRANGE)["out"], wanted)
    assert engine.stats()["tables"] == COUNTED
    debug = DebugRuntime(path, out_of_range="zero").run(STRANGE)["out"]
    np.testing.assert_array_equal(debug.numpy(), wanted)


def test_those_that_share_its_batch_get_what_they_get_without_it(tmp_path):
    engine = Engine(artifact(tmp_path, "sum"), instances=1, out_of_range="zero")
    ran = together(engine, (FINE, STRANGE, FINE))
    assert [answer["out"].tolist() for answer in ran.answers] == [[[4, 15]], [[1, 14], [4, 0]], [[4, 15]]]
    assert ran.batches == 1
    engine.stop()


def test_an_error_is_counted_and_looks_nothing_up(tmp_path):
    engine = Engine(artifact(tmp_path, "sum"), instances=1)
    with pytest.raises(ValueError, match=r"id 4 at index 1 \(key 'p'\); table 'a' has ids 0 to 3"):
        engine.infer(STRANGE)
    assert engine.stats()["tables"] == {name: {**one, "lookups": 0} for name, one in COUNTED.items()}
    engine.infer(FINE)
    assert engine.stats()["tables"]["b"] == {"lookups": 1, "out_of_range": 1}
    engine.stop()


def test_another_answer_to_the_question_is_refused(tmp_path):
    path, wrong = artifact(tmp_path, "sum"), cast("Any", "wrap")
    for runtime in (Engine, DebugRuntime):
        with pytest.raises(ValueError, match="out_of_range: got 'wrap'; use 'error' or 'zero'"):
            runtime(path, out_of_range=wrong)


@pytest.mark.parametrize("how", ["error", "zero"])
def test_the_server_counts_lookups_and_strangers_by_table(tiny, how):
    strange = flat_request()
    strange["sparse.values"][0] = 50  # of table "user", which has 50 rows
    with ServerProcess(tiny, "--out-of-range", how) as server:
        client = triton.InferenceServerClient(server.url)
        client.infer("tiny_dlrm", tensors(triton, flat_request()))
        if how == "zero":
            assert np.isfinite(client.infer("tiny_dlrm", tensors(triton, strange)).as_numpy("score")).all()
        else:
            with pytest.raises(triton.InferenceServerException, match="has id 50 at index 0"):
                client.infer("tiny_dlrm", tensors(triton, strange))
        metrics = scrape(server)
    runs = 2 if how == "zero" else 1

    def of(metric: str, table: str) -> float:
        return metrics[f'recpile_table_{metric}_count{{model="tiny_dlrm",version="1",table="{table}"}}']

    assert (of("lookup", "user"), of("out_of_range", "user")) == (2 * runs, 1)
    assert (of("lookup", "item"), of("out_of_range", "item")) == (4 * runs, 0)  # two features read it
    assert 0 <= metrics['recpile_model_age_seconds{model="tiny_dlrm",version="1"}'] < 3600
