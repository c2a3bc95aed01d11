"""Options as they are given, checked for what they can mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fewtune.errors import UsageError


def recipe_named(given: str | None) -> str | None:
    if given not in (None, "chat", "completion"):
        raise UsageError(
            f"There is no recipe {given!r} to train by.",
            fix="There are chat and completion; openai-2022 only prepares: fewtune prepare DATA --recipe openai-2022.",
        )
    return given


def columns_given(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Several names, or one by itself."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def size_given(given: float | None) -> float | int | None:
    """A share below 1 stays one; a whole number counts rows."""
    if given is None or given < 1:
        return given
    if not math.isfinite(given) or given != int(given):
        raise UsageError(f"{given:g} is neither a share below 1 nor a number of rows.")
    return int(given)


def halving_given(
    given: bool | None, rung_share: float | None, median_stop: bool | None, searches: bool
) -> bool | None:
    """As given; else a share of the rows makes a rung, the median rule does without, and a sweep decides by itself."""
    if given is not None:
        return given
    if rung_share is not None:
        return True
    return None if searches and not median_stop else False
