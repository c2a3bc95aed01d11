"""What a finished run has to say, as one plain value; the page, the terminal and `--json` all show this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fewtune.report.data_part import DataPart

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    step: int
    epoch: float
    train_loss: float | None
    valid_loss: float | None
    valid_token_accuracy: float | None
    valid_sequence_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class TrialLine:
    """One Plan of the sweep; several that differ in epochs alone were read off one trained trunk."""

    id: str
    trunk: str
    plan: Mapping[str, Any]
    state: str
    """`finished`, `failed` or `unfinished`."""
    failure: str | None
    valid_loss: float | None
    valid_token_accuracy: float | None
    valid_sequence_accuracy: float | None
    tokens: int
    seconds: float
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A two-sided 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class MetricValue:
    value: float
    interval: Interval | None
    """None where it cannot be told, as for a single row."""


@dataclass(frozen=True, kw_only=True)
class SystemLine:
    """One way of answering the held-out rows: `base`, `few-shot` or `tuned`."""

    name: str
    metrics: Mapping[str, MetricValue]
    """`loss`, `token_accuracy`, `chrf`, `exact_match`; a metric that cannot be had is absent."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Tuned minus the other system, paired on the same rows, in one metric."""

    against: str
    metric: str
    value: MetricValue
    verdict: str
    """`better`, `worse`, `tied`, or `cannot be told`: a win inside the noise is a tie."""


@dataclass(frozen=True, kw_only=True)
class PredictionLine:
    source: str
    prompt: str
    expected: str
    answers: Mapping[str, str]
    """By system name."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    id: str
    created: str
    """ISO 8601, UTC."""
    state: str
    """`finished`, `running`, `stopped` or `failed`."""
    verdict: str
    """One sentence: what was found and whether to use the tuned model."""
    base: str
    provider: str
    seed: int
    command: str
    """The command that makes this run again."""
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: str
    seconds: float
    usd: float | None
    data: DataPart
    trials: tuple[TrialLine, ...]
    chosen: str | None
    """Id of the best trial by validation loss."""
    tied: tuple[str, ...]
    """Ids of the trials whose validation loss cannot be told from the chosen one's."""
    curves: Mapping[str, tuple[CurvePoint, ...]]
    """By trunk id."""
    systems: tuple[SystemLine, ...]
    differences: tuple[Difference, ...]
    predictions: tuple[PredictionLine, ...]
    files: Mapping[str, str]
    """Paths of what the run left: `report`, `adapter`, `train`, `valid`, `test`, ..."""

    def to_json(self) -> dict[str, Any]:
        """The documented `--json` document."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` wrote; raises ValueError for a document that is not one."""
        # A stored document is an edge like any other, so it is validated there, and only there.
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python({k: v for k, v in document.items() if k != "schema_version"})
