from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.errors import UsageError
from fewtune.evaluation.metrics import METRICS, PRIMARY, TASKS, chrf, exact_match, for_task, json_match, valid_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_chrf_is_a_hundred_for_the_expected_text_and_zero_for_an_empty_answer() -> None:
    assert chrf("Postmaster Ninn smiles.", "Postmaster Ninn smiles.") == pytest.approx(100)
    assert chrf("", "Postmaster Ninn smiles.") == 0
    assert 0 < chrf("Postmaster Ninn frowns.", "Postmaster Ninn smiles.") < 100


def test_chrf_agrees_with_a_case_counted_by_hand() -> None:
    # Unigrams 2 of 3, bigrams 1 of 2, trigrams 0 of 1, in precision and recall alike: their mean is 38.9.
    assert chrf("abc", "abd") == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_an_exact_match_ignores_white_space_at_the_ends_and_nothing_else() -> None:
    assert exact_match(" billing\n", "billing") == 1
    assert exact_match("Billing", "billing") == 0
    assert exact_match("product  question", "product question") == 0


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ('{"b": 2, "a": [1, null]}', '{"a":[1,null],"b":2}', True),
        ("[1, 2]", "[2, 1]", False),
        ("1", "1.0", True),
        ("1", "true", False),
        ("[0]", "[false]", False),
        ('"1"', "1", False),
        ('{"a": 1}', '{"a": 1, "b": null}', False),
        ("12345678901234567890", "12345678901234567891", False),
        ('{"a": 1', '{"a": 1}', False),
        ("not json", "not json", True),
        ("[" * 100_000, "[]", False),
    ],
)
def test_json_matches_by_value(answer: str, expected: str, same: bool) -> None:
    assert json_match(answer, expected) == same


@given(JSON_VALUES)
def test_json_matches_itself_however_it_is_laid_out(value: object) -> None:
    assert json_match(json.dumps(value, indent=3, sort_keys=True), json.dumps(value)) == 1


@pytest.mark.parametrize(
    ("answer", "valid"), [('{"a": 1}', 1), ("null", 1), (" 3 ", 1), ("", 0), ("NaN", 0), ("{'a': 1}", 0), ("1 2", 0)]
)
def test_valid_json_is_what_the_standard_calls_json(answer: str, valid: float) -> None:
    assert valid_json(answer, "anything") == valid


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_each_metric_once_and_its_rows_are_measured_as_declared(task: str) -> None:
    metrics = for_task(task)
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.higher_is_better
        value = metric.measure('{"a": 1}', '{"a": 1}')
        assert value == pytest.approx(1 if metric.binary else 100)


def test_the_tasks_have_the_metrics_that_are_documented() -> None:
    names = {task: [metric.name for metric in for_task(task)] for task in TASKS}
    assert names == {
        "text": ["chrf", "exact_match"],
        "labels": ["exact_match"],
        "json": ["exact_match", "valid_json"],
    }
    assert set(PRIMARY) == set(TASKS)
    assert set(PRIMARY.values()) <= {metric.name for metric in METRICS} | {"loss"}


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="text, labels, json"):
        for_task("images")
