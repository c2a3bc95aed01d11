"""What a finished run has to say, as one plain value; the page, the terminal and `--json` all show this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fewtune.report.data_part import DataPart
from fewtune.report.evaluation_part import AnswerLine, EvaluationPart, Interval

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
    ended: str | None = None
    """Why its training went no further: `finished`, `dropped` (others did better), `turned` (the loss had stopped
    falling), `failed`, or `cut` (by the budget)."""

    def _repr_html_(self) -> str:
        # What shows this value imports it.
        from fewtune.report.notebook import trial_html

        return trial_html(self)


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
    """By the names in `evaluation.metrics`; a metric that cannot be had is absent."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Tuned minus the other system, paired on the same rows, in one metric."""

    against: str
    metric: str
    value: MetricValue
    verdict: str
    """`better`, `worse`, `tied`, or `cannot be told`: a win inside the noise is a tie."""
    p: float | None = None
    """Two-sided p of the test that gave the verdict, corrected for the number of rivals; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class PredictionLine:
    source: str
    prompt: str
    expected: str
    answers: Mapping[str, str]
    """By system name."""
    details: Mapping[str, AnswerLine] = field(default_factory=dict[str, AnswerLine])
    """All that is known of each answer, by system name."""
    references: tuple[str, ...] = ()
    """Other answers that are as good as the expected one."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What the search trained, against training each plan of each candidate by itself."""

    epochs: float
    grid_epochs: int
    share: float
    """Of the grid's epochs; negative where folds and seeds took more than rungs and shared trainings saved."""


@dataclass(frozen=True, kw_only=True)
class WinnerLoss:
    """The validation loss of what this search would choose, on rows that took no part in choosing: a mean over rows."""

    value: float
    interval: Interval | None
    rows: int
    optimism: float
    """How much better the chosen trial looks on these rows."""
    by: str
    """`folds` or `resampling`."""


@dataclass(frozen=True, kw_only=True)
class RivalLine:
    """What tuning has to beat, on the rows by which its worth is judged."""

    name: str
    """`base` or `few-shot`; of labels also `majority`, `nearest-answer` or `tf-idf`."""
    score: MetricValue
    gain: MetricValue
    """What tuning brings: loss that is saved, or the share of rows that only the tuned model answers exactly less the
    share that only the rival does."""


@dataclass(frozen=True, kw_only=True)
class WorthPart:
    """Whether tuning is worth it, by rows that took no part in choosing the trial that scores them."""

    answer: str
    """`tune`, `do not tune` or `cannot be told`."""
    score: str
    """`loss` of the answer without its stop, or `exact_match`: the share of rows whose every token but the stop is the
    likeliest one, or whose label a rival without a model gives."""
    rows: int
    by: str | None
    """`folds` or `resampling`; None where nothing was compared."""
    tuned: MetricValue | None
    rivals: tuple[RivalLine, ...]
    hardest: str | None
    """The rival that the answer turns on."""
    reason: str
    """Why it cannot be told, where nothing was compared."""


@dataclass(frozen=True, kw_only=True)
class FinalistLine:
    """One of the best two candidates, trained again on other folds and seeds."""

    trial: str
    loss: float
    """Mean over the rows of all folds."""
    rows: int


@dataclass(frozen=True, kw_only=True)
class RefitLine:
    """The chosen plan trained once more, on all rows that judge nothing. Where it is finished, it is the model that is
    kept, and the one that held-out rows judged."""

    id: str
    plan: Mapping[str, Any]
    state: str
    """`finished`, `failed` or `unfinished`."""
    failure: str | None
    rows: int
    """Training and validation rows together."""
    tokens: int
    seconds: float
    usd: float | None
    average: str | None
    """What became of the mean of its last epochs' adapters; null where nobody asked for it."""


@dataclass(frozen=True, kw_only=True)
class SizeLine:
    """The chosen plan on one number of training rows."""

    rows: int
    losses: tuple[float, ...]
    """Of each training at its best length, on the same validation rows: a mean over rows."""


@dataclass(frozen=True, kw_only=True)
class MoreData:
    """Whether more data would help."""

    sentence: str
    factor: float | None
    """How many times the data `gain` is about; null where there was too little to fit, like `gain` and `interval`."""
    gain: float | None
    """How much lower the validation loss would be."""
    interval: Interval | None
    """Where it holds 0, it cannot be told."""
    sizes: tuple[SizeLine, ...]


@dataclass(frozen=True, kw_only=True)
class CutLine:
    """A training that the budget did not buy."""

    trial: str | None
    """None for a candidate that was not begun."""
    plan: Mapping[str, Any]
    """With the epochs that it would have been trained to."""
    limit: str
    """`tokens`, `minutes` or `usd`."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How the trials were found and compared."""

    searcher: str
    """`grid`, `quasi`, `random` or `tpe`; `given` where the plans come from a cheap base."""
    asked: int
    """Candidates that were asked for."""
    candidates: int
    """Candidates that were trained; each is read off at several numbers of epochs."""
    rungs: tuple[int, ...]
    """Epochs at which candidates were compared and some dropped; a single one is the end of all."""
    folds: int
    """0 where the finalists were not trained on folds."""
    seeds: tuple[int, ...]
    finalists: tuple[FinalistLine, ...]
    estimate: WinnerLoss | None
    cut: tuple[CutLine, ...]
    score: str = "loss"
    """What trials were chosen by: `loss`, or `exact_match`, where the loss decides between those that it cannot tell
    apart."""
    worth: WorthPart | None = None
    """None in a `run`, which judges on test rows."""
    rung_share: float | None = None
    """Share of the training rows that all candidates were compared on before the rungs; None where there was no such
    rung."""
    stopped_by: str | None = None
    """`rungs`, where the worse half was stopped at each, or `median`; None where nobody was stopped early, and in
    runs that do not say."""


@dataclass(frozen=True, kw_only=True)
class SentPlan:
    """A plan that a cheap base has found, as it was trained on the run's own."""

    trial: str
    """Id among the cheap base's trials."""
    plan: Mapping[str, Any]
    rate: str
    """What its learning rate is: `absolute`, or the `multiplier` that a service takes."""


@dataclass(frozen=True, kw_only=True)
class ProxyPart:
    """The search on a cheap base that the plans of a run come from."""

    base: str
    search: Search
    trials: tuple[TrialLine, ...]
    """With the losses of the cheap base, which say nothing beside those of another."""
    chosen: str
    sent: tuple[SentPlan, ...]
    risk: str
    """What may go wrong, in words."""
    tokens: int
    seconds: float


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
    """Id of the trial to use: the cheapest among the best one and those tied with it; fewest trained tokens, then the
    smallest rank, then the lowest loss."""
    tied: tuple[str, ...]
    """Ids of the others within one standard error of the best one, by the paired difference of the rows' losses."""
    curves: Mapping[str, tuple[CurvePoint, ...]]
    """By trunk id."""
    systems: tuple[SystemLine, ...]
    differences: tuple[Difference, ...]
    predictions: tuple[PredictionLine, ...]
    files: Mapping[str, str]
    """Paths of what the run left: `report`, `adapter`, `train`, `valid`, `test`, ..."""
    search: Search | None = None
    """None in runs of version 0.1."""
    saved_against_grid: Saved | None = None
    refit: RefitLine | None = None
    """Null where none was made: with `--no-refit`, where the budget did not buy it, and by default where it would cost
    money."""
    more_data: MoreData | None = None
    """Null where it was not asked for with `--more-data`."""
    evaluation: EvaluationPart | None = None
    proxy: ProxyPart | None = None
    """Where the plans were found on a cheap base."""

    def __repr__(self) -> str:
        return f"Summary({self.id!r}: {self.verdict})"

    def _repr_html_(self) -> str:
        # What shows this value imports it.
        from fewtune.report.notebook import summary_html

        return summary_html(self)

    def to_json(self) -> dict[str, Any]:
        """The documented `--json` document."""
        document = asdict(self)
        for line in document["trials"]:
            line["usage"] = {name: line[name] for name in ("tokens", "seconds", "usd")}
        return {"schema_version": SCHEMA_VERSION, **document}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` wrote; raises ValueError for a document that is not one."""
        # A stored document is an edge like any other, so it is validated there, and only there.
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python({k: v for k, v in document.items() if k != "schema_version"})
