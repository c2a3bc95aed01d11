"""Tuning problems whose true losses are known: families of curves like those that were recorded on `pocket`.

A plan's true loss, in nats a token, after `epochs` at a rate and a batch size:

    progress   t = epochs * (effective rate / reference) ** power,  effective rate = rate * (4 / batch) ** coupling
    learning   floor + drop * (1 + t / pace) ** -bend
    overfit    + overfit * max(0, t / turn - 1) ** 1.3
    noise      + jitter * (effective rate / ceiling) ** 2, and more above the ceiling
    prompt     + what weighing the prompt's tokens by 0.1 does: a shift, for better or worse

What a sweep sees of it is one loss a validation row: the true loss, how hard the row is (the same for every plan),
how this row takes to this plan (smooth in rate, batch and epochs, so that neighbours are alike, plus a part of its
own), and what chance in this training did to all rows at once. The sizes are those seen in `dev/LOG.md`: a paired
spread of 0.2 nats a row on synopses, 0.4 to 0.9 on labels; high rates lead after one epoch and overfit soon after
(tickets, 54 rows, epochs 1 to 3: 0.792 0.617 0.536 at 3e-4, 0.904 0.529 0.697 at 1e-3, 1.257 0.805 0.928 at 4e-3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RATES = (3e-4, 6e-4, 1e-3, 2e-3, 4e-3)
BATCHES = (2, 4, 8)
PROMPT_WEIGHTS = (0.0, 0.1)
EPOCHS = (1, 2, 4, 8)
FOLDS = 5
_REFERENCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Family:
    """Ranges from which a problem's numbers are drawn, each evenly or, if both ends are positive, log-evenly."""

    name: str
    floor: tuple[float, float]
    drop: tuple[float, float]
    pace: tuple[float, float]
    bend: tuple[float, float]
    turn: tuple[float, float]
    overfit: tuple[float, float]
    ceiling: tuple[float, float]
    jitter: tuple[float, float]
    spread: tuple[float, float]
    """Of one row's paired difference between unlike plans."""
    chance: tuple[float, float]
    """Spread of what one training's seed does to the mean."""


FAMILIES = (
    Family(
        name="synopses",
        floor=(3.2, 3.6),
        drop=(0.6, 1.0),
        pace=(0.5, 2.0),
        bend=(0.4, 0.8),
        turn=(5.0, 12.0),
        overfit=(0.05, 0.2),
        ceiling=(3e-3, 6e-3),
        jitter=(0.05, 0.1),
        spread=(0.15, 0.3),
        chance=(0.005, 0.02),
    ),
    Family(
        name="labels",
        floor=(0.4, 0.6),
        drop=(3.0, 6.0),
        pace=(0.1, 0.3),
        bend=(1.0, 1.6),
        turn=(1.5, 6.0),
        overfit=(0.1, 0.4),
        ceiling=(1.5e-3, 3e-3),
        jitter=(0.1, 0.2),
        spread=(0.35, 0.6),
        chance=(0.03, 0.08),
    ),
    Family(
        name="records",
        floor=(0.2, 0.4),
        drop=(2.0, 5.0),
        pace=(0.3, 0.8),
        bend=(0.9, 1.4),
        turn=(8.0, 20.0),
        overfit=(0.05, 0.2),
        ceiling=(2e-3, 4e-3),
        jitter=(0.05, 0.15),
        spread=(0.1, 0.3),
        chance=(0.01, 0.03),
    ),
    Family(
        name="hardly learnable",
        floor=(4.0, 4.5),
        drop=(0.1, 0.3),
        pace=(0.3, 1.0),
        bend=(0.5, 1.0),
        turn=(1.0, 3.0),
        overfit=(0.02, 0.1),
        ceiling=(1.5e-3, 4e-3),
        jitter=(0.05, 0.1),
        spread=(0.1, 0.3),
        chance=(0.01, 0.03),
    ),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    name: str
    trunks: tuple[tuple[float, int, float], ...]
    """Rate, batch size and prompt loss weight."""
    truth: Floats
    """True loss by trunk and epoch, the first column after one epoch."""
    valid_rows: int
    spread: float
    chance: float

    @property
    def standard_error(self) -> float:
        """Of the measured difference of two unlike plans, each trained once, on the validation rows of one split."""
        return (self.spread**2 / self.valid_rows + 2 * self.chance**2) ** 0.5

    def measured(self, seed: int) -> Floats:
        """Losses by trunk, epoch and row of all `FOLDS` folds; the rows of fold f are f, f + FOLDS, ..."""
        chance = np.random.default_rng([seed, 7])
        rows = self.valid_rows * FOLDS
        hardness = chance.normal(0.0, 0.6, size=rows)
        return (
            self.truth[:, :, None]
            + hardness
            + self._taste(chance, rows)
            + self._luck(chance)[:, :, np.arange(rows) % FOLDS]
        )

    def _taste(self, chance: np.random.Generator, rows: int) -> Floats:
        """How each row takes to each plan: three smooth directions and a part without pattern."""
        rates = np.log([rate for rate, _, _ in self.trunks])
        batches = np.log([float(batch) for _, batch, _ in self.trunks])
        epochs = np.log2(np.arange(1, self.truth.shape[1] + 1))
        directions = [np.add.outer(_even(rates), 0 * epochs), np.add.outer(_even(batches), 0 * epochs)]
        directions.append(np.add.outer(0 * rates, _even(epochs)))
        weights = chance.normal(0.0, self.spread * 0.45, size=(3, rows))
        smooth = sum(np.multiply.outer(way, weight) for way, weight in zip(directions, weights, strict=True))
        own = chance.standard_t(5, size=(*self.truth.shape, rows)) * self.spread * 0.25
        return np.asarray(smooth) + own

    def _luck(self, chance: np.random.Generator) -> Floats:
        """By trunk, epoch and fold: mostly the same all along one training."""
        trunks, epochs = self.truth.shape
        steady = chance.normal(0.0, self.chance, size=(trunks, 1, FOLDS))
        return steady + chance.normal(0.0, self.chance / 3, size=(trunks, epochs, FOLDS))


def _even(values: Floats) -> Floats:
    return (values - values.mean()) / values.std()


def problems(count: int = 20, seed: int = 2026) -> tuple[Problem, ...]:
    """The same ones every time; half have few enough validation rows that folds are worth their price."""
    chance = np.random.default_rng(seed)
    return tuple(_draw(FAMILIES[number % len(FAMILIES)], number, chance) for number in range(count))


def _draw(family: Family, number: int, chance: np.random.Generator) -> Problem:
    def between(ends: tuple[float, float]) -> float:
        return float(np.exp(chance.uniform(*np.log(ends))))

    trunks = tuple(product(RATES, BATCHES, PROMPT_WEIGHTS))
    truth = _truth(
        trunks,
        floor=between(family.floor),
        drop=between(family.drop),
        pace=between(family.pace),
        bend=between(family.bend),
        turn=between(family.turn),
        overfit=between(family.overfit),
        ceiling=between(family.ceiling),
        jitter=between(family.jitter),
        power=between((0.6, 0.9)),
        coupling=between((0.25, 0.6)),
        prompt=chance.normal(0.0, 0.03),
    )
    valid_rows = (24, 30, 45, 60, 80)[number % 5]
    return Problem(
        name=f"{number + 1}: {family.name}, {valid_rows} rows",
        trunks=trunks,
        truth=truth,
        valid_rows=valid_rows,
        spread=between(family.spread),
        chance=between(family.chance),
    )


def _truth(
    trunks: Sequence[tuple[float, int, float]],
    *,
    floor: float,
    drop: float,
    pace: float,
    bend: float,
    turn: float,
    overfit: float,
    ceiling: float,
    jitter: float,
    power: float,
    coupling: float,
    prompt: float,
) -> Floats:
    rates = np.asarray([rate * (4 / batch) ** coupling for rate, batch, _ in trunks])[:, None]
    weighted = np.asarray([weight > 0 for _, _, weight in trunks])[:, None]
    progress = np.arange(1, EPOCHS[-1] + 1) * (rates / _REFERENCE) ** power
    learning = floor + drop * (1 + progress / pace) ** -bend
    late = overfit * np.maximum(0, progress / turn - 1) ** 1.3
    beyond = np.minimum(2.0, np.maximum(0, rates / ceiling - 1) ** 2)
    return learning + late + jitter * (rates / ceiling) ** 2 + beyond + prompt * weighted
