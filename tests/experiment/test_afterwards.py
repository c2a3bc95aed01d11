"""What is trained after the choice: the refit, the average of its checkpoints, and parts of the rows."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import BudgetError, UsageError
from fewtune.experiment.progress import Answering, Note, Progress, Rung, Stage, Training
from fewtune.experiment.settings import RunSettings
from fewtune.report.afterwards import trained_rows
from fewtune.report.summary import Summary
from fewtune.settings import load
from fewtune.store.runs import Runs

SWEEP: dict[str, Any] = {"provider": "fake", "epochs": "1,2,4", "learning_rate": "3e-4,1e-3,3e-3"}
REAL: dict[str, Any] = {"epochs": (1, 2), "batch_size": 8, "learning_rate": (1e-3, 3e-3)}


class Killed(BaseException):
    """Nothing in the program may catch it."""


@pytest.fixture
def orders(examples_folder: Path) -> Path:
    return examples_folder / "orders.csv"


def rows_of(run: fewtune.Run, trial: str) -> tuple[list[int], list[int]]:
    """What a trial was trained on and measured on, as the fake provider keeps it."""
    folder = Path(fewtune.find_run(run.id).folder) / "trials"
    kept = json.loads((folder / f"{trial}.json").read_text(encoding="utf-8"))["trial"]
    return kept["train_rows"], kept["valid_rows"]


def split(data: Path) -> tuple[set[int], set[int], set[int]]:
    found = fewtune.prepare(data, provider="fake").split
    train, valid, test = ({one.row for one in part} for part in (found.train, found.valid, found.test))
    return train, valid, test


def test_the_winner_is_trained_once_more_on_all_rows_that_judge_nothing(orders: Path) -> None:
    swept = fewtune.sweep(orders, **SWEEP)
    train, valid, test = split(orders)
    refit = swept.summary.refit
    assert refit is not None and refit.state == "finished"
    trained_on, measured_on = rows_of(swept, refit.id)
    assert set(trained_on) == train | valid
    assert not set(trained_on) & test and measured_on == []
    assert refit.rows == len(train | valid) == trained_rows(swept.summary)
    best = swept.best.plan
    assert {**refit.plan, "epochs": None} == {**best, "epochs": None}
    assert refit.plan["epochs"] == math.ceil(best["epochs"] * len(train) / len(train | valid))


def test_the_refit_is_the_model_that_answers_and_is_judged(orders: Path) -> None:
    plain = fewtune.run(orders, **SWEEP, refit=False)
    refitted = fewtune.run(orders, **SWEEP, refit=True)
    assert refitted.summary.refit is not None
    store = Runs(load().home)
    models = {one.trial_id: one.model for one in store.checkpoints(refitted.id)}
    assert refitted._model == models[refitted.summary.refit.id]  # pyright: ignore[reportPrivateUsage]
    assert refitted.summary.chosen == plain.summary.chosen
    assert refitted.summary.systems[-1] != plain.summary.systems[-1]
    # Rivals look at the rows that the kept model has learnt, so only the bare base is the same.
    assert refitted.summary.systems[0] == plain.summary.systems[0]
    # The fake model answers with the completion of the most similar row that it was taught.
    train, valid, _ = split(orders)
    rows = {one.row: one for one in fewtune.prepare(orders, provider="fake").repaired.examples}
    only_valid = next(rows[row] for row in valid if rows[row].completion not in {rows[one].completion for one in train})
    assert refitted.generate(only_valid.prompt) == only_valid.completion
    assert plain.generate(only_valid.prompt) != only_valid.completion


def test_what_the_search_took_does_not_count_what_came_after_it(orders: Path) -> None:
    plain = fewtune.sweep(orders, **SWEEP, refit=False).summary
    more = fewtune.sweep(orders, **SWEEP, more_data=True).summary
    assert more.saved_against_grid == plain.saved_against_grid
    assert more.trials == plain.trials


def test_the_kept_adapter_is_the_refits(few_rows: Path) -> None:
    run = fewtune.sweep(few_rows, **REAL, folds=0, refit=True)
    assert run.summary.refit is not None and run.summary.refit.state == "finished"
    adapter = Path(run.summary.files["adapter"])
    trials = adapter.parent / "trials"
    weights = (adapter / "adapter_model.safetensors").read_bytes()
    steps = sorted((trials / run.summary.refit.id).glob("step-*"))
    assert (steps[-1] / "adapter_model.safetensors").read_bytes() == weights
    assert len(steps) == run.summary.refit.plan["epochs"]
    others = [path for path in trials.rglob("adapter_model.safetensors") if run.summary.refit.id not in str(path)]
    assert weights not in [path.read_bytes() for path in others]


def test_a_refit_that_the_budget_does_not_buy_is_listed_and_the_chosen_trial_stays(orders: Path) -> None:
    options = {**SWEEP, "learning_rate": "1e-3", "epochs": 4}
    with pytest.raises(BudgetError) as refused:
        fewtune.sweep(orders, **options, budget_tokens=1)
    least = float((refused.value.fix or "").split("--budget-tokens ")[1].split(",")[0])
    small = fewtune.sweep(orders, **options, more_data=True, budget_tokens=1.2 * least)
    assert small.summary.refit is None and small.summary.search is not None
    assert [one.trial for one in small.summary.search.cut][:1] == ["refit-t1-e4"]
    assert len(small.summary.search.cut) == 5
    assert small._model.startswith("t1@")  # pyright: ignore[reportPrivateUsage]
    assert small.summary.more_data is not None and small.summary.more_data.gain is None
    assert "the budget did not buy it" in small.summary.more_data.sentence
    large = fewtune.sweep(orders, **options, more_data=True, budget_tokens=20 * least)
    assert large.id == small.id
    assert large.summary.refit is not None and large.summary.search is not None
    assert large.summary.search.cut == ()
    last = {point.trial_id: point.tokens for point in Runs(load().home).points(small.id)}
    assert sum(last.values()) <= 20 * least


def test_a_sweep_killed_anywhere_comes_to_the_same_refit_and_the_same_outlook(orders: Path, tmp_path: Path) -> None:
    options = {**SWEEP, "average_refit": True, "more_data": True}
    whole = fewtune.sweep(orders, **options, out=tmp_path / "whole").summary
    chance, seen = random.Random(0), list[Progress]()
    for _ in range(12):
        left = chance.randint(1, 400)

        def watch(event: Progress) -> None:
            nonlocal left
            seen.append(event)
            left -= isinstance(event, Training | Rung)
            if left == 0:
                raise Killed

        try:
            fewtune.sweep(orders, **options, out=tmp_path / "killed", watch=watch)
        except Killed:
            continue
    killed = fewtune.sweep(orders, **options, out=tmp_path / "killed", watch=seen.append).summary
    assert whole.refit is not None and whole.more_data is not None
    assert (killed.refit, killed.more_data, killed.search) == (whole.refit, whole.more_data, whole.search)
    ended = [one.trial for one in seen if isinstance(one, Training) and one.epoch >= one.epochs]
    assert len(ended) == len(set(ended))
    assert {"refit", "part"} <= {name.split("-")[0] for name in ended}


def test_what_more_data_would_bring_may_be_asked_of_a_finished_run(orders: Path) -> None:
    swept = fewtune.sweep(orders, **SWEEP)
    assert swept.summary.more_data is None
    seen: list[Progress] = []
    asked = fewtune.sweep(orders, **SWEEP, more_data=True, watch=seen.append)
    assert asked.id == swept.id
    trained = {one.trial for one in seen if isinstance(one, Training)}
    assert trained and all(name.startswith(f"part-{asked.summary.chosen}-") for name in trained)
    assert asked.summary.more_data is not None
    again = fewtune.sweep(orders, **SWEEP)
    assert again.summary.more_data == asked.summary.more_data


def test_asking_a_finished_run_what_more_data_would_bring_answers_no_row_again(orders: Path) -> None:
    options = {**SWEEP, "epochs": 2, "learning_rate": 1e-3}
    done = fewtune.run(orders, **options)
    seen: list[Progress] = []
    asked = fewtune.run(orders, **options, more_data=True, watch=seen.append)
    assert asked.summary.more_data is not None
    assert not [event for event in seen if isinstance(event, Answering)]
    assert asked.summary.systems == done.summary.systems


def test_parts_of_the_rows_are_trained_with_as_many_steps_and_measured_on_the_same_rows(orders: Path) -> None:
    swept = fewtune.sweep(orders, **SWEEP, more_data=True)
    train, valid, _ = split(orders)
    found = swept.summary.more_data
    assert found is not None and found.gain is not None and found.interval is not None
    assert [one.rows for one in found.sizes] == [len(train) // 4, len(train) // 2, len(train)]
    assert [len(one.losses) for one in found.sizes] == [2, 2, 1]
    records = {one.id: one for one in Runs(load().home).trials(swept.id)}
    steps = {}
    for name in [name for name in records if name.startswith("part-")]:
        rows, judged = rows_of(swept, name)
        assert set(rows) < train and set(judged) == valid
        steps[name] = records[name].plan["epochs"] * math.ceil(len(rows) / 4)
    whole = swept.best.plan["epochs"] * math.ceil(len(train) / 4)
    assert all(whole <= count <= whole + math.ceil(len(train) / 8) for count in steps.values())
    halves = [set(rows_of(swept, f"part-{swept.summary.chosen}-50-{draw}")[0]) for draw in (1, 2)]
    assert not halves[0] & halves[1]


def test_too_few_rows_are_not_asked_what_more_of_them_would_bring(few_rows: Path) -> None:
    found = fewtune.sweep(few_rows, **SWEEP, more_data=True).summary.more_data
    assert found is not None and found.gain is None and found.sizes == ()
    assert "cannot be told: there are" in found.sentence


def test_a_mean_of_checkpoints_is_kept_where_the_folds_say_that_it_is_better(orders: Path) -> None:
    """The fake loss turns up after too much training; there the mean of the last epochs lies nearer the best."""
    overtrained = {"provider": "fake", "epochs": 8, "learning_rate": "3e-3,4e-3", "average_refit": True}
    refit = fewtune.sweep(orders, **overtrained).summary.refit
    assert refit is not None and refit.average is not None
    assert refit.average.startswith("It is the mean of its last 3 epochs' adapters")
    assert refit.plan["averaged_checkpoints"] == 3
    undertrained = {**overtrained, "learning_rate": "1e-5,2e-5"}
    refit = fewtune.sweep(orders, **undertrained).summary.refit
    assert refit is not None and refit.average is not None
    assert refit.average.startswith("It is not the mean of its last 3 epochs' adapters")
    assert refit.plan["averaged_checkpoints"] == 1


def test_without_folds_no_mean_is_tried_and_the_report_says_so(orders: Path) -> None:
    swept = fewtune.sweep(orders, **SWEEP, folds=0, average_refit=True)
    refit = swept.summary.refit
    assert refit is not None and refit.average is not None
    assert "was not tried: without folds" in refit.average
    assert refit.average in swept.report_path.read_text(encoding="utf-8").replace("&#39;", "'")


def test_by_default_rows_that_were_given_for_validation_are_not_trained_on(orders: Path, few_rows: Path) -> None:
    assert fewtune.run(orders, **SWEEP).summary.refit is not None
    assert fewtune.sweep(orders, **SWEEP, valid_file=few_rows).summary.refit is None
    given = fewtune.sweep(orders, **SWEEP, valid_file=few_rows, refit=True).summary.refit
    assert given is not None and given.state == "finished"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"average_refit": True, "refit": False}, r"needs a refit.*Add --refit"),
        ({"average_refit": True, "averaged_checkpoints": 2}, r"means already.*Drop --average-refit"),
        ({"provider": "openai", "learning_rate": 1, "more_data": True}, r"Leave out --more-data"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_runs(
    orders: Path, tmp_path: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    with pytest.raises(UsageError, match=message):
        fewtune.sweep(orders, **{**SWEEP, **options}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_before_there_was_a_refit_keeps_its_identity_and_gets_none() -> None:
    settings = RunSettings(data="rows.csv", seed=3, score="loss")
    document = settings.to_json()
    for name in ("refit", "average_refit", "more_data", "score"):
        del document[name]
    read = RunSettings.from_json(document)
    assert read == settings and read.refit is False
    assert settings.run_id("") == "rows-d101385b"
    assert replace(settings, more_data=True).run_id("") == settings.run_id("")
    assert replace(settings, refit=True).run_id("") != settings.run_id("")


def test_the_command_of_a_sweep_makes_the_same_run_again(orders: Path) -> None:
    command = fewtune.sweep(orders, **SWEEP).summary.command
    assert "-refit" not in command and "--more-data" not in command
    command = fewtune.sweep(orders, **SWEEP, refit=False, more_data=True).summary.command
    assert "--no-refit" in command and "--more-data" in command and "average" not in command
    assert "-refit" not in fewtune.run(orders, **SWEEP).summary.command
    one = {"provider": "fake", "epochs": 2, "learning_rate": 1e-3}
    assert "-refit" not in fewtune.train(orders, **one).summary.command
    trained = fewtune.train(orders, **one, refit=True).summary
    assert "--refit" in trained.command and trained.refit is not None


def test_the_report_says_what_is_kept_and_whether_more_data_would_help(orders: Path) -> None:
    seen: list[Progress] = []
    swept = fewtune.sweep(orders, **SWEEP, more_data=True, watch=seen.append)
    page = swept.report_path.read_text(encoding="utf-8")
    assert swept.summary.refit is not None and swept.summary.more_data is not None
    assert "Kept is the chosen plan trained once more" in page
    assert "those above are the chosen trial" in page
    assert "Would more data help?" in page
    assert swept.summary.more_data.sentence in page
    stages = [one.text for one in seen if isinstance(one, Stage | Note)]
    assert any(f"on all {swept.summary.refit.rows} rows" in text for text in stages)
    assert Summary.from_json(swept.summary.to_json()) == swept.summary
