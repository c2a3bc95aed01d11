"""What a search varies, and the plan at each point of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fewtune.errors import UsageError
from fewtune.search.axis import FIELDS, Axis, Choices
from fewtune.types import Plan


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched. Epochs are rungs of one training and seeds are repeats, so neither is an axis."""

    base_plan: Plan
    """All that is not searched."""
    axes: Mapping[str, Axis]
    """By the plan's field; a field with a single value counts as well."""
    epochs: tuple[int, ...]
    """Rising; each is a plan to choose from, the last one how long a candidate is trained."""
    seeds: tuple[int, ...] = (0,)
    """The first one trains the candidates; the finalists are trained with all of them. The best of several seeds is
    luck and not a setting, so they are averaged and none is chosen."""

    @property
    def size(self) -> int | None:
        """Number of candidates; None where an axis is a range."""
        counts = [len(axis.values) if isinstance(axis, Choices) else None for axis in self.axes.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def candidate(self, units: Sequence[float]) -> Plan:
        """The plan at a point of the unit cube, one coordinate in [0, 1) an axis."""
        return self.plan({name: axis.at(unit) for (name, axis), unit in zip(self.axes.items(), units, strict=True)})

    def units(self, plan: Plan) -> tuple[float, ...]:
        """A point at which the plan lies."""
        return tuple(axis.unit(float(getattr(plan, name))) for name, axis in self.axes.items())

    def plan(self, values: Mapping[str, float]) -> Plan:
        """The plan with these values; alpha keeps its ratio to the rank, so that a rate means the same at any rank.

        Whether the best rate depends on the rank turns on how alpha does: arXiv 2602.06204.
        """
        fields: dict[str, Any] = {name: int(v) if FIELDS[name].whole else v for name, v in values.items()}
        if "rank" in fields:
            fields["alpha"] = max(1, round(self.base_plan.alpha / self.base_plan.rank * fields["rank"]))
        return replace(self.base_plan, epochs=self.epochs[-1], **fields)


def space(base_plan: Plan, axes: Mapping[str, Axis], *, rows: int, seed: int = 0) -> Space:
    """Put axes together and check what only the data can tell; `rows` is the number of training rows.

    A range of epochs becomes its doublings. Raises UsageError for a batch larger than the data and a range of seeds.
    """
    for value in _ends(axes.get("batch_size")):
        _check_largest("--batch-size", [int(value)], rows, "the number of training rows")
    seeds = axes.get("seed", Choices(values=(float(seed),)))
    if not isinstance(seeds, Choices):
        raise UsageError("--seeds has a range, and seeds are repeats.", fix="List them, as in --seeds 0,1,2.")
    return Space(
        base_plan=base_plan,
        axes={name: axis for name, axis in axes.items() if name not in ("epochs", "seed")},
        epochs=_rungs(axes.get("epochs", Choices(values=(float(base_plan.epochs),)))),
        seeds=tuple(int(value) for value in seeds.values),
    )


def _rungs(axis: Axis) -> tuple[int, ...]:
    if isinstance(axis, Choices):
        return tuple(sorted(int(value) for value in axis.values))
    epochs = [int(axis.low)]
    while epochs[-1] < axis.high:
        epochs.append(min(2 * epochs[-1], int(axis.high)))
    return tuple(epochs)


def _ends(axis: Axis | None) -> tuple[float, ...]:
    if axis is None:
        return ()
    return axis.values if isinstance(axis, Choices) else (axis.low, axis.high)


def _check_largest(option: str, values: Sequence[int], largest: int, meaning: str) -> None:
    for value in values:
        if value > largest:
            raise UsageError(
                f"{option} has {value}, which is above {largest}, {meaning}.", fix=f"Use {option} {largest}."
            )
