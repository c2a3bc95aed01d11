from __future__ import annotations

import numpy as np
import pytest

from fewtune.search.importance import importance


def test_the_parameter_that_decides_comes_first_and_one_without_effect_gets_nothing() -> None:
    chance = np.random.default_rng(3)
    rates, ranks = chance.uniform(0, 1, size=200).tolist(), chance.choice([4.0, 8.0], size=200).tolist()
    scores = [rate + noise for rate, noise in zip(rates, chance.normal(0, 0.05, size=200), strict=True)]
    found = importance({"rank": ranks, "learning_rate": rates, "epochs": [4.0] * 200}, scores)
    assert list(found.shares) == ["learning_rate", "rank"]
    assert found.shares["learning_rate"] > 0.7
    assert found.shares["rank"] < 0.05
    assert found.caveat is None


@pytest.mark.parametrize("scores", [[1.0], [1.0, 1.0, 1.0], [1.0, 2.0]])
def test_too_little_to_tell_gives_no_share_and_a_caveat(scores: list[float]) -> None:
    found = importance({"rank": [4.0, 8.0, 8.0][: len(scores)]}, scores)
    assert set(found.shares.values()) <= {0.0}
    assert "needs 20 and more" in (found.caveat or "")
