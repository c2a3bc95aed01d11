from __future__ import annotations

import pytest

from fewtune.errors import UsageError
from fewtune.evaluation.metric import TASKS
from fewtune.evaluation.metrics import METRICS, PRIMARY, every_metric, for_task


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_each_metric_once_and_each_is_described(task: str) -> None:
    metrics = every_metric(task)
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert all(metric.title and metric.meaning.endswith(".") for metric in metrics)


@pytest.mark.parametrize("task", TASKS)
def test_the_expected_answer_has_the_best_value_there_is(task: str) -> None:
    for metric in for_task(task):
        best = 100 if metric.unit == "points" else 1
        assert metric.measure('{"a": 1}', '{"a": 1}') == pytest.approx(best)


def test_the_tasks_have_the_metrics_that_are_documented() -> None:
    names = {task: {metric.name for metric in every_metric(task)} for task in TASKS}
    likely = {"loss", "token_accuracy", "sequence_accuracy"}
    assert names == {
        "text": likely
        | {"chrf", "rouge_l", "bleu", "exact_match", "length_ratio", "distinct_1", "distinct_2"}
        | {"perplexity", "bits_per_byte"},
        "labels": likely | {"exact_match", "macro_f1", "constrained_accuracy"},
        "json": likely | {"exact_match", "field_f1", "valid_json"},
    }


def test_what_decides_by_default_can_be_compared() -> None:
    assert set(PRIMARY) == set(TASKS)
    for task, name in PRIMARY.items():
        assert next(metric for metric in METRICS if metric.name == name and task in metric.tasks).compared


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="text, labels, json"):
        for_task("images")
