from __future__ import annotations

from dataclasses import replace

import pytest

from fewtune.search.prior import learning_rate_prior
from fewtune.search.proxy import risk, translate
from fewtune.types import Plan

PLAN = Plan(learning_rate=learning_rate_prior(384) / 2, epochs=6, batch_size=2)


def test_a_rate_keeps_its_distance_to_the_prior() -> None:
    found = translate(PLAN, base="big", from_width=384, to_width=4096)
    assert found.kind == "absolute"
    assert found.plan.learning_rate == pytest.approx(learning_rate_prior(4096) / 2, rel=0.05)
    assert replace(found.plan, base=PLAN.base, learning_rate=PLAN.learning_rate) == PLAN


def test_a_service_gets_a_multiplier_and_never_an_absolute_rate() -> None:
    found = translate(PLAN, base="gpt", from_width=384)
    assert (found.kind, found.plan.learning_rate) == ("multiplier", 0.5)
    assert "multiplier for gpt" in risk("pocket", "gpt", found.kind)


@pytest.mark.parametrize("distance", [1e-5, 1e3])
def test_a_rate_far_from_the_prior_stays_within_what_can_be_trained_with(distance: float) -> None:
    far = replace(PLAN, learning_rate=distance * learning_rate_prior(384))
    assert 0.01 <= translate(far, base="gpt", from_width=384).plan.learning_rate <= 10
    assert 0 < translate(far, base="big", from_width=384, to_width=64).plan.learning_rate < 0.1
