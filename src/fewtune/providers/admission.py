"""Whether a provider can do what a trial asks for, from its capabilities alone."""

from __future__ import annotations

import sys

from fewtune.errors import UsageError
from fewtune.providers.contract import Capabilities, Trial


def check(trial: Trial, capabilities: Capabilities) -> None:
    """Raises UsageError for a trial without rows, with a value out of range, or with a start that is not offered."""
    where = f"trial {trial.id}"
    for name, (low, high) in capabilities.ranges.items():
        if not low <= getattr(trial.plan, name) <= high:
            wanted = "above 0" if high == sys.float_info.max else f"from {low:g} to {high:g}"
            raise UsageError(f"{name} must be {wanted}, not {getattr(trial.plan, name):g}.", where=where)
    if trial.branches and not capabilities.can_branch:
        raise UsageError("A trial cannot branch off another here.", where=where)
    if trial.parent is not None and not capabilities.can_fork:
        raise UsageError("A trial cannot start from another trial's checkpoint here.", where=where)
    if not trial.train_rows:
        raise UsageError("There is no row to train on.", where=where)
