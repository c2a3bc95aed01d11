"""The main job through the hosted door, against a stand-in that answers in OpenAI's shapes."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import BudgetError
from fewtune.experiment.progress import Note, Progress
from standin.openai_standin import BASE_MODEL, Standin

OPTIONS = {"provider": "openai", "base": BASE_MODEL, "epochs": (1, 2), "batch_size": 8}


def test_the_same_plan_goes_through_the_hosted_door_to_a_report(few_rows: Path, standin: Standin) -> None:
    run = fewtune.run(few_rows, **OPTIONS, budget_usd=math.inf)
    assert run.report_path.exists()
    assert run.best.valid_loss is not None
    assert run.best.plan["learning_rate"] == 1.0
    systems = {system.name: system.metrics for system in run.summary.systems}
    assert {"base", "few-shot", "tuned"} == set(systems)
    assert "loss" not in systems["tuned"]
    assert "exact_match" in systems["tuned"]


def test_a_hosted_run_above_its_budget_sends_nothing(few_rows: Path, standin: Standin) -> None:
    with pytest.raises(BudgetError, match=r"does not buy one training.*--budget-usd 0"):
        fewtune.run(few_rows, **{**OPTIONS, "base": "gpt-4o-mini-2024-07-18"}, budget_usd=0.000001)
    assert standin.requests == []


@pytest.mark.parametrize("rule", [{"rung_share": 0.5}, {"median_stop": True}, {"halving": True}])
def test_a_service_that_cannot_pause_trains_everybody_to_the_end_and_says_so(
    few_rows: Path, standin: Standin, rule: dict[str, Any]
) -> None:
    seen: list[Progress] = []
    options = {**OPTIONS, **rule, "learning_rate": (0.5, 1.0, 2.0), "budget_usd": math.inf}
    swept = fewtune.sweep(few_rows, **options, watch=seen.append).summary
    notes = [event.text for event in seen if isinstance(event, Note)]
    assert any("nobody is stopped early: every candidate trains 2 epochs" in text for text in notes)
    assert swept.search is not None
    assert (swept.search.rungs, swept.search.rung_share, swept.search.stopped_by) == ((2,), None, None)


def test_an_unknown_price_fits_into_no_budget(few_rows: Path, standin: Standin) -> None:
    with pytest.raises(BudgetError, match="not in the price table"):
        fewtune.run(few_rows, **OPTIONS, budget_usd=1000)
    assert standin.requests == []


def test_no_key_is_written_anywhere(few_rows: Path, standin: Standin, tmp_path: Path) -> None:
    fewtune.run(few_rows, **OPTIONS, budget_usd=math.inf, out=tmp_path / "out")
    key = os.environ["OPENAI_API_KEY"].encode()
    homes = [tmp_path / "out", Path(os.environ["FEWTUNE_HOME"])]
    found = [path for home in homes for path in home.rglob("*") if path.is_file() and key in path.read_bytes()]
    assert found == []
