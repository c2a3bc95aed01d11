"""Limits and names."""

from __future__ import annotations

import pytest

from fewtune.errors import UsageError
from fewtune.service.aliases import OPENAI_NAMES, Names
from fewtune.service.limits import Limits, Rate

NAMES = Names(bases=("pocket", "org/other"), chosen={"gpt-4o": "org/other", "mine": "pocket"})


def test_a_rate_lets_a_minutes_worth_through_and_then_as_many_as_come_back() -> None:
    now = [0.0]
    rate = Rate(per_minute=6, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(6)] == [0.0] * 6
    assert rate.take("a") == pytest.approx(10)
    assert rate.take("b") == 0.0
    now[0] = 10.0
    assert rate.take("a") == 0.0
    assert rate.take("a") > 0
    now[0] = 10_000.0
    assert sum(rate.take("a") == 0.0 for _ in range(20)) == 6


def test_a_limit_is_changed_by_its_name_only() -> None:
    assert Limits.changed({"file_bytes": 10}).file_bytes == 10
    for values in ({"files": 1}, {"file_bytes": 0}, {"file_bytes": float("nan")}, {"file_bytes": float("inf")}):
        with pytest.raises(UsageError):
            Limits.changed(values)


def test_every_name_that_openai_tuned_stands_for_the_default_base() -> None:
    for name in (*OPENAI_NAMES, "gpt-4.1-2031-01-01", "gpt-3.5-turbo-0301"):
        if name != "gpt-4o":
            meaning = NAMES.meaning(name)
            assert meaning and (meaning.base, meaning.alias) == ("pocket", name)


def test_a_chosen_alias_wins_and_a_base_is_itself() -> None:
    chosen, base = NAMES.meaning("gpt-4o"), NAMES.meaning("org/other")
    assert chosen and (chosen.base, chosen.alias) == ("org/other", "gpt-4o")
    assert base and (base.base, base.alias) == ("org/other", None)
    for name in ("", "gpt-5", "gpt-4o-mini-audio", "Pocket", "gpt-4o-mini-2024-07-18x"):
        assert NAMES.meaning(name) is None


def test_the_nearest_names_are_those_written_most_like_it() -> None:
    assert NAMES.nearest("gpt-4o-mimi")[0] == "gpt-4o-mini"
    assert "ft:pocket:us::x" in NAMES.nearest("ft:pocket:us::y", ["ft:pocket:us::x"])
    assert len(NAMES.nearest("x" * 100_000)) == 3
