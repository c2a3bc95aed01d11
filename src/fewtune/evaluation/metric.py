"""What a metric is: how it is called, which way is better, and what it makes of a system's answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from fewtune.statistics import pseudo_values

Floats = npt.NDArray[np.float64]
Task = Literal["text", "labels", "json"]
TASKS: tuple[Task, ...] = ("text", "labels", "json")

Compare = Callable[[str, str], float]
"""(answer, expected) -> value."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One held-out row as one system answered it; what the system does not tell is None."""

    answer: str | None
    expected: str
    references: tuple[str, ...] = ()
    """Other answers that are as good as the expected one."""
    log_likelihoods: tuple[float, ...] | None = None
    """Nats of each token of the expected answer, without its stop."""
    greedy: tuple[bool, ...] | None = None
    """Whether each of these tokens was the most likely one."""
    label: str | None = None
    """The likeliest label of the set."""
    confidence: float | None = None
    """The probability of that label among all of the set."""

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every answer that counts as right."""
        return (self.expected, *self.references)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A metric of one system's rows, in their order."""

    values: tuple[float | None, ...]
    """Whose mean is the metric: each row's own value, or, for one of all rows together, the row's jackknife
    pseudo-value. None for a row that was not or could not be measured."""
    own: bool = True
    """Whether the values are the rows' own."""
    failures: int = 0
    reason: str = ""
    """Of the first failure."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    title: str
    unit: str
    """`share`, `points` (0 to 100), `nats`, `bits`, or empty."""
    meaning: str
    higher_is_better: bool | None
    """None where neither is: systems are then shown beside each other, but none is called better."""
    column: Callable[[Sequence[Row]], Column]
    tasks: tuple[Task, ...] = TASKS
    binary: bool = False
    """Every row is 0 or 1, so the mean is a share."""
    logarithmic: bool = False
    """The values are logarithms, so that an interval cannot reach below 0; what is shown is raised again. Such a
    metric is not compared: it says the same as the one that it is raised from."""
    own: bool = False
    """Brought by the user."""

    @property
    def most(self) -> float | None:
        """The largest value there can be, where the unit says that none is below 0; None where it says neither."""
        return None if self.own else {"share": 1.0, "points": 100.0}.get(self.unit)

    @property
    def compared(self) -> bool:
        return self.higher_is_better is not None and not self.logarithmic


@dataclass(frozen=True, kw_only=True)
class AnswerMetric(Metric):
    """A metric of one answer beside the expected one; among several references the best counts."""

    measure: Compare


def answer_metric(
    name: str,
    measure: Compare,
    *,
    title: str,
    unit: str,
    meaning: str,
    higher_is_better: bool = True,
    binary: bool = False,
    tasks: tuple[Task, ...] = TASKS,
    own: bool = False,
) -> AnswerMetric:
    """A metric whose value for a system is the mean over rows of `measure`."""
    best = max if higher_is_better else min

    def of_row(row: Row) -> float | None:
        if row.answer is None:
            return None
        return best(_checked(measure(row.answer, text), binary) for text in row.accepted)

    return AnswerMetric(
        name=name,
        title=title,
        unit=unit,
        meaning=meaning,
        higher_is_better=higher_is_better,
        binary=binary,
        tasks=tasks,
        own=own,
        measure=measure,
        column=by_row(of_row),
    )


def by_row(of_row: Callable[[Row], float | None]) -> Callable[[Sequence[Row]], Column]:
    """A column of each row's own value; what raises on a row, or gives no finite number, is counted."""

    def column(rows: Sequence[Row]) -> Column:
        values: list[float | None] = []
        reasons: list[str] = []
        for row in rows:
            try:
                value = of_row(row)
                values.append(value if value is None else _checked(value, False))
            except (Exception, SystemExit) as error:
                # The code may be the user's: whatever it raises is a result, not an end.
                values.append(None)
                reasons.append(_told(error))
        return Column(values=tuple(values), failures=len(reasons), reason=reasons[0] if reasons else "")

    return column


def by_sums(
    count: Callable[[Row], Sequence[float] | None], statistic: Callable[[Floats], Floats]
) -> Callable[[Sequence[Row]], Column]:
    """A column of a metric that is a function of sums over rows, such as corpus BLEU.

    `count` gives a row's parts of the sums, None where the row has none; `statistic` maps an (m, k) array of sums to
    m values, NaN for sums that have none.
    """

    def column(rows: Sequence[Row]) -> Column:
        counted = [count(row) for row in rows]
        parts = np.asarray([one for one in counted if one is not None], dtype=np.float64)
        if not len(parts):
            return Column(values=(None,) * len(rows), own=False)
        total = parts.sum(axis=0)
        return spread(
            [one is not None for one in counted], float(statistic(total[None, :])[0]), statistic(total - parts).tolist()
        )

    return column


def spread(counted: Sequence[bool], whole: float, without: Sequence[float]) -> Column:
    """The column of a metric of all rows together; `without` is the metric with each counted row left out.

    A single row, or one without which the metric does not exist, leaves nothing to tell how far the value may be off.
    """
    if not math.isfinite(whole):
        return Column(values=(None,) * len(counted), own=False)
    known = all(map(math.isfinite, without))
    values = iter(pseudo_values(whole, without) if known else [whole] * len(without))
    return Column(values=tuple(next(values) if there else None for there in counted), own=False)


def _checked(value: object, binary: bool) -> float:
    if isinstance(value, Real) or type(value).__name__ == "bool":  # numpy's bool is no number
        number = float(cast("Any", value))
        if math.isnan(number):
            raise ValueError("gave NaN")
        if math.isinf(number):
            raise ValueError("gave a number that is not finite")
        if binary and number not in (0, 1):
            raise ValueError(f"is declared binary and gave {number:g}")
        return number
    raise TypeError(f"gave {type(value).__name__} instead of a number")


def _told(error: BaseException) -> str:
    """`gave NaN` of our own checks as it is, anything else with its kind."""
    text = " ".join(str(error).split())[:200]
    return text if text.startswith(("gave ", "is declared ")) else f"raised {type(error).__name__}: {text}".rstrip(": ")
