"""Which sweeps are begun without being asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.engine import speed
from fewtune.errors import BudgetError
from fewtune.experiment.agreeing import likely_and_most, whole_estimate
from fewtune.experiment.estimating import check_free_minutes
from fewtune.experiment.preparation import prepare_rows
from fewtune.experiment.searching import search_plan
from fewtune.experiment.settings import RunSettings
from fewtune.search.budget import Cost

GRID: dict[str, Any] = {"epochs": "1,2", "learning_rate": "1e-3,3e-3"}


def at_speed(monkeypatch: pytest.MonkeyPatch, tokens_per_second: float) -> None:
    monkeypatch.setattr(speed, "tokens_per_second", lambda *_given: tokens_per_second)


def test_likely_lies_between_the_ends_and_the_upper_end_alone_refuses_nothing(
    few_rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_speed(monkeypatch, 1000.0)
    settings = RunSettings(data=str(few_rows), learning_rates=(1e-3, 3e-3), epochs=(1, 2))
    prepared = prepare_rows(settings)
    search = search_plan(settings, prepared)
    here = whole_estimate(settings, prepared, search).here
    assert here and here.seconds and here.likely_seconds
    assert here.seconds.low < here.likely_seconds < here.seconds.high
    epoch = Cost(minutes=here.seconds.high / 60 / search.epochs(search.wanted))
    likely, most = likely_and_most(epoch, search, search.wanted)
    assert (60 * likely, 60 * most) == (pytest.approx(here.likely_seconds), pytest.approx(here.seconds.high))
    check_free_minutes(10.0, 30.0)


def test_a_sweep_is_refused_by_what_is_likely_and_told_both(few_rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_speed(monkeypatch, 1000.0)
    here = fewtune.estimate(few_rows, **GRID).here
    assert here and here.likely_seconds
    at_speed(monkeypatch, 1000.0 * here.likely_seconds / 660)  # 11 minutes
    with pytest.raises(BudgetError, match=r"about 1\d min.* \(at most .*--budget-minutes"):
        fewtune.sweep(few_rows, **GRID)
