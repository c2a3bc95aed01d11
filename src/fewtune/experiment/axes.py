"""The axes of a search as they were given: in Python, on the command line, or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fewtune.errors import UsageError
from fewtune.experiment.searching import SETTINGS, read_axis, written
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.settings import Values as Stored
from fewtune.search.axis import FIELDS, Axis, RateKind
from fewtune.search.space_file import read_space

Values = str | float | Sequence[float] | None
"""One value, several, or text as it is typed."""


def read_axes(given: Mapping[str, Any], rate: RateKind) -> dict[str, Any]:
    """Settings of the axes that were given: those of the file, and the options, which go before it.

    Raises UsageError for what cannot be searched, with the nearest thing that can.
    """
    path = given.get("space")
    axes = read_space(_text(path), where=str(path), rate=rate) if path else dict[str, Axis]()
    found = {SETTINGS[name]: written(name, axis) for name, axis in axes.items()}
    for name, setting in SETTINGS.items():
        values: Values = given.get("seeds" if name == "seed" else name)
        if values is not None:
            found[setting] = read_axis(name, _typed(values), rate)
    if isinstance(found.get("seeds"), str):
        raise UsageError("--seeds has a range, and seeds are repeats.", fix="List them, as in --seeds 0,1,2.")
    return found


def check_single(settings: RunSettings) -> None:
    """Raises UsageError where a setting has several values, or others are to be found elsewhere."""
    if settings.search_on is not None:
        fix = "Leave out --search-on, or use: fewtune sweep"
        raise UsageError("--search-on searches, and train makes one plan.", fix=fix)
    for name, setting in SETTINGS.items():
        values: Stored = getattr(settings, setting)
        if isinstance(values, str) or values[1:]:
            raise UsageError(
                f"{FIELDS[name].option} has several values, and train makes one plan.",
                fix="Give one, or compare them with: fewtune sweep",
            )


def _typed(given: str | float | Sequence[float]) -> str:
    """As it would be typed: numbers from Python are checked like those."""
    if isinstance(given, str):
        return given
    return ",".join(map(str, [given] if isinstance(given, int | float) else given))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("The search space cannot be read.", where=str(path), fix="Give a TOML file.") from error
