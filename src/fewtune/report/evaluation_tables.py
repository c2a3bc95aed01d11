"""What the held-out rows say beyond one number a metric, in words and plain tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fewtune.evaluation.forgetting import MATTERS
from fewtune.report import tables, words
from fewtune.report.evaluation_part import (
    Copying,
    FieldLine,
    Forgetting,
    Judged,
    LabelLine,
    LabelTable,
)
from fewtune.report.summary import Summary

MOST_IN_MATRIX = 12
"""Labels whose confusions fit on a page as a square; of more, the commonest confusions are listed."""
MOST_CONFUSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Square:
    """Rows of held-out rows by expected (down) and answered (across) label."""

    answered: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    most: int


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One system's answers to a labelling task."""

    name: str
    title: str
    table: LabelTable
    lines: tuple[LabelLine, ...]
    """The commonest label first."""
    square: Square | None
    """None where there are too many labels."""
    confused: tuple[tuple[str, str, int], ...]
    """Expected, answered and rows, the commonest first."""


@dataclass(frozen=True, kw_only=True)
class FieldRow:
    path: str
    cells: tuple[FieldLine | None, ...]

    @property
    def rows(self) -> int:
        return max(cell.rows for cell in self.cells if cell)


@dataclass(frozen=True, kw_only=True)
class Fields:
    systems: tuple[str, ...]
    rows: tuple[FieldRow, ...]
    """Of the fields that some row asks for."""
    invented: tuple[tuple[str, tuple[str, ...]], ...]
    """By system, the fields that it gave though no row asks for them; systems without any are left out."""


def labels(summary: Summary) -> tuple[Labels, ...]:
    """The tuned model's first, then its rivals', the hardest first."""
    found: Mapping[str, LabelTable] = summary.evaluation.labels if summary.evaluation else {}
    return tuple(_labels(name, found[name]) for name in _names(summary, found))


def fields(summary: Summary) -> Fields | None:
    """Every field with what each system made of it; None for tasks without fields."""
    found: Mapping[str, tuple[FieldLine, ...]] = summary.evaluation.fields if summary.evaluation else {}
    names = _names(summary, found)
    lines = {name: {line.path: line for line in found[name]} for name in names}
    paths = dict.fromkeys(path for name in names for path in lines[name])
    if not paths:
        return None
    rows = (FieldRow(path=path, cells=tuple(lines[name].get(path) for name in names)) for path in paths)
    invented = ((name, tuple(line.path for line in found[name] if not line.rows)) for name in names)
    return Fields(
        systems=tuple(names),
        rows=tuple(row for row in rows if row.rows),
        invented=tuple((name, given) for name, given in invented if given),
    )


def forgetting(found: Forgetting) -> str:
    """Whether the model has lost general English by more than `MATTERS`, in a sentence."""
    change = found.after - found.before
    size = f"{abs(change):.3f} bits a byte{_span(found, change)}"
    numbers = f"{found.before:.3f} bits a byte before tuning, {found.after:.3f} after"
    if found.interval is None:
        return f"{numbers}. Whether it has forgotten anything {words.UNKNOWN}."
    if found.interval.low > MATTERS:
        return f"It has forgotten some: {numbers}, {size} worse."
    if found.interval.low > 0:
        answer = "has forgotten nothing that matters" if found.interval.high <= MATTERS else "may have forgotten some"
        return f"It {answer}: {numbers}, {size} worse; up to {MATTERS:g} is no loss to speak of."
    if found.interval.high < 0:
        return f"It has forgotten nothing: {numbers}, {size} better."
    return f"It has forgotten nothing that could be told from chance: {numbers}."


def _span(found: Forgetting, change: float) -> str:
    if found.interval is None:
        return ""
    low, high = sorted((abs(found.interval.low), abs(found.interval.high))) if change else (0.0, 0.0)
    return f" ({low:.3f} to {high:.3f})"


def judged(found: Judged) -> str:
    """What the judge prefers, and how far it can be trusted, in two sentences."""
    price = f" {words.counted(found.tokens, 'token')}, {words.dollars(found.usd)}."
    first, second = words.system(found.first), words.system(found.second)
    if not found.wins + found.losses + found.ties:
        rows, judge = words.counted(found.unread, "row"), words.printable(found.judge)
        return f"Between the {first} and the {second} {judge} gave no verdict that could be read, on {rows}.{price}"
    ties = f"neither on {words.count(found.ties)}"
    said = (
        f"{words.printable(found.judge)} preferred the {first} on {words.counted(found.wins, 'row')}, "
        f"the {second} on {words.count(found.losses)} and {ties}."
    )
    agreed = (
        f" Asked again with the two swapped, it agreed with itself on {words.share(found.agreement)}."
        if found.agreement is not None
        else ""
    )
    unread = f" On {words.counted(found.unread, 'row')} its verdict could not be read."
    return f"{said}{agreed}{unread if found.unread else ''}{price}"


def lines(summary: Summary) -> tuple[str, ...]:
    """What there is to know beside the metrics, in sentences for where there is no room for tables."""
    part = summary.evaluation
    if part is None:
        return ()
    found = [judged(one) for one in part.judged]
    found += [f"General English: {forgetting(part.forgetting)}"] if part.forgetting else []
    failing = {one.metric: one for one in reversed(part.failing)}
    for name in reversed(failing):
        rows = sum(one.rows for one in part.failing if one.metric == name)
        reason = words.one_line(failing[name].reason, 200)
        found.append(f"{words.printable(name)} could not be measured of {words.counted(rows, 'answer')}: {reason}.")
    return tuple(found)


def copied(summary: Summary) -> tuple[tuple[str, Copying], ...]:
    """Each system with what its answers share with the training rows."""
    found: Mapping[str, Copying] = summary.evaluation.copying if summary.evaluation else {}
    return tuple((name, found[name]) for name in _names(summary, found))


def has_more(summary: Summary) -> bool:
    """Whether there is anything to say beyond the metrics and the answers."""
    part = summary.evaluation
    return part is not None and any(
        (part.labels, part.fields, part.copying, part.forgetting, part.judged, part.failing)
    )


def _names(summary: Summary, found: Iterable[str]) -> list[str]:
    order = [system.name for system in tables.by_strength(summary)]
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def _labels(name: str, table: LabelTable) -> Labels:
    mistakes = sorted((cell for cell in table.confusion if cell[0] != cell[1]), key=lambda cell: -cell[2])
    return Labels(
        name=name,
        title=words.system(name),
        table=table,
        lines=tuple(sorted(table.labels, key=lambda line: (-line.rows, line.label))),
        square=_square(table),
        confused=tuple(mistakes[:MOST_CONFUSIONS]),
    )


def _square(table: LabelTable) -> Square | None:
    names = [line.label for line in table.labels]
    if len(names) > MOST_IN_MATRIX or not table.confusion:
        return None
    cells = {(expected, answered): rows for expected, answered, rows in table.confusion}
    columns = [*names, *([""] if any(answered == "" for _, answered, _ in table.confusion) else [])]
    rows = tuple((name, tuple(cells.get((name, column), 0) for column in columns)) for name in names)
    return Square(answered=tuple(columns), rows=rows, most=max(cells.values()))
