"""Several runs side by side: verdicts, costs, what their tuned models measure, and who is better on shared rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fewtune.evaluation import comparison as evaluation
from fewtune.evaluation import metrics as measures
from fewtune.report import metrics, words
from fewtune.report.metrics import Metric
from fewtune.report.predictions import predictions
from fewtune.report.summary import SCHEMA_VERSION, Interval, MetricValue, Summary
from fewtune.statistics import Interval as Measure
from fewtune.statistics import holm, independent_difference

_TUNED = "tuned"
_ALPHA = 0.05
_FEWEST_PAIRS = 5


@dataclass(frozen=True, kw_only=True)
class RunLine:
    id: str
    created: str
    verdict: str
    base: str
    provider: str
    data: str
    """Name of the data file."""
    data_sha256: str
    rows: int
    """Held-out rows that its models answered; 0 where nothing was judged."""
    plan: Mapping[str, Any]
    """Of the chosen trial; empty where none was chosen."""
    seconds: float
    usd: float | None
    metrics: Mapping[str, MetricValue]
    """Of the tuned model."""


@dataclass(frozen=True, kw_only=True)
class RunDifference:
    """The tuned model of one run minus that of the first run, in one metric."""

    run: str
    against: str
    metric: str
    value: MetricValue
    verdict: str
    """`better`, `worse`, `tied` or `cannot be told`."""
    paired: bool
    """Whether it is row by row on rows that both held out; else the two judged different rows."""
    rows: int
    """Shared rows; 0 where it is not paired."""
    p: float | None
    """Two-sided p of the paired test, corrected for the number of runs; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class SettingLine:
    """A setting, or a part of the chosen plan, that is not the same in all runs."""

    name: str
    values: tuple[str, ...]
    """In the order of the runs."""


@dataclass(frozen=True, kw_only=True)
class SharedRow:
    source: str
    prompt: str
    expected: str
    answers: Mapping[str, str]
    """Of the tuned models, by run."""
    values: Mapping[str, Mapping[str, float]]
    """By run, then metric."""


@dataclass(frozen=True, kw_only=True)
class RunsComparison:
    runs: tuple[RunLine, ...]
    differences: tuple[RunDifference, ...]
    settings: tuple[SettingLine, ...]
    predictions: tuple[SharedRow, ...]
    """Of the rows that all runs held out."""
    notes: tuple[str, ...]
    """What limits the comparison, in sentences."""

    def to_json(self) -> dict[str, Any]:
        """The documented `--json` document."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def compare_runs(summaries: Sequence[Summary]) -> RunsComparison:
    """Each run beside the first one; their data need not be the same."""
    rows = [_held_out(summary) for summary in summaries]
    shared = [key for key in rows[0] if all(key in others for others in rows[1:])]
    first = summaries[0]
    differences = tuple(
        difference
        for summary, found in zip(summaries[1:], rows[1:], strict=True)
        for difference in _differences(first, summary, rows[0], found)
    )
    return RunsComparison(
        runs=tuple(map(_run_line, summaries)),
        differences=tuple(_corrected(differences)),
        settings=_settings(summaries),
        predictions=tuple(_shared_row(key, summaries, rows) for key in shared),
        notes=(*_notes(summaries, rows), *_not_by_row(first, differences)),
    )


def _run_line(summary: Summary) -> RunLine:
    tuned = next((system for system in summary.systems if system.name == _TUNED), None)
    chosen = next((trial for trial in summary.trials if trial.id == summary.chosen), None)
    return RunLine(
        id=summary.id,
        created=summary.created,
        verdict=summary.verdict,
        base=summary.base,
        provider=summary.provider,
        data=summary.data.file,
        data_sha256=summary.data.sha256,
        rows=tuned.rows if tuned else 0,
        plan=chosen.plan if chosen else {},
        seconds=summary.seconds,
        usd=summary.usd,
        metrics=tuned.metrics if tuned else {},
    )


Key = tuple[str, str, str, str]
"""A row as the models saw it: data, place, prompt, expected answer. Another repair makes another row."""


@dataclass(frozen=True, kw_only=True)
class _Answered:
    source: str
    text: str
    values: Mapping[str, float]


def _held_out(summary: Summary) -> dict[Key, _Answered]:
    """What the tuned model answered to each held-out row."""
    table = predictions(summary)
    known = {metric.name: metric for metric in measures.for_task(_task(summary))}
    found: dict[Key, _Answered] = {}
    for row in table.rows:
        answer = row.answers.get(_TUNED)
        if answer is None or not answer.samples:
            continue
        line, text = row.line, answer.samples[0]
        values = dict(answer.metrics or {})
        if line.details.get(_TUNED) is None:
            # A run that kept no values by row: those of the answers can be had again, those of the tokens cannot.
            values = {name: metric.measure(text, line.expected) for name, metric in known.items()}
        key = (summary.data.sha256, line.source.rpartition("/")[2], line.prompt, line.expected)
        found[key] = _Answered(source=line.source, text=text, values=values)
    return found


def _task(summary: Summary) -> str:
    return summary.data.task if summary.data.task in measures.TASKS else "text"


def _differences(
    first: Summary, other: Summary, rows: Mapping[Key, _Answered], others: Mapping[Key, _Answered]
) -> Iterable[RunDifference]:
    shared = _paired_rows(rows, others)
    one, two = _run_line(first).metrics, _run_line(other).metrics
    for metric in metrics.in_order(other):
        if metric.name not in one or metric.name not in two or metric.lower_is_better is None:
            continue
        pairs = [
            (others[key].values[metric.name], rows[key].values[metric.name])
            for key in shared
            if metric.name in others[key].values and metric.name in rows[key].values
        ]
        if pairs:
            yield _paired(first, other, metric, pairs)
        else:
            yield _unpaired(first, other, metric, one[metric.name], two[metric.name])


def _paired_rows(rows: Mapping[Key, _Answered], others: Mapping[Key, _Answered]) -> list[Key]:
    """The rows that both held out; none where they are so few that the two intervals say more."""
    shared = [key for key in rows if key in others]
    return shared if len(shared) >= min(_FEWEST_PAIRS, len(rows), len(others)) else []


def _corrected(differences: Sequence[RunDifference]) -> Iterable[RunDifference]:
    """Of several runs one is better by luck sooner than of one: p and verdict by Holm's method, metric by metric."""
    tested = [one for one in differences if one.p is not None]
    ps = {name: holm([one.p or 0.0 for one in tested if one.metric == name]) for name in {one.metric for one in tested}}
    places = {name: iter(found) for name, found in ps.items()}
    for one in differences:
        p = next(places[one.metric]) if one.p is not None else None
        yield one if p is None else replace(one, p=p, verdict=one.verdict if p < _ALPHA else "tied")


def _paired(first: Summary, other: Summary, metric: Metric, pairs: Sequence[tuple[float, float]]) -> RunDifference:
    mine, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    binary = set(mine) | set(theirs) <= {0, 1}
    found = evaluation.compare(mine, theirs, higher_is_better=not metric.lower_is_better, binary=binary)
    return RunDifference(
        run=other.id,
        against=first.id,
        metric=metric.name,
        value=MetricValue(value=found.value, interval=_shown(found.interval)),
        verdict=found.verdict,
        paired=True,
        rows=len(pairs),
        p=found.p,
    )


def _unpaired(first: Summary, other: Summary, metric: Metric, one: MetricValue, two: MetricValue) -> RunDifference:
    interval = (
        independent_difference(two.value, _measure(two.interval), one.value, _measure(one.interval))
        if one.interval and two.interval
        else None
    )
    return RunDifference(
        run=other.id,
        against=first.id,
        metric=metric.name,
        value=MetricValue(value=two.value - one.value, interval=_shown(interval)),
        verdict=_verdict(interval, lower_is_better=bool(metric.lower_is_better)),
        paired=False,
        rows=0,
        p=None,
    )


def _verdict(interval: Measure | None, *, lower_is_better: bool) -> str:
    if interval is None:
        return words.UNKNOWN
    if not interval.excludes(0):
        return "tied"
    return "better" if (interval.high < 0) == lower_is_better else "worse"


def _measure(interval: Interval) -> Measure:
    return Measure(low=interval.low, high=interval.high)


def _shown(interval: Measure | None) -> Interval | None:
    return Interval(low=interval.low, high=interval.high) if interval else None


def _settings(summaries: Sequence[Summary]) -> tuple[SettingLine, ...]:
    """Settings of the runs, then of the chosen plans."""
    given = [{**summary.settings, "data": summary.data.file, "machine": summary.machine} for summary in summaries]
    plans = [{f"chosen {name}": value for name, value in _run_line(summary).plan.items()} for summary in summaries]
    versions = [{f"version of {name}": value for name, value in summary.versions.items()} for summary in summaries]
    return tuple(line for group in (given, plans, versions) for line in _differing(group))


def _differing(group: Sequence[Mapping[str, Any]]) -> Iterable[SettingLine]:
    for name in dict.fromkeys(name for one in group for name in one):
        values = tuple(words.given(one[name]) if name in one else "–" for one in group)
        if len(set(values)) > 1:
            yield SettingLine(name=name, values=values)


def _shared_row(key: Key, summaries: Sequence[Summary], rows: Sequence[Mapping[Key, _Answered]]) -> SharedRow:
    pairs = list(zip(summaries, rows, strict=True))
    return SharedRow(
        source=rows[0][key].source,
        prompt=key[2],
        expected=key[3],
        answers={summary.id: found[key].text for summary, found in pairs},
        values={summary.id: found[key].values for summary, found in pairs},
    )


def _notes(summaries: Sequence[Summary], rows: Sequence[Mapping[Key, _Answered]]) -> Iterable[str]:
    for summary, found in zip(summaries, rows, strict=True):
        if not found:
            yield f"{summary.id} was not judged on held-out rows: its model cannot be compared."
    for summary, found in zip(summaries[1:], rows[1:], strict=True):
        if found and rows[0]:
            yield from _pairing(summaries[0], summary, len(_paired_rows(rows[0], found)), len(found), len(rows[0]))


def _pairing(first: Summary, other: Summary, shared: int, rows: int, first_rows: int) -> Iterable[str]:
    """What keeps the two from being compared on all rows, row by row; nothing where nothing does."""
    pair = f"{first.id} and {other.id}"
    if _references(first) != _references(other):
        yield f"{pair} were judged by other further answers (--reference-column): a difference may be theirs."
    if first.data.sha256 != other.data.sha256:
        yield (
            f"{pair} were judged on different data: they are compared by their intervals, not row by row, and a "
            "difference may be the data's."
        )
    elif not shared:
        yield (
            f"{pair} held out different rows, all or nearly all of them: they are compared by their intervals, not row "
            "by row."
        )
    elif shared < max(rows, first_rows):
        rows_said = words.counted(shared, "row")
        yield f"{pair} are compared on the {rows_said} that both held out, of {first_rows} and {rows}."


def _references(summary: Summary) -> list[str]:
    return list(summary.settings.get("reference_columns") or ())


def _not_by_row(first: Summary, differences: Sequence[RunDifference]) -> Iterable[str]:
    """The measures of runs which share rows that older runs kept no values of, row by row."""
    for run in dict.fromkeys(one.run for one in differences if one.paired):
        names = [metrics.of(first, one.metric).in_sentence for one in differences if one.run == run and not one.paired]
        if names:
            yield f"{run} and {first.id} are compared in {', '.join(names)} by their intervals alone."
