"""Points that were computed, but not yet taken by anybody when training was paused."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import asdict
from typing import Any

from fewtune.providers.contract import Point, Validation
from fewtune.providers.trial_folder import TrialFolder
from fewtune.types import Usage

_NAME = "untold"


def keep(folder: TrialFolder, points: Iterable[Point]) -> None:
    """Add them to those that each trial's folder has already."""
    by_handle: dict[str, list[Point]] = {}
    for point in points:
        by_handle.setdefault(point.handle, []).append(point)
    for handle, own in by_handle.items():
        _save(folder, handle, [*kept(folder, handle), *own])


def kept(folder: TrialFolder, handle: str) -> tuple[Point, ...]:
    states = folder.states(handle)
    return tuple(_point(stored) for stored in states.load(_NAME)["points"]) if states.known(_NAME) else ()


def tell(folder: TrialFolder, handle: str) -> Generator[Point, None, None]:
    """Each of them once: those that are not taken this time either are kept on."""
    left = deque(kept(folder, handle))
    if not left:
        return
    try:
        while left:
            yield left.popleft()
    finally:
        _save(folder, handle, left)


def _save(folder: TrialFolder, handle: str, points: Iterable[Point]) -> None:
    folder.states(handle).save(_NAME, {"points": [asdict(point) for point in points]})


def _point(stored: dict[str, Any]) -> Point:
    stored["usage"] = Usage(**stored["usage"])
    if validation := stored["validation"]:
        for name in ("row_losses", "row_exact"):
            if validation.get(name) is not None:
                validation[name] = tuple(validation[name])
        stored["validation"] = Validation(**validation)
    return Point(**stored)
