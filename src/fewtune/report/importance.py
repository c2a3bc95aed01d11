"""How much of the differences in validation loss each hyperparameter explains by itself.

The main effects of functional ANOVA (Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing
hyperparameter importance", ICML 2014), from the trials themselves rather than from a model fitted to them: the
trials are grouped by the parameter's value, and the share is that of the variance between the groups in the variance
of all. Groups of few trials differ by chance; what chance alone would give is taken off (Kelley's epsilon squared,
1935), so a parameter that does nothing stands near zero however many values it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fewtune.report.parameter import Parameter
from fewtune.report.trials import Trials, far_out

FEW_TRIALS = 20
_FEWEST_TRIALS = 4
_MOST_GROUPS = 8
_FEWEST_IN_GROUP = 4
_LEAST = 0.005
"""A share that is not written as 0 %."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Share:
    parameter: Parameter
    value: float
    """0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    shares: tuple[Share, ...]
    """The largest first."""
    trials: int
    by_rank: bool
    """Whether ranks were explained in place of losses: one trial that blew up would be all the variance there is."""

    @property
    def rest(self) -> float:
        """What no parameter explains alone: parameters that act together, and chance."""
        return max(0.0, 1.0 - sum(share.value for share in self.shares))


def importance(trials: Trials) -> Importance | None:
    """None where there is nothing to say: one parameter, fewer than four finished trials, or nothing explained."""
    lines = [line for line in trials.lines if line.state == "finished"]
    if len(lines) < _FEWEST_TRIALS or len(trials.parameters) < 2:
        return None
    losses = np.array([line.valid_loss for line in lines], dtype=np.float64)
    if losses.max() == losses.min():
        return None
    by_rank = bool(losses.max() > far_out(losses.tolist()))
    explained = _ranks(losses) if by_rank else losses
    shares = (
        Share(parameter=one, value=_between(explained, _groups(one, [one.read(line.plan) for line in lines])))
        for one in trials.parameters
    )
    ordered = tuple(sorted(shares, key=lambda share: -share.value))
    if ordered[0].value < _LEAST:
        return None
    return Importance(shares=ordered, trials=len(lines), by_rank=by_rank)


def _ranks(values: _Floats) -> _Floats:
    """Equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def _groups(parameter: Parameter, values: Sequence[Any]) -> npt.NDArray[np.intp]:
    """The group of each trial: its value, or a range of values where each has too few trials."""
    order = {value: place for place, value in enumerate(sorted(set(values)))}
    places = np.array([order[value] for value in values])
    if parameter.scale == "named" or len(order) <= min(_MOST_GROUPS, len(values) // 2):
        return places
    most = max(2, min(_MOST_GROUPS, len(values) // _FEWEST_IN_GROUP))
    edges = np.quantile(places, np.linspace(0, 1, most + 1)[1:-1])
    return np.searchsorted(edges, places, side="left")


def _between(values: _Floats, groups: npt.NDArray[np.intp]) -> float:
    """Share of the variance between the groups, less what chance gives."""
    _, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(which, weights=values) / counts
    within = float(((values - means[which]) ** 2).sum())
    total = float(((values - values.mean()) ** 2).sum())
    free = len(values) - len(counts)
    if free <= 0 or len(counts) < 2:
        return 0.0
    return max(0.0, 1.0 - within / free / (total / (len(values) - 1)))
