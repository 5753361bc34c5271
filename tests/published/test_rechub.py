"""Model classes of rechub, as the package has them."""

from __future__ import annotations

import pytest
from published.stages import Record, check_stages, taken


@pytest.mark.published
@pytest.mark.parametrize("name", taken("rechub"))
def test_the_stages_answer_as_eager_does(name: str, record_property: Record) -> None:
    check_stages(name, record_property)
