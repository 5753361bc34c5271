"""Ids that a stage computes, which no check of a request can know: out of range they fail their own request."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zoo
from engines import held
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from recpile.pycompiler.compile import CompileOptions, compile_model
from recpile.pycompiler.quality import EvalData, ParityError
from recpile.runtime_cpp import Engine


class ShiftedIds(zoo.HashedIds):
    """Computes ids that no request check can know: one less than what is sent."""

    def forward(self, price, ids):
        shifted = KeyedJaggedTensor(keys=["h"], values=ids.values() - 1, lengths=ids.lengths())
        return torch.sigmoid(self.out(torch.cat([self.bags(shifted).values(), price.unsqueeze(1)], dim=1))).squeeze(1)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """An artifact of ShiftedIds, and four rows that it takes."""
    _, schema = zoo.hashed_ids()
    model, path = ShiftedIds().eval(), tmp_path_factory.mktemp("shifted") / "shifted.pt2"
    with pytest.raises(ParityError, match="could not be checked on random inputs"):
        compile_model(model, schema, path, CompileOptions("shifted"))

    rows = {
        "price": np.ones(4, np.float32),
        "ids.values": np.array([1, 2, 31, 5]),
        "ids.lengths": np.array([1, 0, 2, 1]),
    }
    data = EvalData("four rows", rows, np.array([0, 1, 1, 0]))
    compile_model(model, schema, path, CompileOptions("shifted", eval_data=data))
    return path, rows


def test_an_id_computed_out_of_range_fails_its_own_request_and_no_other(shifted):
    path, rows = shifted
    engine = Engine(str(path), instances=1)
    # Waiting together, they coalesce; the bad one must not take the others with it.
    bad = {**rows, "ids.values": np.array([1, 0, 31, 5])}
    with held(engine, rows):
        futures = [engine.submit(bad if i % 3 == 1 else rows) for i in range(30)]
    for i, future in enumerate(futures):
        if i % 3 == 1:
            assert "id -1 is outside table 'h', which has ids 0 to 30" in str(future.exception())
        else:
            np.testing.assert_allclose(future.result()["score"], futures[0].result()["score"], atol=1e-6)
    engine.stop()


def test_a_piece_that_fails_fails_the_whole_request_once(shifted):
    path, rows = shifted
    engine = Engine(str(path), instances=2, max_batch_size=1)
    bad = {**rows, "ids.values": np.array([1, 2, 31, 0])}
    with pytest.raises(RuntimeError, match="id -1 is outside table 'h'"):
        engine.infer(bad)
    assert engine.infer(rows)["score"].shape == (4,)
    stats = engine.stats()
    assert (stats["requests_ok"], stats["requests_failed"]) == (1, 1)
    engine.stop()
