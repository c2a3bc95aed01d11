"""A comparison of runs as the tables that the page and the terminal draw."""

from __future__ import annotations

from dataclasses import dataclass

from fewtune.report import metrics, words
from fewtune.report.evaluation_part import AnswerLine
from fewtune.report.metrics import Metric
from fewtune.report.predictions import SINGLE_ANSWER_TASKS, Predictions, Row
from fewtune.report.runs_comparison import RunDifference, RunLine, RunsComparison
from fewtune.report.summary import Difference, PredictionLine, Summary
from fewtune.report.tables import Against, Cell, against


@dataclass(frozen=True, kw_only=True)
class RunRow:
    run: RunLine
    title: str
    cost: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, kw_only=True)
class RunsTable:
    metrics: tuple[Metric, ...]
    rows: tuple[RunRow, ...]
    others: tuple[Metric, ...]
    """Metrics that did not find room."""


def runs_table(found: RunsComparison, summaries: tuple[Summary, ...]) -> RunsTable:
    """Runs down, metrics across; under each value, how the run compares with the first one."""
    named: dict[str, Metric] = {}
    for summary in summaries:
        for metric in metrics.in_order(summary):
            named.setdefault(metric.name, metric)
    measured = tuple(metric for metric in named.values() if any(metric.name in run.metrics for run in found.runs))
    shown, others = measured[: metrics.MOST_TOGETHER], measured[metrics.MOST_TOGETHER :]
    return RunsTable(metrics=shown, rows=tuple(_row(run, found, shown) for run in found.runs), others=others)


def _row(run: RunLine, found: RunsComparison, shown: tuple[Metric, ...]) -> RunRow:
    return RunRow(
        run=run,
        title=words.printable(run.id),
        cost=f"{words.duration(run.seconds)}, {words.dollars(run.usd)} {words.place(run.provider)}",
        cells=tuple(_cell(run, found, metric) for metric in shown),
    )


def _cell(run: RunLine, found: RunsComparison, metric: Metric) -> Cell | None:
    value = run.metrics.get(metric.name)
    if value is None:
        return None
    compared = next((one for one in found.differences if (one.run, one.metric) == (run.id, metric.name)), None)
    return Cell(
        value=metric.write(value.value),
        interval=metric.interval(value.interval),
        against=_against(metric, compared) if compared else None,
    )


def _against(metric: Metric, found: RunDifference) -> Against:
    line = Difference(against=found.against, metric=found.metric, value=found.value, verdict=found.verdict, p=found.p)
    return against(metric, line)


def conclusion(found: RunsComparison, summaries: tuple[Summary, ...]) -> str:
    """One sentence: which run to use, by the metric that decides in the first of them.

    Runs of other data answer another question, and are left out of it.
    """
    primary = metrics.primary(summaries[0])
    first = words.printable(found.runs[0].id)
    same = {run.id for run in found.runs if run.data_sha256 == found.runs[0].data_sha256}
    if len(same) < 2:
        return "They cannot be ranked: each was judged on data of its own."
    told = [one for one in found.differences if primary and one.metric == primary.name and one.run in same]
    if primary is None or not told:
        return "Cannot be told: the runs have no measure in common."
    better = [one for one in told if one.verdict == "better"]
    if better:
        best = max(better, key=lambda one: -one.value.value if primary.lower_is_better else one.value.value)
        return f"Use {words.printable(best.run)}: {_by(best, primary)} than {first}{_rows(best)}."
    if all(one.verdict == "worse" for one in told):
        return f"Use {first}: every other run is worse by {primary.label.lower()}."
    tied = [one.run for one in told if one.verdict == "tied"]
    if tied:
        return _cheapest(found, tied, primary)
    return f"Cannot be told: too few rows to compare {first} with the others by {primary.label.lower()}."


def _cheapest(found: RunsComparison, tied: list[str], primary: Metric) -> str:
    """Of runs that cannot be told apart, the one that cost least."""
    alike = [run for run in found.runs if run.id == found.runs[0].id or run.id in tied]
    best = min(alike, key=lambda run: (run.usd is None, run.usd or 0.0, run.seconds))
    others = ", ".join(words.printable(run.id) for run in alike if run is not best)
    return f"Use {words.printable(best.id)}: by {primary.label.lower()} it is tied with {others}, and it cost least."


def _by(best: RunDifference, metric: Metric) -> str:
    interval = metric.difference_interval(best.value.interval)
    return f"{metric.label.lower()} {metric.difference(best.value.value)} ({interval}), better"


def _rows(best: RunDifference) -> str:
    return f", on the {words.counted(best.rows, 'row')} that both held out" if best.paired else ", on different rows"


def side_by_side(found: RunsComparison, summaries: tuple[Summary, ...]) -> Predictions:
    """The answers of the tuned models to the rows that all runs held out, as a table of predictions."""
    measured = {name for row in found.predictions for values in row.values.values() for name in values}
    known = [metric for metric in metrics.in_order(summaries[0]) if metric.name in measured]
    rows = (
        Row(
            line=PredictionLine(source=row.source, prompt=row.prompt, expected=row.expected, answers=row.answers),
            answers={
                run: AnswerLine(samples=(text,), metrics=row.values.get(run)) for run, text in row.answers.items()
            },
        )
        for row in found.predictions
    )
    names = tuple(run.id for run in found.runs)
    return Predictions(
        systems=names,
        shown=names,
        subject=names[1],
        rival=names[0],
        metrics=tuple(known),
        single=summaries[0].data.task in SINGLE_ANSWER_TASKS,
        rows=tuple(rows),
    )
