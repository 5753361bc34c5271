from __future__ import annotations

import numpy as np
import pytest
import torch

from recpile.models.dlrm import DLRMOptions, build, model_inputs
from recpile.models.factors import item_factors
from recpile.models.features import Splits
from recpile.models.vocabulary import DENSE, KEYS, VOCABULARY
from recpile.pycompiler.schema import Dense, KeyedJagged


def test_build_needs_no_data_and_its_schema_names_the_flat_inputs(tiny_splits: Splits) -> None:
    model, schema = build()
    assert not model.training
    assert [one.name for one in schema.tensors()] == list(tiny_splits.train.flat(slice(0, 1)))
    assert schema.inputs == (Dense("dense", (len(DENSE),)), KeyedJagged("sparse", KEYS))
    assert tiny_splits.train.keys == KEYS


def test_scores_are_probabilities_and_do_not_depend_on_the_batch(tiny_splits: Splits) -> None:
    model, _ = build()
    with torch.no_grad():
        together = model(*model_inputs(tiny_splits.train.flat(slice(0, 5))))
        alone = [model(*model_inputs(tiny_splits.train.flat(slice(row, row + 1)))) for row in range(5)]
    assert together.shape == (5,)
    assert ((together > 0) & (together < 1)).all()
    torch.testing.assert_close(together, torch.cat(alone))


def test_history_and_item_share_a_table() -> None:
    model, _ = build()
    weights = [name for name in model.state_dict() if "embedding_bags" in name]
    assert len(weights) == len(KEYS) - 2
    assert model.item_table.shape == (VOCABULARY["item"], 32)


def test_items_liked_by_the_same_users_get_vectors_that_point_the_same_way(tiny_splits: Splits) -> None:
    factors = item_factors(tiny_splits.train, VOCABULARY["item"], 32, scale=0.5)
    assert factors.shape == (VOCABULARY["item"], 32)
    assert np.sqrt(np.mean(factors**2)) == pytest.approx(0.5)
    assert not factors[-1].any()  # tiny data has fewer items


def test_options_that_make_no_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout: got 1\.0; use 0 to below 1"):
        DLRMOptions(dropout=1.0)
    with pytest.raises(ValueError, match="use widths of 1 or more"):
        DLRMOptions(over_hidden=())
