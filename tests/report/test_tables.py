from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fewtune.report import metrics, tables, words
from fewtune.report.evaluation_part import MetricLine
from fewtune.report.summary import Summary


def test_the_sweep_is_sorted_by_validation_loss_and_marks_the_chosen_and_the_tied(summary: Summary) -> None:
    found = tables.sweep(summary)
    losses = [row.trial.valid_loss for row in found.rows]
    assert losses == sorted(losses)
    assert [row.trial.id for row in found.rows if row.mark == "chosen"] == [summary.chosen]
    assert {row.trial.id for row in found.rows if row.mark == "tied"} == set(summary.tied)


def test_only_hyperparameters_that_differ_have_a_column(summary: Summary) -> None:
    found = tables.sweep(summary)
    assert found.fields == ("learning_rate", "epochs")
    assert ("rank", "8") in found.same


def test_a_single_trial_still_shows_its_learning_rate(summary: Summary) -> None:
    assert tables.varied([summary.trials[0].plan]) == ("learning_rate",)


def test_trials_without_a_validation_loss_stand_last(summary: Summary) -> None:
    failed = replace(summary.trials[0], state="failed", valid_loss=None)
    unmeasured = replace(summary.trials[1], valid_loss=float("nan"))
    found = tables.sweep(replace(summary, trials=(failed, unmeasured, *summary.trials[2:])))
    assert {row.trial.id for row in found.rows[-2:]} == {failed.id, unmeasured.id}
    assert found.rows[-1].mark == "failed" or found.rows[-2].mark == "failed"


def test_the_rows_add_up(summary: Summary) -> None:
    said = tables.rows_sum(summary.data)
    read, rest = said.split("=")
    numbers = [int(word) for word in rest.split() if word.isdigit()]
    assert int(read.split()[0]) == sum(numbers)
    assert said == "160 rows read = 153 kept + 4 dropped (duplicate) + 3 dropped (empty completion)"


@pytest.mark.parametrize(("task", "first"), [("text", "loss"), ("labels", "exact_match"), ("json", "exact_match")])
def test_the_metric_that_judges_the_task_comes_first(summary: Summary, task: str, first: str) -> None:
    judged = replace(summary, data=replace(summary.data, task=task))
    primary = metrics.primary(judged)
    assert primary is not None and primary.name == first
    assert tables.comparisons(judged)[0].metrics[0].name == first


def test_without_losses_text_is_judged_by_its_likeness(summary: Summary) -> None:
    systems = tuple(
        replace(system, metrics={name: value for name, value in system.metrics.items() if name != "loss"})
        for system in summary.systems
    )
    primary = metrics.primary(replace(summary, systems=systems))
    assert primary is not None and primary.name == "chrf"


def test_a_metric_nobody_has_heard_of_is_shown_under_its_own_name(changed: Callable[..., Summary]) -> None:
    assert metrics.metric("brier_score", None).label == "brier score"
    assert metrics.primary(changed(systems=())) is None


def test_a_difference_of_shares_is_in_points(summary: Summary) -> None:
    assert metrics.of(summary, "exact_match").difference(0.125) == "+12.5 points"
    assert metrics.of(summary, "loss").difference(-0.25) == "−0.250"


def test_a_metric_of_the_users_is_never_called_as_one_of_ours(evaluated: Summary) -> None:
    assert evaluated.evaluation is not None
    told = MetricLine(name="valid_json", title="Lines", unit="", higher_is_better=False, meaning="Lines.", own=True)
    ours = replace(evaluated.evaluation, metrics=(told,))
    found = metrics.of(replace(evaluated, evaluation=ours), "valid_json")
    assert (found.label, found.direction) == ("Lines", "lower is better")


def test_few_shot_is_explained_in_words(summary: Summary) -> None:
    assert tables.system_meaning(summary, "few-shot") == "the base given 3 examples in its prompt, not trained"
    assert "a few examples" in tables.system_meaning(replace(summary, settings={}), "few-shot")


def test_one_row_has_no_interval_anywhere(of_one_row: Summary) -> None:
    for row in tables.comparisons(of_one_row)[0].rows:
        cells = [cell for cell in row.cells if cell]
        assert cells and all(cell.interval == words.UNKNOWN for cell in cells)
        against = [cell.against for cell in cells if cell.against]
        assert all((one.verdict, one.interval) == (words.UNKNOWN, words.UNKNOWN) for one in against)
        assert bool(against) == (row.name != "tuned")


def test_the_tuned_model_comes_first_and_then_its_hardest_rivals(evaluated: Summary) -> None:
    names = [row.name for row in tables.comparisons(evaluated)[0].rows]
    assert names[:3] == ["tuned", "runner-up", "tf-idf"] and names[-1] == "base"


def test_a_table_holds_only_systems_that_have_one_of_its_metrics(evaluated: Summary) -> None:
    first, rest = tables.comparisons(evaluated)
    assert [metric.name for metric in first.metrics] == ["exact_match", "macro_f1", "length", "loss"]
    assert {"majority", "tf-idf"} & {row.name for row in first.rows}
    assert not {"majority", "tf-idf"} & {row.name for row in rest.rows}


def test_a_metric_of_the_run_is_called_as_the_run_calls_it(evaluated: Summary) -> None:
    own = metrics.of(evaluated, "brier")
    assert (own.label, own.direction, own.write(0.25)) == ("Brier score", "lower is better", "0.250")
    assert metrics.of(evaluated, "macro_f1").write(0.5) == f"50.0{words.THIN}%"
