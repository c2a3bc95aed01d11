"""What a check tells, and how its sentence is put together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.data.masking import masked

Severity = Literal["error", "warning", "note"]
Remedy = Literal["drop", "strip", "relabel", "mask", "unescape", "mend"]

_LONGEST_QUOTE = 40


@dataclass(frozen=True, kw_only=True)
class Finding:
    code: str
    severity: Severity
    """`error` where the rows cannot be trained on, `note` where nothing need be done."""
    rows: tuple[int, ...]
    """Row numbers, ascending; empty where the finding is about the data as a whole."""
    sentence: str
    """Never shows a secret or personal data in clear."""
    repair: Remedy | None
    """What `repair` can do to the rows; None where they are only shown."""
    recommended: bool
    """Whether the repair is safe to make without asking."""


def in_rows(
    code: str,
    severity: Severity,
    rows: Iterable[int],
    what: str,
    *,
    repair: Remedy | None = None,
    recommended: bool = True,
) -> Finding | None:
    """The Finding for these rows, None where there are none; `what` completes 'In 3 rows ...'."""
    numbers = tuple(sorted(rows))
    if not numbers:
        return None
    return Finding(
        code=code,
        severity=severity,
        rows=numbers,
        sentence=f"In {counted(len(numbers))} {what}",
        repair=repair,
        recommended=recommended and repair is not None,
    )


def of_the_whole(code: str, severity: Severity, sentence: str) -> Finding:
    return Finding(code=code, severity=severity, rows=(), sentence=sentence, repair=None, recommended=False)


def counted(rows: int, noun: str = "row") -> str:
    """`1 row`, `1,200 rows`."""
    return f"{rows:,} {noun}{'' if rows == 1 else 's'}"


def percent(share: float) -> str:
    """A share of all that is not all is never told as 100 %."""
    return f"{min(round(100 * share), 99 if share < 1 else 100)} %"


def quoted(text: str) -> str:
    """The beginning of a text of the user's, on one line, with secrets and personal data masked."""
    shown = " ".join(masked(text).split())
    return repr(shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]}…")


def some(names: Iterable[str]) -> str:
    """The first three, and how many more there are."""
    listed: Sequence[str] = list(names)
    more = f" and {len(listed) - 3:,} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
