from __future__ import annotations

import pytest

from fewtune.search.prior import learning_rate_prior
from fewtune.search.proxy import translate
from fewtune.types import Plan

PLAN = Plan(learning_rate=learning_rate_prior(384) / 2, epochs=6, batch_size=2)


def test_a_rate_keeps_its_distance_to_the_prior() -> None:
    found = translate(PLAN, base="big", from_width=384, to_width=4096)
    assert found.plan.learning_rate == pytest.approx(learning_rate_prior(4096) / 2, rel=0.05)
    assert (found.plan.base, found.plan.epochs, found.plan.batch_size) == ("big", 6, 2)
    assert "assumption" in found.risk


def test_a_service_gets_a_multiplier_and_never_an_absolute_rate() -> None:
    found = translate(PLAN, base="gpt", from_width=384)
    assert found.plan.learning_rate == 0.5
    assert "multiplier for gpt, 0.5" in found.risk
