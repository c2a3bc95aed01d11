"""What is trained after the choice: the winner once more on all rows, and on parts of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewtune import providers
from fewtune.data.split import Fold, Split
from fewtune.errors import UsageError
from fewtune.experiment.rows import TOKEN_MARGIN, characters, in_order
from fewtune.experiment.settings import RunSettings
from fewtune.schedule.order import steps_per_epoch
from fewtune.search.refit import refit_plan
from fewtune.search.scaling import DRAWS, FEWEST_ROWS, SHARES, parts
from fewtune.types import Plan


@dataclass(frozen=True, kw_only=True)
class Afterwards:
    own: Fold
    """What the rungs train on, and judge by."""
    refit: Fold | None
    """All rows that judge nothing, and no rows to be measured on; None where there is no refit."""
    averages: bool
    parts: Mapping[float, tuple[Fold, ...]]
    """By share of the rows; empty where nobody asks what more data would bring, or too few rows would answer."""
    too_few: str | None
    """Why there are no parts though they are asked for."""

    def refit_plan(self, plan: Plan) -> Plan:
        """The plan's steps on the refit's rows, in whole epochs."""
        rows = len(self.own.train)
        return refit_plan(plan, tuned_rows=rows, all_rows=rows + len(self.own.judge))

    def part_plan(self, plan: Plan, part: Fold) -> Plan:
        """The plan with as many steps on fewer rows: else a loss would be higher for want of training, not of rows."""
        steps = plan.epochs * steps_per_epoch(len(self.own.train), plan.rows_per_step)
        return replace(plan, epochs=math.ceil(steps / steps_per_epoch(len(part.train), plan.rows_per_step)))

    def effort(self, fold: Fold) -> float:
        """How much more an epoch of such a training may take than one of the rungs: of the tokens that are trained and
        of those that are read for a validation too, the larger."""
        trained = characters(fold.train) / characters(self.own.train)
        read = characters((*fold.train, *fold.judge)) / characters((*self.own.train, *self.own.judge))
        return TOKEN_MARGIN * max(trained, read)

    def epochs(self, longest: Plan) -> int:
        """The most that all of it takes, counted in epochs of the rungs."""
        again = [(self.refit, self.refit_plan(longest))] if self.refit else []
        pieces = [(part, self.part_plan(longest, part)) for drawn in self.parts.values() for part in drawn]
        return math.ceil(sum(plan.epochs * self.effort(fold) for fold, plan in (*again, *pieces)))


def afterwards(settings: RunSettings, split: Split) -> Afterwards:
    """Raises UsageError for options that do not go together, or not with the provider."""
    bills, own = providers.kind(settings.provider).bills, Fold(train=split.train, judge=split.valid)
    refits = not (bills or settings.valid_file) if settings.refit is None else settings.refit
    if settings.average_refit and not refits:
        raise UsageError("--average-refit needs a refit.", fix="Add --refit.")
    if settings.average_refit and settings.averaged_checkpoints > 1:
        raise UsageError("With --averaged-checkpoints all adapters are means already.", fix="Drop --average-refit.")
    if settings.more_data and bills:
        fix = "Leave out --more-data."
        raise UsageError("What more data would bring is told by losses of rows, which this service lacks.", fix=fix)
    too_few = _too_few(own) if settings.more_data else None
    drawn = {} if too_few or not settings.more_data else {share: _parts(own, share, settings.seed) for share in SHARES}
    return Afterwards(
        own=own,
        refit=Fold(train=in_order((*own.train, *own.judge)), judge=()) if refits else None,
        averages=settings.average_refit,
        parts=drawn,
        too_few=too_few,
    )


def _too_few(own: Fold) -> str | None:
    least = math.ceil(FEWEST_ROWS / min(SHARES))
    if len(own.train) < least:
        return f"there are {len(own.train)} training rows, and it takes {least}"
    if len(own.judge) < FEWEST_ROWS:
        return f"there are {len(own.judge)} validation rows, and it takes {FEWEST_ROWS}"
    return None


def _parts(own: Fold, share: float, seed: int) -> tuple[Fold, ...]:
    rows = {one.row: one for one in own.train}
    return tuple(
        Fold(train=tuple(rows[row] for row in drawn), judge=own.judge)
        for drawn in parts(list(rows), share, DRAWS, seed)
    )
