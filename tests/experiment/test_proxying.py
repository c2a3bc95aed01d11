"""A search on a cheap base, and its plans on the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.bases.folder import width
from fewtune.errors import BudgetError, UsageError
from fewtune.experiment.progress import Note, Progress, Training
from fewtune.report.summary import Summary
from fewtune.search.prior import learning_rate_prior
from fewtune.settings import load
from fewtune.store.runs import Runs
from standin.openai_standin import BASE_MODEL, Standin
from standin.tiny_models import FAMILIES, save_model

SEARCH: dict[str, Any] = {"epochs": "1,2", "batch_size": 8, "folds": 0}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    cheap, dear = (
        str(save_model(folder / name, FAMILIES["llama"], seed)) for seed, name in enumerate(("cheap", "dear"))
    )
    return cheap, dear


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,completion\n" + "".join(f"n {n},{n * n}\n" for n in range(40)))
    return path


def test_the_best_two_plans_of_the_cheap_base_are_trained_on_the_dear_one(rows: Path, bases: tuple[str, str]) -> None:
    cheap, dear = bases
    seen: list[Progress] = []
    swept = fewtune.sweep(rows, search_on=cheap, base=dear, **SEARCH, watch=seen.append).summary
    proxy = swept.proxy
    assert proxy is not None and swept.search is not None
    assert (proxy.base, proxy.search.candidates, swept.search.candidates) == (cheap, 3, 2)
    assert proxy.sent[0].trial == proxy.chosen
    assert {one.plan["base"] for one in swept.trials} == {dear}
    assert {one.plan["learning_rate"] for one in swept.trials} == {one.plan["learning_rate"] for one in proxy.sent}
    assert any(isinstance(event, Note) and event.text == proxy.risk for event in seen)
    assert f"--search-on {cheap}" in swept.command
    assert Summary.from_json(swept.to_json()) == swept
    assert swept.verdict.split(":")[0] in ("Tune", "Do not tune", "Cannot be told")


def test_a_service_gets_one_plan_with_a_multiplier(rows: Path, bases: tuple[str, str], standin: Standin) -> None:
    cheap, _ = bases
    options: dict[str, Any] = {**SEARCH, "provider": "openai", "base": BASE_MODEL, "budget_usd": float("inf")}
    rate = learning_rate_prior(width(cheap)) / 2
    found = fewtune.run(rows, search_on=cheap, learning_rate=rate, **options).summary
    assert found.proxy is not None
    assert [(one.rate, one.plan["learning_rate"]) for one in found.proxy.sent] == [("multiplier", 0.5)]
    assert {one.plan["learning_rate"] for one in found.trials} == {0.5}
    assert {one.plan["base"] for one in found.trials} == {BASE_MODEL}


def test_a_search_that_is_killed_on_the_cheap_base_goes_on_there(
    rows: Path, bases: tuple[str, str], tmp_path: Path
) -> None:
    cheap, _ = bases
    options: dict[str, Any] = {**SEARCH, "search_on": cheap, "base": "b", "provider": "fake"}
    whole = fewtune.sweep(rows, **options, out=tmp_path / "whole").summary

    class Killed(BaseException):
        pass

    steps = 0

    def kill(event: Progress) -> None:
        nonlocal steps
        steps += isinstance(event, Training)
        if steps == 7:
            raise Killed

    with pytest.raises(Killed):
        fewtune.sweep(rows, **options, out=tmp_path / "killed", watch=kill)
    again = fewtune.sweep(rows, **options, out=tmp_path / "killed").summary
    assert again.proxy is not None and whole.proxy is not None
    assert (again.proxy.sent, again.chosen, again.verdict) == (whole.proxy.sent, whole.chosen, whole.verdict)
    assert [run.id for run in Runs(load().home).all()] == [whole.id]


def test_a_budget_holds_over_both_and_is_refused_where_it_does_not_buy_one_of_each(
    rows: Path, bases: tuple[str, str]
) -> None:
    cheap, _ = bases
    options: dict[str, Any] = {**SEARCH, "search_on": cheap, "base": "b", "provider": "fake"}
    with pytest.raises(BudgetError, match=r"does not buy one training.*--budget-tokens"):
        fewtune.sweep(rows, **options, budget_tokens=10)
    limit = 1900
    found = fewtune.sweep(rows, **options, budget_tokens=limit).summary
    assert found.proxy is not None
    last = [one.tokens for one in found.trials if one.plan["epochs"] == 2]
    assert found.proxy.tokens + sum(last) <= limit
    assert found.proxy.search.candidates < 3


def test_the_base_itself_is_no_cheap_one(rows: Path, bases: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="names the base itself"):
        fewtune.sweep(rows, search_on=bases[0], base=bases[0])
