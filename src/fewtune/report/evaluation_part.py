"""What the held-out rows say beyond one number a metric: labels, fields, copied text, forgetting, a judge's view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class MetricLine:
    """A metric of the run, for those who read its numbers."""

    name: str
    """As in `systems` and `differences`."""
    title: str
    unit: str
    """`share`, `points`, `nats`, `bits`, ..., or empty."""
    higher_is_better: bool | None
    """None where neither is, as for a length; such a metric has no verdicts."""
    meaning: str
    """One sentence."""
    own: bool = False
    """Brought by the user."""


@dataclass(frozen=True, kw_only=True)
class AnswerLine:
    """One system's answer to one row, with all that is known of it."""

    samples: tuple[str, ...]
    """As they were written; the first one is what the metrics measure."""
    tokens: int | None = None
    seconds: float | None = None
    seed: int | None = None
    """That the first sample was drawn with; None for systems that do not write, like `tokens` and `seconds`."""
    stop_reason: str | None = None
    """`stop` or `length`; None for systems that do not write."""
    metrics: Mapping[str, float] | None = None
    """The row's value by metric."""
    invalid: str | None = None
    """Why it cannot be used: `empty`, `not a label`, `not JSON`, ...; None where it can."""


@dataclass(frozen=True, kw_only=True)
class LabelLine:
    label: str
    rows: int
    """Held-out rows that have it."""
    answered: int
    precision: float | None
    """None where nobody answered it; recall is None where no row has it."""
    recall: float | None
    f1: float


@dataclass(frozen=True, kw_only=True)
class CalibrationLine:
    """Answers of about the same confidence."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """One system's answers to a labelling task."""

    labels: tuple[LabelLine, ...]
    confusion: tuple[tuple[str, str, int], ...]
    """Expected label, answered label (`""` for none of the set), rows; cells without rows are left out."""
    outside: int
    """Answers that are not in the label set."""
    calibration: tuple[CalibrationLine, ...] = ()
    calibration_error: float | None = None
    """Expected calibration error; None where the system tells no confidence."""


@dataclass(frozen=True, kw_only=True)
class FieldLine:
    """One field of an extraction task, by its path in the JSON."""

    path: str
    rows: int
    precision: float | None
    recall: float | None
    f1: float


@dataclass(frozen=True, kw_only=True)
class Copying:
    """How much of a system's answers stands in the training rows."""

    rows: int
    longest_words: int
    """Words of the longest span that an answer shares with a training completion."""
    longest_text: str
    longest_source: str
    """The training row, as `file:line`; empty where nothing is shared."""
    near_copies: int
    """Answers that are nearly a whole training completion."""
    reproduced: int
    """Training completions that the model writes word for word, of `tried`."""
    tried: int
    expected_longest_words: int
    """The same span for the expected answers: what copying the data itself contains."""


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """Bits per byte of general prose, before and after tuning."""

    before: float
    after: float
    interval: Interval | None
    """Of after minus before, over paragraphs."""
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a language model as judge prefers, on the same rows, each pair shown in both orders."""

    judge: str
    first: str
    second: str
    """Names of systems."""
    wins: int
    losses: int
    ties: int
    """No preference, or another one when the order was swapped."""
    unread: int
    """Rows whose verdicts could not be read or had."""
    agreement: float | None
    """Share of rows whose two orders gave the same verdict."""
    usd: float | None
    tokens: int
    verdict: str
    """`better`, `worse`, `tied` or `cannot be told`, of first."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A measurement that did not work on some rows; the run went on."""

    metric: str
    system: str
    rows: int
    reason: str
    """Of the first of them."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPart:
    task: str
    """`text`, `labels` or `json`."""
    asked: bool
    """Whether the user named the task; else it was recognised from the rows."""
    primary: str
    """The metric that decides the verdict."""
    metrics: tuple[MetricLine, ...]
    labels: Mapping[str, LabelTable]
    """By system; empty for other tasks, like `fields`."""
    fields: Mapping[str, tuple[FieldLine, ...]]
    copying: Mapping[str, Copying]
    forgetting: Forgetting | None
    judged: tuple[Judged, ...]
    failing: tuple[Failing, ...]
