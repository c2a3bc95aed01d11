from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fewtune.data import task
from fewtune.evaluation.label_metrics import label_answers, label_key, same_label
from fewtune.evaluation.metric import Row
from fewtune.evaluation.metrics import every_metric

LABELS = ("Billing", "delivery", "refund")
MACRO_F1 = next(one for one in every_metric("labels") if one.name == "macro_f1")


def rows(*pairs: tuple[str, str]) -> list[Row]:
    return [Row(expected=expected, answer=answer) for expected, answer in pairs]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from((*LABELS, "nonsense"))), min_size=2, max_size=30))
def test_macro_f1_is_scikit_learns_over_the_labels_that_rows_have(pairs: list[tuple[str, str]]) -> None:
    expected, answered = zip(*pairs, strict=True)
    theirs = f1_score(expected, answered, labels=sorted(set(expected)), average="macro", zero_division=0)
    found = [one for one in MACRO_F1.column(rows(*pairs)).values if one is not None]
    assert sum(found) / len(found) == pytest.approx(float(theirs))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abx")), min_size=3, max_size=12))
def test_macro_f1_without_each_row_is_that_of_the_other_rows(pairs: list[tuple[str, str]]) -> None:
    def macro(pairs: list[tuple[str, str]]) -> float:
        expected, answered = zip(*pairs, strict=True)
        labels = sorted(set(expected))
        return float(f1_score(expected, answered, labels=labels, average="macro", zero_division=0))

    n, whole = len(pairs), macro(pairs)
    raw = [n * whole - (n - 1) * macro(pairs[:place] + pairs[place + 1 :]) for place in range(n)]
    values = MACRO_F1.column(rows(*pairs)).values
    assert values == pytest.approx([one - sum(raw) / n + whole for one in raw])


@pytest.mark.parametrize("label", ["Card Lost", " card  lost", "CARDLOST", "straße"])
def test_labels_are_the_same_here_where_the_data_take_them_for_the_same(label: str) -> None:
    assert label_key(label) == task.label_key(label)
    assert same_label(label.upper(), label) == 1


def test_the_table_counts_each_label_and_what_is_none() -> None:
    found = label_answers(rows(("billing", "Billing"), ("billing", "refund"), ("refund", "hm"), ("refund", "")), LABELS)
    by_label = {one.label: one for one in found.labels}
    assert set(by_label) == set(LABELS)
    billing, delivery, refund = (by_label[label] for label in LABELS)
    assert (billing.rows, billing.answered, billing.right) == (2, 1, 1)
    assert (billing.precision, billing.recall, billing.f1) == (1.0, 0.5, pytest.approx(2 / 3))
    assert (delivery.precision, delivery.recall, delivery.f1) == (None, None, 0.0)
    assert (refund.precision, refund.recall) == (0.0, 0.0)
    assert found.outside == 2
    assert {(a, b): n for a, b, n in found.confusion} == {
        ("Billing", "Billing"): 1,
        ("Billing", "refund"): 1,
        ("refund", ""): 2,
    }


def test_a_label_that_no_training_row_has_is_one_of_the_set() -> None:
    assert label_answers(rows(("new", "new")), LABELS).outside == 0


def test_calibration_compares_confidence_with_how_often_it_is_right() -> None:
    sure = [Row(expected="a", answer=None, label="a" if right else "b", confidence=0.95) for right in (1, 1, 1, 0)]
    unsure = [Row(expected="a", answer=None, label="a", confidence=0.55)] * 4
    found = label_answers([*sure, *unsure], ("a", "b"))
    assert [(one.rows, one.accuracy) for one in found.calibration] == [(4, 1.0), (4, 0.75)]
    assert found.calibration_error == pytest.approx((0.45 + 0.2) / 2)


def test_without_confidence_there_is_no_calibration() -> None:
    found = label_answers(rows(("refund", "refund")), LABELS)
    assert (found.calibration, found.calibration_error) == ((), None)


def test_full_confidence_has_a_bin() -> None:
    (found,) = label_answers([Row(expected="a", answer="a", label="a", confidence=1.0)], ("a",)).calibration
    assert found.rows == 1


def test_another_good_label_counts_as_the_expected_one() -> None:
    also = ("Refund", "late")
    good = Row(expected="billing", references=also, answer=" refund", label="late", confidence=0.9)
    bad = Row(expected="billing", references=also, answer="delivery", label="delivery", confidence=0.9)
    found = label_answers([good, bad], LABELS)
    assert found.confusion == (("Billing", "Billing", 1), ("Billing", "delivery", 1))
    assert found.outside == 0
    assert [one.accuracy for one in found.calibration] == [0.5]
    by_name = {one.name: one.column([good, bad]).values for one in every_metric("labels")}
    assert by_name["exact_match"] == by_name["constrained_accuracy"] == (1.0, 0.0)
    assert MACRO_F1.column([good]).values == (1.0,)
