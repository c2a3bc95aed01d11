"""Metrics of labels: which are right, which are taken for which, and what the model's confidence is worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from fewtune.evaluation.metric import Column, Metric, Row, answer_metric, by_row, spread

_BINS = 10


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    label: str
    rows: int
    answered: int
    right: int

    @property
    def precision(self) -> float | None:
        return self.right / self.answered if self.answered else None

    @property
    def recall(self) -> float | None:
        return self.right / self.rows if self.rows else None

    @property
    def f1(self) -> float:
        return _f1(self.right, self.rows, self.answered)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of about the same confidence: how many, its mean, and the share of them that is right."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class LabelAnswers:
    """One system's answers to a labelling task."""

    labels: tuple[LabelCounts, ...]
    confusion: tuple[tuple[str, str, int], ...]
    """Expected, answered (empty for none of the set), rows."""
    outside: int
    calibration: tuple[Bin, ...]
    calibration_error: float | None


def label_key(label: str) -> str:
    """The label without case and white space, as the data are checked and split by."""
    return "".join(label.split()).casefold()


def same_label(answer: str, expected: str) -> float:
    """1 where both are the same label; case and white space do not count."""
    return float(label_key(answer) == label_key(expected))


def counted_label(said: str, row: Row) -> str:
    """What was said; where it is another good answer of the row, the expected label in its place."""
    return row.expected if label_key(said) in map(label_key, row.references) else said


def label_answers(rows: Sequence[Row], labels: Sequence[str]) -> LabelAnswers:
    """The table by label, what was taken for what, and calibration; rows without an answer are left out."""
    spelt = _spellings(rows, labels)
    pairs = Counter(
        (spelt[label_key(row.expected)], spelt.get(label_key(counted_label(row.answer, row)), ""))
        for row in rows
        if row.answer is not None
    )
    expected, answered = Counter[str](), Counter[str]()
    for (wanted, said), count in pairs.items():
        expected[wanted] += count
        answered[said] += count
    bins = calibration(rows)
    return LabelAnswers(
        labels=tuple(
            LabelCounts(label=one, rows=expected[one], answered=answered[one], right=pairs[one, one])
            for one in sorted(set(spelt.values()))
        ),
        confusion=tuple((wanted, said, count) for (wanted, said), count in sorted(pairs.items())),
        outside=answered[""],
        calibration=bins,
        calibration_error=calibration_error(bins),
    )


def _spellings(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, str]:
    """The set: the labels of the data, and what is expected though no training row has it."""
    spelt: dict[str, str] = {}
    for label in (*labels, *(row.expected.strip() for row in rows)):
        spelt.setdefault(label_key(label), label)
    return spelt


def calibration(rows: Sequence[Row]) -> tuple[Bin, ...]:
    """Ten bins of equal width, those that hold an answer; of the likeliest label and its probability."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row.label is not None and row.confidence is not None:
            place = min(_BINS - 1, int(row.confidence * _BINS))
            bins.setdefault(place, []).append((row.confidence, _is_right(row.label, row)))
    return tuple(
        Bin(
            rows=len(bins[place]),
            confidence=fmean(confidence for confidence, _ in bins[place]),
            accuracy=fmean(right for _, right in bins[place]),
        )
        for place in sorted(bins)
    )


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """How far confidence and accuracy are apart, the bins weighed by their rows.

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    total = sum(one.rows for one in bins)
    return sum(one.rows * abs(one.confidence - one.accuracy) for one in bins) / total if total else None


def _macro_f1(rows: Sequence[Row]) -> Column:
    """The mean over the labels that held-out rows have, so that every system is measured by the same labels."""
    pairs = [
        (label_key(row.expected), label_key(counted_label(row.answer, row))) for row in rows if row.answer is not None
    ]
    if not pairs:
        return Column(values=(None,) * len(rows), own=False)
    expected = Counter(wanted for wanted, _ in pairs)
    answered = Counter(said for _, said in pairs if said in expected)
    right = Counter(wanted for wanted, said in pairs if wanted == said)
    scores = {label: _f1(right[label], count, answered[label]) for label, count in expected.items()}
    total = math.fsum(scores.values())

    def without(wanted: str, said: str) -> float:
        """The scores of at most two labels change; a label's only row takes it along."""
        size, changed = len(scores), total
        for label in {wanted, said} & scores.keys():
            count, size = expected[label] - (label == wanted), size - (expected[label] == 1 and label == wanted)
            changed -= scores[label]
            if count:
                changed += _f1(right[label] - (wanted == said), count, answered[label] - (label == said))
        return changed / size if size else math.nan

    alone = [without(wanted, said) for wanted, said in pairs]
    return spread([row.answer is not None for row in rows], total / len(scores), alone)


def _is_right(label: str, row: Row) -> float:
    return same_label(counted_label(label, row), row.expected)


def _f1(right: int, rows: int, answered: int) -> float:
    """2PR / (P + R) in counts."""
    return 2 * right / (rows + answered) if right else 0.0


LABELS: tuple[Metric, ...] = (
    answer_metric(
        "exact_match",
        same_label,
        title="Right labels",
        unit="share",
        meaning="Share of answers that are the expected label, case and white space aside.",
        binary=True,
        tasks=("labels",),
    ),
    Metric(
        name="macro_f1",
        title="Macro-F1",
        unit="share",
        meaning="How well each label is found and kept apart, rare labels counting as much as frequent ones.",
        higher_is_better=True,
        tasks=("labels",),
        column=_macro_f1,
    ),
    Metric(
        name="constrained_accuracy",
        title="Right among the labels",
        unit="share",
        meaning="Share of rows whose expected label is the likeliest of the set; not what the model writes freely.",
        higher_is_better=True,
        binary=True,
        tasks=("labels",),
        column=by_row(lambda row: None if row.label is None else _is_right(row.label, row)),
    ),
)
