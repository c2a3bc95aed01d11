"""What the tuned model's win does not cover, so that nobody takes one metric for the whole truth."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.report import metrics, words
from fewtune.report.metrics import Metric
from fewtune.report.summary import Summary

NO_RIVAL = "runner-up"
"""Another tuned model: it says nothing about whether to tune."""
_LOOK = "read the answers before you decide."


def reservation(summary: Summary) -> str:
    """What to look at before a tuned model that wins is used; empty where it wins without a reservation or not at all.

    Either a rival beats it by another of the most telling metrics, or one that lacks the metric that decides is beaten
    by none of them.
    """
    if not summary.verdict.startswith("Use the tuned model"):
        return ""
    decides, *others = metrics.in_order(summary)[: metrics.MOST_TOGETHER] or (None,)
    return _beaten(summary, others) or (_unbeaten(summary, decides, others) if decides else "")


def without(summary: Summary, metric: Metric) -> tuple[str, ...]:
    """The rivals of the tuned model that the metric says nothing of."""
    return tuple(one.name for one in summary.systems if one.name != NO_RIVAL and metric.name not in one.metrics)


def _beaten(summary: Summary, found: Sequence[Metric]) -> str:
    for metric in found:
        beating = [one.against for one in summary.differences if (one.metric, one.verdict) == (metric.name, "worse")]
        if beating:
            verb = "does" if len(beating) == 1 else "do"
            return f"By {metric.in_sentence}, though, {_named(beating)} {verb} better: {_LOOK}"
    return ""


def _unbeaten(summary: Summary, decides: Metric, found: Sequence[Metric]) -> str:
    names = {metric.name for metric in found}
    compared = [one for one in summary.differences if one.metric in names]
    beaten = {one.against for one in compared if one.verdict == "better"}
    equal = [
        name
        for name in without(summary, decides)
        if name not in beaten and any(name == one.against for one in compared)
    ]
    if not equal:
        return ""
    verb, they = ("has", "it") if len(equal) == 1 else ("have", "they")
    told = f"{_named(equal)} {verb} no {decides.in_sentence}, and by other measures {they} cannot be told"
    return f"{told[:1].upper()}{told[1:]} from the tuned model: {_LOOK}"


def _named(systems: Sequence[str]) -> str:
    return " and ".join(f"the {words.system(name)}" for name in systems)
