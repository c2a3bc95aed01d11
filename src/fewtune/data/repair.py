"""Does what the findings propose, and keeps a record of every change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fewtune.data.check import Finding
from fewtune.data.task import usual_spellings
from fewtune.types import Example, Source


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing done to one row."""

    row: int
    code: str
    """Of the finding that asked for it."""
    source: Source
    before: Example
    after: Example | None
    """None where the row was dropped."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    examples: tuple[Example, ...]
    """The rows that are left, with the row numbers they always had."""
    changes: tuple[Change, ...]
    """In the order of the findings, within one by row."""
    dropped: Mapping[str, int]
    """Dropped rows by finding code: with `examples` they add up to the rows given."""


def repair(examples: Sequence[Example], findings: Sequence[Finding], refused: Collection[str] = ()) -> Repaired:
    """Make the repairs of the findings in their order, except those whose code is refused.

    The findings must be about these same examples. A row that several findings would drop is dropped, and
    counted, under the first of them.
    """
    repairs = _repairs(examples)
    kept = {example.row: example for example in examples}
    changes: list[Change] = []
    for finding in findings:
        if finding.repair is None or finding.code in refused:
            continue
        for before in [kept[row] for row in finding.rows if row in kept]:
            after = repairs[finding.repair](before)
            if after == before:
                continue
            changes.append(_change(finding, before, after))
            _put(kept, before.row, after)
    dropped = Counter(change.code for change in changes if change.after is None)
    return Repaired(examples=tuple(kept.values()), changes=tuple(changes), dropped=dict(dropped))


def _repairs(examples: Sequence[Example]) -> Mapping[str, Callable[[Example], Example | None]]:
    usual = usual_spellings(examples)

    def relabel(example: Example) -> Example:
        label = example.completion.strip()
        return replace(example, completion=usual.get(label, label))

    return {"drop": _drop, "strip": _strip, "relabel": relabel}


def _drop(example: Example) -> None:
    return None


def _strip(example: Example) -> Example:
    return replace(example, prompt=example.prompt.strip(), completion=example.completion.strip())


def _change(finding: Finding, before: Example, after: Example | None) -> Change:
    return Change(row=before.row, code=finding.code, source=before.source, before=before, after=after)


def _put(kept: dict[int, Example], row: int, after: Example | None) -> None:
    if after is None:
        del kept[row]
    else:
        kept[row] = after
