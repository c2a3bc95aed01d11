"""Sweeps from end to end: candidates, rungs, folds, budgets, and going on after a kill."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import BudgetError, UsageError
from fewtune.experiment.progress import Note, Progress, Rung, Training
from fewtune.experiment.settings import RunSettings
from fewtune.report.summary import Summary
from fewtune.report.tables import search_lines
from fewtune.settings import load
from fewtune.store.runs import Runs
from standin.processes import forkserver
from standin.sweep_process import sweep_until

GRID: dict[str, Any] = {
    "provider": "fake",
    "epochs": "1,2,4,8",
    "batch_size": "2,8",
    "learning_rate": "1e-4,3e-4,1e-3,3e-3",
}


class Killed(BaseException):
    """Nothing in the program may catch it."""


def decisions(summary: Summary) -> object:
    """All that two sweeps have to agree in."""
    trials = [(one.id, one.plan, one.valid_loss, one.ended, one.tokens) for one in summary.trials]
    return trials, summary.chosen, summary.tied, summary.search, summary.saved_against_grid


def test_a_sweep_stops_the_worse_half_at_each_rung(few_rows: Path) -> None:
    seen: list[Progress] = []
    swept = fewtune.sweep(few_rows, **GRID, folds=0, watch=seen.append).summary
    assert swept.search is not None and swept.saved_against_grid is not None
    assert swept.search.rungs == (1, 2, 4, 8)
    assert next(event.text for event in seen if isinstance(event, Rung)) == "After 1 epoch, 4 of 8 trials go on."
    assert Counter(one.plan["epochs"] for one in swept.trials)[1] == 8
    assert Counter(one.plan["epochs"] for one in swept.trials)[2] == 4
    assert swept.saved_against_grid.epochs <= 8 + 4 + 2 * 6
    assert swept.saved_against_grid.grid_epochs == 8 * 15
    assert {one.ended for one in swept.trials} <= {"dropped", "turned", "finished"}


def test_without_halving_every_candidate_trains_to_the_end(few_rows: Path) -> None:
    swept = fewtune.sweep(few_rows, **GRID, folds=0, halving=False).summary
    assert len(swept.trials) == 32
    assert swept.search is not None and swept.search.rungs == (8,)


def test_a_first_rung_on_a_share_of_the_rows_trains_the_better_half_anew_on_all_of_them(few_rows: Path) -> None:
    seen: list[Progress] = []
    swept = fewtune.sweep(few_rows, **GRID, folds=0, rung_share=0.5, watch=seen.append)
    search, saved = swept.summary.search, swept.summary.saved_against_grid
    assert search is not None and saved is not None
    assert (search.rungs, search.rung_share, search.stopped_by) == ((1, 2, 4, 8), 0.5, "rungs")
    told = [event.text for event in seen if isinstance(event, Rung)]
    assert told[:2] == [
        "After 1 epoch on 50 % of the rows, 4 of 8 trials go on.",
        "After 1 epoch, 2 of 8 trials go on.",
    ]
    assert saved.epochs <= 8 / 2 + 4 + 2 * 7
    stored = {one.id: one for one in Runs(load().home).trials(swept.id)}
    points = Runs(load().home).points(swept.id)
    assert sum(name.endswith("-part") for name in stored) == 8
    tokens = {one.trial_id: one.tokens for one in points if one.epoch == 1.0}
    assert all(tokens[f"{name}-part"] < 0.7 * tokens[name] for name in ("t1", "t2", "t3") if name in tokens)
    left = [one for one in swept.summary.trials if one.state == "unfinished"]
    assert len(left) == 4
    assert {(one.ended, one.valid_loss, one.tokens) for one in left} == {("dropped", None, 0)}
    assert "--halving --rung-share 0.5" in swept.summary.command


def test_the_command_that_repeats_a_sweep_has_its_budgets(few_rows: Path) -> None:
    one = fewtune.sweep(few_rows, epochs=1, batch_size=4, learning_rate=1e-3, folds=0, budget_tokens=1e6)
    assert one.summary.command.endswith("--budget-tokens 1000000")
    again = fewtune.sweep(few_rows, epochs=1, batch_size=4, learning_rate=1e-3, folds=0)
    assert again.summary.command == one.summary.command


def test_the_median_rule_stops_the_slow_ones_without_rungs(few_rows: Path) -> None:
    swept = fewtune.sweep(few_rows, **GRID, folds=0, median_stop=True).summary
    assert swept.search is not None and swept.search.stopped_by == "median"
    assert swept.saved_against_grid is not None and swept.saved_against_grid.epochs < 8 * 8
    assert Counter(one.ended for one in swept.trials if one.plan["epochs"] == 1)["dropped"] >= 1
    assert swept.trials[0].plan["epochs"] == 1


@pytest.mark.parametrize("rule", [{"rung_share": 0.5}, {"median_stop": True}])
def test_whatever_stops_candidates_a_killed_sweep_comes_to_the_same_decisions(
    few_rows: Path, tmp_path: Path, rule: dict[str, Any]
) -> None:
    options = {**GRID, **rule, "folds": 0}
    whole = fewtune.sweep(few_rows, **options, out=tmp_path / "whole").summary
    assert decisions(kill_and_resume(few_rows, options, tmp_path / "killed", kills=6, seed=2)) == decisions(whole)


def test_the_finalists_are_trained_on_folds_of_the_rows_that_judge_nothing(few_rows: Path) -> None:
    seen: list[Progress] = []
    swept = fewtune.sweep(few_rows, **GRID, watch=seen.append)
    search = swept.summary.search
    assert search is not None and search.estimate is not None
    assert search.folds == 5
    told = {(event.trial, event.competes) for event in seen if isinstance(event, Training)}
    assert all(competes == bool(re.fullmatch(r"t\d+", trial)) for trial, competes in told)
    assert "rows decide between them" in " ".join(search_lines(swept.summary))
    assert search.estimate.by == "folds"
    assert {swept.summary.chosen, *swept.summary.tied} <= {one.trial for one in search.finalists}
    data = swept.summary.data
    assert {one.rows for one in search.finalists} == {data.train_rows + data.valid_rows}
    folds = [one for one in Runs(load().home).trials(swept.id) if "-f" in one.id]
    assert len(folds) == 2 * 4


def test_several_seeds_train_the_finalists_again_and_none_of_them_is_chosen(few_rows: Path) -> None:
    swept = fewtune.sweep(few_rows, **GRID, folds=0, seeds=(3, 4, 5))
    search = swept.summary.search
    assert search is not None and search.seeds == (3, 4, 5)
    assert search.folds == 0
    repeated = [one for one in Runs(load().home).trials(swept.id) if "-s" in one.id]
    assert sorted(one.seed for one in repeated) == [4, 4, 5, 5]


def test_ranges_are_searched_evenly_and_a_file_of_axes_is_as_good_as_options(few_rows: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('epochs = [1, 2]\nlearning_rate = "1e-4..3e-3 log"\nrank = "4..16"\n', encoding="utf-8")
    by_file = fewtune.sweep(few_rows, provider="fake", space=space, trials=5)
    options = {"epochs": "1,2", "learning_rate": "1e-4..3e-3 log", "rank": "4..16"}
    by_options = fewtune.sweep(few_rows, provider="fake", **options, trials=5)
    assert by_file.id == by_options.id
    assert by_file.summary.search is not None and by_file.summary.search.searcher == "quasi"
    plans = [one.plan for one in by_file.summary.trials]
    assert len({plan["learning_rate"] for plan in plans}) == 5
    assert all(plan["alpha"] == 2 * plan["rank"] for plan in plans)
    assert "'1e-4..3e-3 log'" not in by_file.summary.command
    assert "--learning-rate '0.0001..0.003 log'" in by_file.summary.command


def test_tpe_searches_in_batches_and_goes_on_with_the_same_candidates(few_rows: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    options = {"provider": "fake", "learning_rate": "1e-5..3e-3 log", "searcher": "tpe", "trials": 14, "folds": 0}
    whole = fewtune.sweep(few_rows, **options, out=tmp_path / "whole").summary
    killed = kill_and_resume(few_rows, options, tmp_path / "killed", kills=5, seed=1)
    assert len({one.trunk for one in whole.trials}) == 14
    assert decisions(killed) == decisions(whole)


@pytest.mark.parametrize(
    "settings",
    [
        RunSettings(data="rows.csv"),
        RunSettings(
            data="rows.csv", rank="4..16 log", adapt_top=(0.5, 1.0), seeds=(1, 2), trials=3, halving=None, folds=None
        ),
    ],
)
def test_settings_that_were_stored_are_those_of_the_same_run(settings: RunSettings) -> None:
    stored = json.loads(json.dumps(settings.to_json()))
    assert RunSettings.from_json(stored).run_id("") == settings.run_id("")
    assert replace(settings, trials=99).run_id("") == settings.run_id("")


def test_settings_of_version_0_1_are_still_read() -> None:
    old = {"data": "rows.csv", "rank": 4, "prompt_loss_weight": 0.1, "epochs": [1, 2]}
    read = RunSettings.from_json(old)
    assert (read.rank, read.prompt_loss_weight, read.epochs) == ((4,), (0.1,), (1, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": "1e-3..1e-4"}, r"empty range.*1e-4..1e-3|empty range.*0\.0001\.\.0\.001"),
        ({"learning_rate": 0.0}, "not above 0.*Use --learning-rate 1e-3"),
        ({"learning_rate": 10}, "Use --learning-rate 1e-3"),
        ({"batch_size": 5000}, "number of training rows"),
        ({"folds": 500}, "--folds has 500.*Use --folds 5"),
        ({"folds": 1}, "Use --folds 2"),
        ({"trials": 0}, "Use --trials 1"),
        ({"seeds": "0..4"}, "Use|List them, as in --seeds 0,1,2"),
        ({"searcher": "gird"}, "Choose one of: grid, quasi, random, tpe"),
        ({"searcher": "grid", "learning_rate": "1e-4..1e-3"}, "--searcher quasi"),
        ({"searcher": "tpe", "halving": True}, "TPE learns from trainings that went to the end"),
        ({"searcher": "tpe", "median_stop": True}, "Leave out --median-stop, or search with --searcher quasi"),
        ({"median_stop": True, "halving": True}, "Leave out --median-stop, or --halving"),
        ({"median_stop": True, "epochs": 1}, "Search more --epochs"),
        ({"rung_share": 0.5, "halving": False}, "Leave out one of the two"),
        ({"rung_share": 1.0}, "Use --rung-share 0.25"),
        ({"rung_share": 0.0}, "Use --rung-share 0.25"),
        ({"rung_share": 0.05}, "--rung-share 0.05 leaves 1 of 28 rows.*Use --rung-share 0.15"),
        ({"space": "nowhere.toml"}, "nowhere.toml: The search space cannot be read"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(
    few_rows: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fewtune.sweep(few_rows, **{"provider": "fake", **options}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_train_makes_one_plan_and_refuses_lists(few_rows: Path) -> None:
    with pytest.raises(UsageError, match=r"train makes one plan.*fewtune sweep"):
        fewtune.train(few_rows, provider="fake", epochs="2,4")


def test_a_budget_that_buys_no_training_is_refused_with_the_least_that_would(few_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"--budget-tokens 100 does not buy one training") as refused:
        fewtune.sweep(few_rows, **GRID, budget_tokens=100, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    least = float((refused.value.fix or "").split("--budget-tokens ")[1].split(",")[0])
    swept = fewtune.sweep(few_rows, **GRID, budget_tokens=least, out=tmp_path / "out").summary
    assert swept.search is not None and swept.search.candidates == 1


@pytest.mark.parametrize("trainings", [1.5, 4, 9])
def test_a_budget_is_never_exceeded_and_what_it_cut_is_listed(few_rows: Path, trainings: float) -> None:
    with pytest.raises(BudgetError) as refused:
        fewtune.sweep(few_rows, **GRID, budget_tokens=1)
    least = float((refused.value.fix or "").split("--budget-tokens ")[1].split(",")[0])
    swept = fewtune.sweep(few_rows, **GRID, budget_tokens=trainings * least)
    search = swept.summary.search
    assert search is not None
    store = Runs(load().home)
    last = {point.trial_id: point.tokens for point in store.points(swept.id)}
    assert sum(last.values()) <= trainings * least
    assert search.candidates + len(search.cut) == search.asked == 8
    assert {line.limit for line in search.cut} == {"tokens"}


def test_a_larger_budget_takes_a_finished_sweep_further(few_rows: Path) -> None:
    with pytest.raises(BudgetError) as refused:
        fewtune.sweep(few_rows, **GRID, budget_tokens=1)
    least = float((refused.value.fix or "").split("--budget-tokens ")[1].split(",")[0])
    small = fewtune.sweep(few_rows, **GRID, budget_tokens=4 * least).summary
    large = fewtune.sweep(few_rows, **GRID, budget_tokens=100 * least).summary
    assert small.id == large.id
    assert small.search is not None and large.search is not None
    assert small.search.cut and not large.search.cut
    assert large.search.candidates == 8


def test_a_finished_sweep_is_extended_by_more_trials_and_trains_none_again(few_rows: Path, tmp_path: Path) -> None:
    options = {"provider": "fake", "learning_rate": "1e-4..3e-3 log", "epochs": "1,2,4", "folds": 0}
    seen: list[Progress] = []
    small = fewtune.sweep(few_rows, **options, trials=8, watch=seen.append)
    large = fewtune.sweep(few_rows, **options, trials=16, watch=seen.append)
    again = fewtune.sweep(few_rows, **options, trials=8, watch=seen.append)
    assert isinstance(seen[-1], Note)
    assert again.summary == large.summary
    at_once = fewtune.sweep(few_rows, **options, trials=16, out=tmp_path / "at_once").summary
    assert small.id == large.id
    assert len({one.trunk for one in large.summary.trials}) == 16
    assert decisions(large.summary) == decisions(at_once)
    assert ends(seen) <= 1


def test_an_extended_run_judges_the_model_that_is_chosen_now(few_rows: Path, tmp_path: Path) -> None:
    options = {"provider": "fake", "learning_rate": "1e-5..3e-3 log", "epochs": 4}
    fewtune.run(few_rows, **options, trials=1)
    extended = fewtune.run(few_rows, **options, trials=6).summary
    at_once = fewtune.run(few_rows, **options, trials=6, out=tmp_path / "at_once").summary
    assert extended.systems == at_once.systems


def test_a_sweep_that_is_killed_ten_times_comes_to_the_same_decisions(few_rows: Path, tmp_path: Path) -> None:
    whole = fewtune.sweep(few_rows, **GRID, out=tmp_path / "whole").summary
    assert decisions(kill_and_resume(few_rows, GRID, tmp_path / "killed", kills=10, seed=0)) == decisions(whole)


@pytest.mark.slow
def test_a_sweep_whose_process_is_killed_a_hundred_times_comes_to_the_same(few_rows: Path, tmp_path: Path) -> None:
    whole = fewtune.sweep(few_rows, **GRID, out=tmp_path / "whole").summary
    chance, log = random.Random(0), tmp_path / "steps.jsonl"
    for sweep in range(10):
        folder = tmp_path / str(sweep)
        for _ in range(10):
            arguments = (few_rows, GRID, folder, log, chance.randint(1, 60))
            process = forkserver().Process(target=sweep_until, args=arguments)
            process.start()
            process.join()
        assert decisions(fewtune.sweep(few_rows, **GRID, out=folder).summary) == decisions(whole)
    steps = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    finished = Counter((folder, trial) for folder, trial, epoch, epochs in steps if epoch >= epochs)
    assert max(finished.values(), default=0) <= 1


def kill_and_resume(rows: Path, options: dict[str, Any], out: Path, *, kills: int, seed: int) -> Summary:
    """The sweep, interrupted so often at random; none of its trials may be trained to the end twice."""
    chance = random.Random(seed)
    seen: list[Progress] = []
    for _ in range(kills):
        left = chance.randint(1, 60)

        def watch(event: Progress) -> None:
            nonlocal left
            seen.append(event)
            left -= isinstance(event, Training | Rung)
            if left == 0:
                raise Killed

        try:
            fewtune.sweep(rows, **options, out=out, watch=watch)
        except Killed:
            continue
    done = fewtune.sweep(rows, **options, out=out, watch=seen.append).summary
    assert ends(seen) <= 1
    return done


def ends(seen: list[Progress]) -> int:
    """How often a trial was seen at its end, at most."""
    told = Counter(one.trial for one in seen if isinstance(one, Training) and one.epoch >= one.epochs)
    return max(told.values(), default=0)


@pytest.mark.parametrize("options", [{}, {"halving": False, "folds": 0}, {"folds": 0, "seeds": (0, 1)}])
def test_a_sweep_takes_no_more_and_no_less_than_its_estimate_says(few_rows: Path, options: dict[str, Any]) -> None:
    estimated = fewtune.estimate(few_rows, **GRID, **options, refit=False)
    saved = fewtune.sweep(few_rows, **GRID, **options, refit=False).summary.saved_against_grid
    assert saved is not None
    assert estimated.epochs_fewest <= saved.epochs <= estimated.epochs_total
