"""Where the columns of a table are named, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fewtune.data.columns import listed
from fewtune.data.formats.limits import MOST_COLUMNS
from fewtune.errors import DataError

Row = tuple[int, Sequence[str]]
"""Line or row number in the file, and cells."""

_HIGHEST_TITLE = 10
"""A header is looked for among so many first rows."""
_LONGEST_SHOWN = 60


def header_place(rows: Sequence[Row]) -> int:
    """Index of the row that names the columns: the first, or the first below empty rows and a title.

    A title is a row with a single cell, the first. It is taken for one only where a row with several cells
    follows that the rest agrees with; otherwise it names the only column.
    """
    begin = next((place for place, (_, cells) in enumerate(rows) if _filled(cells)), 0)
    for place in range(begin, min(len(rows), _HIGHEST_TITLE)):
        filled = _filled(rows[place][1])
        if filled >= 2:
            return place if place == begin or _is_header(rows, place) else begin
        if filled and not rows[place][1][0].strip():
            return begin
    return begin


def column_names(header: Sequence[str], where: str) -> tuple[str, ...]:
    """Trimmed; nameless columns are called by their place. Raises DataError for two of the same name."""
    check_width(len(header), where)
    names = tuple(name.strip() or f"unnamed column {number}" for number, name in enumerate(header, 1))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"Several columns have the same name: {listed(repeated)}.", where=where, fix="Rename or remove them."
        )
    return names


def check_width(count: int, where: str) -> None:
    """Raises DataError for more columns than any that are read."""
    if count > MOST_COLUMNS:
        what = f"This row has more than {MOST_COLUMNS:,} columns, the most that are read."
        raise DataError(what, where=where, fix="Leave only the columns that matter.")


def title_note(skipped: Sequence[Row], line: int, unit: str) -> tuple[str, ...]:
    """What is said about the rows above the header, if there are any."""
    titles = [cell.strip() for _, cells in skipped for cell in cells if cell.strip()]
    if not titles:
        return ()
    shown = titles[0] if len(titles[0]) <= _LONGEST_SHOWN else titles[0][:_LONGEST_SHOWN] + "..."
    return (f"The columns are named in {unit} {line}; what stands above ({shown!r}) is taken for a title.",)


def _filled(cells: Sequence[str]) -> int:
    return sum(1 for cell in cells if cell.strip())


def _is_header(rows: Sequence[Row], place: int) -> bool:
    width = len(rows[place][1])
    below = [cells for _, cells in rows[place + 1 :]]
    fit = [cells for cells in below if _filled(cells) >= 2]
    return bool(below) and all(len(cells) <= width for cells in below) and 2 * len(fit) >= len(below)
