from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.evaluation.json_metrics import fields, json_match, valid_json
from fewtune.evaluation.metric import Row
from fewtune.evaluation.metrics import every_metric

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELD_F1 = next(one for one in every_metric("json") if one.name == "field_f1")


def rows(*pairs: tuple[str, str]) -> list[Row]:
    return [Row(expected=expected, answer=answer) for expected, answer in pairs]


def f1(*pairs: tuple[str, str]) -> float:
    values = [one for one in FIELD_F1.column(rows(*pairs)).values if one is not None]
    return sum(values) / len(values)


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


@settings(max_examples=30, deadline=None)
@given(JSON_VALUES)
def test_json_matches_itself_however_it_is_laid_out(value: object) -> None:
    assert json_match(json.dumps(value, indent=3, sort_keys=True), json.dumps(value)) == 1
    assert f1((json.dumps(value), json.dumps(value, indent=3, sort_keys=True))) == 1


@pytest.mark.parametrize(
    ("answer", "valid"), [('{"a": 1}', 1), ("null", 1), (" 3 ", 1), ("", 0), ("NaN", 0), ("{'a': 1}", 0), ("1 2", 0)]
)
def test_valid_json_is_what_the_standard_calls_json(answer: str, valid: float) -> None:
    assert valid_json(answer, "anything") == valid


def test_fields_are_counted_by_path_and_value() -> None:
    found = fields(
        rows(
            ('{"item": "rye", "to": {"street": "Elm"}}', '{"item": "rye", "to": {"street": "Oak"}, "more": 1}'),
            ('{"item": "bun", "tags": ["a", "b"]}', '{"item": "rye", "tags": ["b", "c"]}'),
        )
    )
    assert {one.path: (one.expected, one.answered, one.right) for one in found} == {
        "item": (2, 2, 1),
        "to.street": (1, 1, 0),
        "more": (0, 1, 0),
        "tags[]": (2, 2, 1),
    }


def test_the_fields_of_all_rows_are_one_f1() -> None:
    assert f1(('{"a": 1, "b": 2}', '{"a": 1.0}'), ('{"a": 3}', '{"a": 4}')) == pytest.approx(2 * 1 / (3 + 2))


def test_an_answer_that_is_not_json_has_missed_every_field() -> None:
    assert f1(('{"a": 1}', "a is 1"), ('{"a": 1}', '{"a": 1}')) == pytest.approx(2 * 1 / (2 + 1))


def test_text_and_number_and_truth_are_different_values() -> None:
    assert f1(('{"a": 1}', '{"a": "1"}')) == f1(('{"a": 1}', '{"a": true}')) == 0


def test_of_several_references_the_one_with_the_likest_fields_counts() -> None:
    near, far = '{"a": 1, "b": 2}', '{"a": 5, "b": 6, "c": 7}'
    row = Row(answer='{"a": 1, "b": 3}', expected=far, references=("not JSON", near))
    assert FIELD_F1.column([row]).values == (0.5,)
    assert {one.path: one.right for one in fields([row])} == {"a": 1, "b": 0}
    assert FIELD_F1.column([Row(answer="{}", expected="not JSON", references=("nor this",))]).values == (None,)
