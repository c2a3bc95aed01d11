"""Does what the findings propose, and keeps a record of every change."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from fewtune.data.checks.finding import Finding
from fewtune.data.markup import mended, unescaped
from fewtune.data.masking import masked
from fewtune.data.task import parses_as_json, usual_spellings
from fewtune.data.texts import with_completion, with_everything, with_texts
from fewtune.types import Example, Source

_Fix = Callable[[Finding, Example], Example | None]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing done to one row."""

    row: int
    code: str
    """Of the finding that asked for it."""
    source: Source
    before: Example
    """As it was, secrets and all: show it through `masking.masked`."""
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


def repair(
    examples: Sequence[Example],
    findings: Sequence[Finding],
    refused: Collection[str] = (),
    *,
    accepted: Collection[str] = (),
) -> Repaired:
    """Make the recommended repairs and the accepted ones in the order of the findings, but none that is refused.

    `refused` and `accepted` hold codes. The findings must be about these same examples. A row that several findings
    would drop is dropped, and counted, under the first of them.
    """
    fixes = _fixes(examples)
    kept = {example.row: example for example in examples}
    changes: list[Change] = []
    for finding in findings:
        is_wanted = finding.recommended or finding.code in accepted
        if finding.repair is None or not is_wanted or finding.code in refused:
            continue
        for before in [kept[row] for row in finding.rows if row in kept]:
            after = fixes[finding.repair](finding, before)
            if after == before:
                continue
            changes.append(_change(finding, before, after))
            _put(kept, before.row, after)
    dropped = Counter(change.code for change in changes if change.after is None)
    return Repaired(examples=tuple(kept.values()), changes=tuple(changes), dropped=dict(dropped))


def _fixes(examples: Sequence[Example]) -> Mapping[str, _Fix]:
    usual = usual_spellings(examples)

    def relabel(_: Finding, example: Example) -> Example:
        label = example.completion.strip()
        return with_completion(example, usual.get(label, label))

    return {
        "drop": lambda _, example: None,
        "strip": lambda _, example: with_texts(example, str.strip),
        "relabel": relabel,
        "mask": lambda finding, example: with_everything(example, partial(_masked, code=finding.code)),
        "unescape": lambda _, example: with_texts(example, unescaped),
        "mend": lambda _, example: with_texts(example, mended),
    }


def _masked(text: str, code: str) -> str:
    """In JSON a number becomes a string, where nothing else leaves it valid; too deep a nesting is left invalid."""
    after = masked(text, (code,))
    if after == text or not parses_as_json(text) or parses_as_json(after):
        return after
    try:
        return json.dumps(_masked_value(json.loads(text), code), ensure_ascii=False)
    except RecursionError:
        return after


def _masked_value(value: Any, code: str) -> Any:
    match value:
        case dict():
            return {masked(key, (code,)): _masked_value(one, code) for key, one in cast(dict[str, Any], value).items()}
        case list():
            return [_masked_value(one, code) for one in cast(list[Any], value)]
        case str():
            return masked(value, (code,))
        case _:
            shown = json.dumps(value)
            return value if (hidden := masked(shown, (code,))) == shown else hidden


def _change(finding: Finding, before: Example, after: Example | None) -> Change:
    return Change(row=before.row, code=finding.code, source=before.source, before=before, after=after)


def _put(kept: dict[int, Example], row: int, after: Example | None) -> None:
    if after is None:
        del kept[row]
    else:
        kept[row] = after
