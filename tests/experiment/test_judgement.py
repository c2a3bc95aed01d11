"""Answers of any systems to the same rows, judged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from fewtune.data.task import Task
from fewtune.evaluation.metrics import PRIMARY, every_metric
from fewtune.evaluation.own_metric import own_metric
from fewtune.experiment.evaluating import Evaluated
from fewtune.experiment.evaluation_reporting import difference_lines, evaluation_part, system_lines
from fewtune.experiment.judgement import Judgement, judge
from fewtune.experiment.measures import Measures
from fewtune.report.evaluation_part import EvaluationPart
from fewtune.report.summary import Difference
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example, Source

ORDER = ("base", "few-shot", "tf-idf", "runner-up", "tuned")


def examples(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
        for row, (prompt, completion) in enumerate(pairs)
    ]


def measures(kind: str, labels: Sequence[str] = (), **values: object) -> Measures:
    task = Task(kind=kind, labels=tuple(labels))  # type: ignore[arg-type]
    given = {"metrics": every_metric(kind), "primary": PRIMARY[task.kind], "asked": False, **values}
    return Measures(task=task, **given)  # type: ignore[arg-type]


def answers(texts: Mapping[str, Sequence[str]]) -> list[PredictionRecord]:
    return [
        PredictionRecord(system=system, row=row, text=text)
        for system, found in texts.items()
        for row, text in enumerate(found)
    ]


def labelled(texts: Mapping[str, Sequence[str]], rows: int = 12) -> Judgement:
    asked = examples(*((f"prompt {row}", "refund" if row % 2 else "delivery") for row in range(rows)))
    return judge(asked, measures("labels", ("delivery", "refund")), answers(texts), 0, order=ORDER)


def told(found: Judgement) -> EvaluationPart:
    """With nothing measured beside the answers."""
    beside = Evaluated(predictions=(), shots=0, copying={}, forgetting=None, judged=(), usd=0.0)
    return evaluation_part(found, beside)


RIGHT = ["delivery", "refund"] * 6
WRONG = ["refund", "delivery"] * 6


def test_any_systems_are_measured_in_their_order_and_unknown_ones_come_last() -> None:
    found = labelled({"tuned": RIGHT, "mine": WRONG, "base": WRONG, "tf-idf": RIGHT})
    assert [line.name for line in system_lines(found)] == ["base", "tf-idf", "tuned", "mine"]
    assert set(found.compared) == {"base", "tf-idf", "mine"}


def test_a_rival_that_is_as_good_decides_against_tuning() -> None:
    found = labelled({"tuned": RIGHT, "base": WRONG, "tf-idf": RIGHT})
    assert found.compared["base"]["exact_match"].verdict == "better"
    assert found.sentence.startswith("Do not tune")
    assert "share of right labels cannot be told from the TF-IDF classifier" in found.sentence


def test_another_tuned_model_is_compared_and_does_not_speak_against_tuning() -> None:
    found = labelled({"tuned": RIGHT, "base": WRONG, "runner-up": RIGHT})
    assert found.compared["runner-up"]["exact_match"].verdict == "tied"
    assert found.sentence.startswith("Use the tuned model")


def test_no_interval_of_a_share_reaches_what_a_share_cannot_be() -> None:
    found = labelled({"tuned": ["delivery", *["nothing"] * 8], "base": ["refund", *RIGHT[1:9]]}, rows=9)
    own = found.measured["tuned"]["macro_f1"].interval
    apart = found.compared["base"]["macro_f1"].interval
    assert own and (own.low, own.high) == (max(0.0, own.low), min(1.0, own.high))
    assert apart and apart.low >= -1 and apart.high <= 1
    assert own.low == 0.0 or apart.low == -1.0


def test_p_is_corrected_for_the_number_of_rivals() -> None:
    alone = labelled({"tuned": RIGHT, "base": WRONG})
    among = labelled({"tuned": RIGHT, "base": WRONG, "few-shot": WRONG, "tf-idf": WRONG})

    def p(found: Judgement) -> float:
        return next(one.p or 0 for one in difference_lines(found) if one.metric == "exact_match")

    assert p(alone) == pytest.approx(2 / 2**12)
    assert p(among) == pytest.approx(3 * 2 / 2**12)


def test_an_answer_that_is_no_label_or_empty_is_told_and_counted_as_wrong() -> None:
    found = labelled({"tuned": ["delivery", "Refund ", "", "no idea"], "base": RIGHT[:4]}, rows=4)
    assert list(found.invalid["tuned"]) == [None, None, "empty", "not a label"]
    assert found.measured["tuned"]["exact_match"].value == 0.5
    assert told(found).labels["tuned"].outside == 2


def test_the_likelihoods_of_the_labels_give_an_answer_within_the_set_and_its_confidence() -> None:
    scores = {"delivery": -1.0, "refund": -1.0 - math.log(3)}
    rows = examples(("a", "delivery"), ("b", "refund"))
    records = [
        PredictionRecord(system="tuned", row=row, text="nonsense", label_log_likelihoods=scores) for row in (0, 1)
    ]
    found = judge(rows, measures("labels", ("delivery", "refund")), records, 0, order=ORDER)
    assert found.measured["tuned"]["constrained_accuracy"].value == 0.5
    assert found.measured["tuned"]["exact_match"].value == 0
    table = told(found).labels["tuned"]
    assert [(one.rows, one.confidence) for one in table.calibration] == [(2, pytest.approx(0.75))]
    assert table.calibration_error == pytest.approx(0.25)


def test_a_looked_up_label_is_within_the_set_and_a_written_one_only_where_the_labels_were_scored() -> None:
    found = labelled({"tuned": RIGHT, "base": WRONG, "majority": ["refund"] * 12, "tf-idf": RIGHT})
    shares = {
        name: one["constrained_accuracy"].value for name, one in found.measured.items() if "constrained_accuracy" in one
    }
    assert shares == {"majority": 0.5, "tf-idf": 1.0}
    table = told(found).labels["majority"]
    assert [(one.label, one.recall, one.precision) for one in table.labels] == [
        ("delivery", 0.0, None),
        ("refund", 1.0, 0.5),
    ]
    assert table.calibration == () and table.calibration_error is None


def test_a_classifier_is_as_sure_as_it_says() -> None:
    rows = examples(("a", "delivery"), ("b", "refund"), ("c", "refund"), ("d", "refund"))
    sure = {"refund": math.log(0.75), "delivery": math.log(0.25)}
    records = [
        PredictionRecord(system="tf-idf", row=row, text="refund", label_log_likelihoods=sure) for row in range(4)
    ]
    table = told(judge(rows, measures("labels", ("delivery", "refund")), records, 0, order=ORDER)).labels["tf-idf"]
    (only,) = table.calibration
    assert (only.rows, only.confidence, only.accuracy) == (4, pytest.approx(0.75), 0.75)
    assert table.calibration_error == pytest.approx(0)


def test_rows_with_the_same_prompt_are_references_of_each_other_but_labels_contradict() -> None:
    rows = examples(("Say hello.", "hello"), ("Say hello. ", "hi"), ("Bye?", "bye"))
    said = answers({"tuned": ["hi", "hi", "bye"]})
    assert judge(rows, measures("text"), said, 0, order=ORDER).measured["tuned"]["exact_match"].value == 1
    found = judge(rows, measures("labels", ("hello", "hi", "bye")), said, 0, order=ORDER)
    assert found.measured["tuned"]["exact_match"].value == pytest.approx(2 / 3)


def test_a_system_without_likelihoods_is_compared_in_what_it_has() -> None:
    rows = examples(*((f"prompt {row}", f"answer {row}") for row in range(8)))
    likely = [
        PredictionRecord(system=name, row=row, text=f"answer {row}", log_likelihoods=[value - row / 9, -30.0])
        for name, value in (("tuned", -1.0), ("base", -2.0))
        for row in range(8)
    ]
    found = judge(rows, measures("text"), [*likely, *answers({"tf-idf": ["x"] * 8})], 0, order=ORDER)
    assert found.primary == "loss"
    assert "loss" in found.compared["base"] and "loss" not in found.compared["tf-idf"]
    assert "chrf" in found.compared["tf-idf"]
    assert found.measured["tuned"]["loss"].value == pytest.approx(1 + sum(range(8)) / 72)


def test_where_nobody_tells_a_loss_the_likeness_of_the_texts_decides() -> None:
    rows = examples(*((f"prompt {row}", f"answer {row}") for row in range(8)))
    found = judge(
        rows,
        measures("text"),
        answers({"tuned": [f"answer {2 * n}" for n in range(8)], "base": ["x"] * 8}),
        0,
        order=ORDER,
    )
    assert found.primary == told(found).primary == "chrf"
    assert "chrf" in found.sentence


def test_rows_that_a_metric_fails_on_are_counted_and_the_others_compared() -> None:
    def fussy(answer: str, expected: str) -> float:
        if answer == "7":
            raise KeyError(answer)
        return float(answer)

    rows = examples(*((f"prompt {row}", "0") for row in range(10)))
    numbers = [str(number) for number in range(10)]
    mine = measures("text", metrics=(own_metric(fussy, "x:fussy"), *every_metric("text")), primary="fussy")
    found = judge(rows, mine, answers({"tuned": numbers, "base": ["0"] * 10}), 0, order=ORDER)
    (failing,) = told(found).failing
    assert (failing.metric, failing.system, failing.rows) == ("fussy", "tuned", 1)
    assert failing.reason == "raised KeyError: '7'"
    assert found.compared["base"]["fussy"].n == 9
    assert found.primary == "fussy"
    assert found.row_values["tuned"]["fussy"][7] is None


def test_a_metric_that_fails_everywhere_is_shown_as_failing_and_nothing_else() -> None:
    def broken(answer: str, expected: str) -> float:
        return math.nan

    rows = examples(("a", "b"), ("c", "d"))
    mine = measures("text", metrics=(own_metric(broken, "x:broken"), *every_metric("text")))
    found = judge(rows, mine, answers({"tuned": ["b", "d"], "base": ["b", "d"]}), 0, order=ORDER)
    part = told(found)
    assert [(one.system, one.rows) for one in part.failing] == [("base", 2), ("tuned", 2)]
    assert "broken" not in found.measured["tuned"]
    assert [line.name for line in part.metrics if line.own] == ["broken"]


def test_what_has_no_better_is_shown_and_not_compared() -> None:
    rows = examples(*((f"prompt {row}", "one two three") for row in range(8)))
    found = judge(rows, measures("text"), answers({"tuned": ["one two"] * 8, "base": ["one"] * 8}), 0, order=ORDER)
    assert found.measured["tuned"]["length_ratio"].value == pytest.approx(2 / 3)
    compared: set[str] = {line.metric for line in difference_lines(found) if isinstance(line, Difference)}
    assert not compared & {"length_ratio", "distinct_1", "perplexity"}


def test_one_row_tells_nothing() -> None:
    found = judge(examples(("a", "b")), measures("text"), answers({"tuned": ["b"], "base": ["c"]}), 0, order=ORDER)
    assert {one.verdict for one in found.compared["base"].values()} == {"cannot be told"}
    assert all(one.interval is None for one in found.measured["tuned"].values())


def test_references_of_the_data_and_answers_to_the_same_prompt_are_all_good_answers() -> None:
    one, other = examples(("say hello", "hello"), ("say hello", "hi"))
    rows = [replace(one, references=("good day", " hello ")), replace(other, references=("hey",))]
    found = judge(
        rows, measures("text"), answers({"tuned": ["hey", "good day"], "base": ["hello", "ho"]}), 0, order=ORDER
    )
    assert [set(given) for given in found.references] == [
        {"good day", "hi", "hey"},
        {"hello", " hello ", "good day", "hey"},
    ]
    assert found.row_values["tuned"]["exact_match"] == (1.0, 1.0)
    assert found.row_values["base"]["exact_match"] == (1.0, 0.0)


def test_a_label_has_only_the_references_that_the_data_give_and_they_are_labels() -> None:
    one, other = examples(("a prompt", "delivery"), ("a prompt", "refund"))
    rows = [replace(one, references=("lost",)), other]
    found = judge(
        rows, measures("labels", ("delivery", "refund")), answers({"tuned": ["lost", "lost"]}), 0, order=ORDER
    )
    assert list(found.references) == [("lost",), ()]
    assert list(found.invalid["tuned"]) == [None, "not a label"]
    assert found.row_values["tuned"]["exact_match"] == (1.0, 0.0)
