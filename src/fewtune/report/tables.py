"""The report's tables as plain values, which the page, the terminal and the notebook each draw their way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fewtune.evaluation import metrics as evaluation
from fewtune.report import afterwards, metrics, words, worth
from fewtune.report.data_part import DataPart
from fewtune.report.metrics import Metric
from fewtune.report.summary import CutLine, Difference, Search, Summary, SystemLine, TrialLine, WinnerLoss

_MOST_LISTED = 40
_FAILED_LISTED = 5


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One system in one metric, and how the tuned model compares with it."""

    value: str
    interval: str
    against: Against | None = None
    """None for the tuned model itself, and where it was not compared."""


@dataclass(frozen=True, kw_only=True)
class Against:
    """The tuned model minus the system."""

    verdict: str
    value: str
    interval: str
    p: str
    """Empty where no test was made."""


@dataclass(frozen=True, kw_only=True)
class SystemRow:
    name: str
    title: str
    meaning: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    metrics: tuple[Metric, ...]
    rows: tuple[SystemRow, ...]


def comparisons(summary: Summary) -> tuple[Comparison, ...]:
    """Systems down, metrics across, in parts that fit side by side; the first one has what matters most."""
    order = by_strength(summary)
    return tuple(_part(summary, order, part) for part in metrics.together(summary))


def _part(summary: Summary, order: Iterable[SystemLine], part: tuple[Metric, ...]) -> Comparison:
    rows = (
        SystemRow(
            name=system.name,
            title=words.system(system.name),
            meaning=system_meaning(summary, system.name),
            cells=tuple(_cell(summary, system, metric) for metric in part),
        )
        for system in order
        if any(metric.name in system.metrics for metric in part)
    )
    return Comparison(metrics=part, rows=tuple(rows))


def by_strength(summary: Summary) -> tuple[SystemLine, ...]:
    """The tuned model, then its rivals by the metric that decides, the hardest one first."""
    primary = metrics.primary(summary)

    def weakness(system: SystemLine) -> tuple[bool, float]:
        found = system.metrics.get(primary.name) if primary else None
        if primary is None or found is None or math.isnan(found.value):
            return (system.name != "tuned", math.inf)
        return (system.name != "tuned", found.value if primary.lower_is_better else -found.value)

    return tuple(sorted(summary.systems, key=weakness))


def _cell(summary: Summary, system: SystemLine, metric: Metric) -> Cell | None:
    found = system.metrics.get(metric.name)
    if found is None:
        return None
    against = tuned_against(summary, metric, system.name)
    return Cell(value=metric.write(found.value), interval=metric.interval(found.interval), against=against)


def tuned_against(summary: Summary, metric: Metric, rival: str) -> Against | None:
    for found in summary.differences:
        if (found.metric, found.against) == (metric.name, rival):
            return against(metric, found)
    return None


def against(metric: Metric, found: Difference) -> Against:
    return Against(
        verdict=found.verdict,
        value=metric.difference(found.value.value),
        interval=metric.difference_interval(found.value.interval),
        p=words.p_value(found.p),
    )


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    trial: TrialLine
    mark: str
    """`chosen`, `tied`, `failed`, `unfinished`, or nothing."""
    plan: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    fields: tuple[str, ...]
    """The hyperparameters that differ between trials."""
    same: tuple[tuple[str, str], ...]
    """The others, with their one value."""
    rows: tuple[TrialRow, ...]

    @property
    def shown(self) -> tuple[TrialRow, ...]:
        """All where they are few; else the best, the chosen one and the first that failed."""
        if len(self.rows) <= _MOST_LISTED:
            return self.rows
        best, others = self.rows[:_MOST_LISTED], self.rows[_MOST_LISTED:]
        chosen = tuple(row for row in others if row.mark == "chosen")
        failed = tuple(row for row in others if row.mark == "failed")
        return (*chosen, *best, *failed[:_FAILED_LISTED])


def sweep(summary: Summary) -> Sweep:
    """The best first, by what trials were chosen by; those that were not measured last."""
    fields = varied(trial.plan for trial in summary.trials)
    first: Mapping[str, Any] = summary.trials[0].plan if summary.trials else {}
    tied = set(summary.tied)
    rows = (
        TrialRow(trial=trial, mark=_mark(trial, summary.chosen, tied), plan=_values(trial.plan, fields))
        for trial in sorted(summary.trials, key=_by_right if chosen_by_right(summary) else _by_loss)
    )
    same = tuple((name, words.setting(value)) for name, value in first.items() if name not in fields)
    return Sweep(fields=fields, same=same, rows=tuple(rows))


def search_lines(summary: Summary) -> tuple[str, ...]:
    """How the search went, in sentences: what it cost, what the winner is worth, and what the budget cut."""
    if summary.search is None:
        return ()
    lines = [*_proxied(summary), _searched(summary.search)]
    if saved := summary.saved_against_grid:
        lines.append(words.saved(saved.epochs, saved.grid_epochs, saved.share))
    if summary.search.estimate:
        lines.append(_estimated(summary.search.estimate, summary.search.score))
    lines += afterwards.lines(summary)
    if summary.search.cut:
        lines.append(_cut(summary.search.cut))
    return tuple(lines)


def chosen_by_right(summary: Summary) -> bool:
    return summary.search is not None and summary.search.score == "exact_match"


def score_name(summary: Summary) -> str:
    """What trials were chosen by."""
    return "whole answers right, and loss where these cannot tell," if chosen_by_right(summary) else "loss"


def worth_lines(summary: Summary) -> tuple[str, ...]:
    """What stands in the place of a comparison on test rows where a sweep has left these alone."""
    found = summary.search.worth if summary.search else None
    if found is None:
        return ("Nothing was measured on held-out rows.",)
    return (*worth.lines(found), "The test rows were left alone: fewtune run judges by them.")


def _proxied(summary: Summary) -> tuple[str, ...]:
    found = summary.proxy
    if found is None:
        return ()
    rates = {"absolute": "rate", "multiplier": "multiplier"}
    sent = " and ".join(
        f"{one.trial} with the {rates[one.rate]} {words.setting(one.plan['learning_rate'])}" for one in found.sent
    )
    return (f"Searched on {found.base}: {_searched(found.search)} Sent on: {sent}.", found.risk)


def _searched(search: Search) -> str:
    if search.searcher == "given":
        return f"{words.counted(search.candidates, 'plan')} from the cheap base, trained on one split."
    found = words.counted(search.candidates, "candidate")
    halved = _stopped(search)
    again = [words.counted(search.folds, "fold")] * bool(search.folds)
    again += [words.counted(len(search.seeds), "seed")] * (len(search.seeds) > 1)
    finals = f"; the best {len(search.finalists)} trained again on {' and '.join(again)}" if again else ""
    if search.finalists[1:]:
        # Or the chosen one seems to be the wrong one, where its loss in the table is the higher one.
        finals += f", where {words.counted(search.finalists[0].rows, 'row')} decide between them"
    by = "exact match, then validation loss" if search.score == "exact_match" else "validation loss"
    return f"{found} ({search.searcher}), chosen by {by}{halved}{finals}."


def _stopped(search: Search) -> str:
    """How candidates were stopped early, if they were."""
    first = [f"on {100 * search.rung_share:g} % of the rows"] if search.rung_share else []
    rungs = [f"after {_listed(search.rungs[:-1])} epochs"] if search.rungs[1:] else []
    if search.stopped_by == "median":
        return ", those worse than the median of the others stopped" if rungs else ""
    return f", the worse half stopped {' and '.join([*first, *rungs])}" if first or rungs else ""


def _listed(numbers: tuple[int, ...]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}" if first else last


def _estimated(estimate: WinnerLoss, score: str) -> str:
    name, write = ("share of wrong answers", words.share) if score == "exact_match" else ("loss", words.loss)
    interval = f" ({write(estimate.interval.low)} to {write(estimate.interval.high)})" if estimate.interval else ""
    luck = f"; on the rows that chose it, it looks {write(estimate.optimism)} better" if estimate.optimism > 0 else ""
    over_tokens = "" if score == "exact_match" else " (trials are listed with means over tokens)"
    return (
        f"On rows that did not choose it the chosen trial's {name} is {write(estimate.value)}{interval}, "
        f"by {estimate.by}, as a mean over {words.counted(estimate.rows, 'row')}"
        f"{over_tokens}{luck}."
    )


def _cut(cut: tuple[CutLine, ...]) -> str:
    begun = ", ".join(f"{line.trial} to {line.plan['epochs']} epochs" for line in cut if line.trial)
    never = sum(line.trial is None for line in cut)
    parts = [part for part in (begun, words.counted(never, "candidate") if never else "") if part]
    return f"Not bought by the budget ({', '.join(sorted({line.limit for line in cut}))}): {'; '.join(parts)}."


def varied(plans: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The hyperparameters that take more than one value; the learning rate alone when nothing does."""
    seen: dict[str, set[object]] = {}
    for plan in plans:
        for name, value in plan.items():
            seen.setdefault(name, set()).add(value if isinstance(value, int | float | str) else words.setting(value))
    several = (name for name, values in seen.items() if len(values) > 1 and len(set(map(words.setting, values))) > 1)
    different = tuple(sorted(several, key=_by_weight))
    return different or tuple(name for name in ("learning_rate",) if name in seen)


def _by_weight(name: str) -> tuple[int, str]:
    usual = ("learning_rate", "epochs", "batch_size", "rank")
    return (usual.index(name) if name in usual else len(usual), name)


def _values(plan: Mapping[str, Any], fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(words.setting(plan[name]) if name in plan else "" for name in fields)


def _by_right(trial: TrialLine) -> tuple[float, float]:
    return -(trial.valid_sequence_accuracy or 0.0), _by_loss(trial)


def _by_loss(trial: TrialLine) -> float:
    return math.inf if trial.valid_loss is None or math.isnan(trial.valid_loss) else trial.valid_loss


def _mark(trial: TrialLine, chosen: str | None, tied: set[str]) -> str:
    if trial.id == chosen:
        return "chosen"
    if trial.state != "finished":
        return trial.state
    return "tied" if trial.id in tied else ""


def rows_sum(data: DataPart) -> str:
    """`120 rows read = 113 kept + 4 dropped (duplicate row) + ...`."""
    return words.rows_sum(data.rows_read, data.rows_kept, data.dropped)


def not_learnt(data: DataPart) -> str:
    """What of the rows is lost to the base, in a sentence; empty where nothing is."""
    counts = {finding.code: finding.count for finding in data.findings}
    lost = (
        (counts.get("too_long", 0), "too long for the base"),
        (counts.get("no_trained_turn", 0), "without any answer to learn"),
    )
    told = [f"{words.counted(number, 'row')} {what}" for number, what in lost if number]
    return f"Lost: {' and '.join(told)}." if told else ""


def system_meaning(summary: Summary, name: str) -> str:
    """A system in words that need no other word of the field."""
    shots = summary.settings.get("shots")
    examples = words.counted(shots, "example") if isinstance(shots, int) and shots > 0 else "a few examples"
    nearest = examples if isinstance(shots, int) and shots > 0 else "examples"
    return {
        "base": f"{summary.base} as it came, before any training",
        "few-shot": f"the base given {examples} in its prompt, not trained",
        "few-shot-nearest": f"the base given the {nearest} most like each prompt, not trained",
        "tuned": f"the base trained on {words.counted(afterwards.trained_rows(summary), 'row')} of your data",
        "runner-up": "the second best of the trained candidates",
        "reference": "a model that you named, given the bare prompt",
        "majority": "always the most frequent answer of your data, without any model",
        "nearest-answer": "the answer of the most similar row of your data, without any model",
        "tf-idf": "a classifier that counts words, without any language model",
        "sentence-encoder": "a classifier over the vectors of an encoder that you named, which writes nothing",
    }.get(name, "")


def judge(task: str) -> Callable[[str, str], float]:
    """The measure that `exact_match` is the mean of, for the task: (answer, expected) -> 0 or 1."""
    known = task if task in evaluation.TASKS else "text"
    return next(metric.measure for metric in evaluation.for_task(known) if metric.name == "exact_match")
