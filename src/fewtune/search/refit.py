"""The winner once more on all rows, and whether its averaged checkpoints are the better ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from fewtune.types import Plan

AVERAGED = 3
"""Checkpoints of which a mean is tried."""


def refit_plan(plan: Plan, *, tuned_rows: int, all_rows: int) -> Plan:
    """The plan for training on more rows: as many steps as it was tuned for, rounded up to whole epochs.

    An epoch of more rows has more steps, so epochs are multiplied by tuned_rows / all_rows. What was chosen is a
    length of training as much as a number of passes, and on rows that no validation watches too short is the
    safer side; rounding up keeps at least the steps that were measured.
    """
    if not 0 < tuned_rows <= all_rows:
        raise ValueError(f"a refit has at least the {tuned_rows} rows that it was tuned with, not {all_rows}")
    return replace(plan, epochs=max(1, math.ceil(plan.epochs * tuned_rows / all_rows - 1e-9)))


def keeps_average(single: Sequence[float], averaged: Sequence[float], groups: Sequence[int]) -> bool:
    """Whether the mean of the top checkpoints replaces the last one: only if better over all rows of all folds, and in
    more folds than it is worse in. `groups` names each row's fold.

    An average that is merely no worse is not kept: it would be one more thing to explain.
    """
    gains = [a - b for a, b in zip(single, averaged, strict=True)]
    folds = {group: [gain for gain, one in zip(gains, groups, strict=True) if one == group] for group in set(groups)}
    signs = [math.copysign(1, fmean(found)) if fmean(found) else 0 for found in folds.values()]
    return fmean(gains) > 0 and sum(signs) > 0
