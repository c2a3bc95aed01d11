"""Labels that are spelt in two ways, rare, or nearly the only one."""

from __future__ import annotations

from collections import Counter

from fewtune.data.checks.finding import Finding, counted, in_rows, of_the_whole, percent, quoted, some
from fewtune.data.checks.material import Material
from fewtune.data.task import label_key, usual_spellings

_IMBALANCE = 10
"""Rows of the most frequent label for each row of the rarest, and more."""


def label_variant(rows: Material) -> Finding | None:
    if rows.task.kind != "labels":
        return None
    usual = usual_spellings(rows.examples)
    variants = {label: spelling for label, spelling in usual.items() if label != spelling}
    places = [place for place, label in enumerate(rows.answers) if label in variants]
    pairs = some(f"{quoted(label)} for {quoted(spelling)}" for label, spelling in variants.items())
    what = f"the label is a rarer spelling ({pairs})."
    return in_rows("label_variant", "warning", rows.rows_at(places), what, repair="relabel")


def single_label(rows: Material) -> Finding | None:
    if rows.task.kind != "labels":
        return None
    counts = _counts(rows)
    alone = [place for place in rows.meant if counts[label_key(rows.answers[place])] == 1]
    labels = some(quoted(rows.answers[place]) for place in alone)
    what = f"the label is that of no other row ({labels}): it can be learnt or judged, not both."
    return in_rows("single_label", "warning", rows.rows_at(alone), what)


def class_imbalance(rows: Material) -> Finding | None:
    """About the labels of several rows; one that has a single row is told by `single_label`."""
    if rows.task.kind != "labels":
        return None
    counts = [(label, count) for label, count in _counts(rows).most_common() if count > 1]
    if len(counts) < 2 or counts[0][1] < _IMBALANCE * counts[-1][1]:
        return None
    spelling = {label_key(rows.answers[place]): rows.answers[place] for place in reversed(rows.meant)}
    (most, many), (least, few) = counts[0], counts[-1]
    share = percent(many / len(rows.meant))
    sentence = (
        f"{quoted(spelling[most])} has {counted(many)} ({share}), {quoted(spelling[least])} only {few:,}; "
        "always saying the first looks good and is worth nothing, so look at each label's own accuracy."
    )
    return of_the_whole("class_imbalance", "note", sentence)


def _counts(rows: Material) -> Counter[str]:
    return Counter(label_key(rows.answers[place]) for place in rows.meant)
