"""What was found in the data and done to it, as one plain value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FindingLine:
    """One kind of flaw in the data, and what was done about it."""

    code: str
    severity: str
    """`error`, `warning` or `note`."""
    count: int
    sentence: str
    repair: str | None
    """What was done, in words; None when the rows were left as they are."""
    rows: tuple[str, ...]
    """file:line of the rows, at most the first 1,000."""
    proposal: str | None = None
    """What could be done, in words; None where there is nothing to do."""


@dataclass(frozen=True, kw_only=True)
class ChangeLine:
    """One thing done to one row, secrets masked."""

    source: str
    code: str
    before: tuple[str, str]
    """Prompt and completion."""
    after: tuple[str, str] | None
    """None where the row was dropped."""


@dataclass(frozen=True, kw_only=True)
class MaskPiece:
    text: str
    trained: bool
    stop: bool
    """Whether it is the token that ends an answer."""


@dataclass(frozen=True, kw_only=True)
class MaskLine:
    """One row as the base reads it."""

    source: str
    tokens: int
    trained_tokens: int
    pieces: tuple[MaskPiece, ...]


@dataclass(frozen=True, kw_only=True)
class DataPart:
    file: str
    sha256: str
    rows_read: int
    rows_kept: int
    dropped: Mapping[str, int]
    """Rows dropped by finding code; rows_read = rows_kept + the sum of these."""
    findings: tuple[FindingLine, ...]
    train_rows: int
    valid_rows: int
    test_rows: int
    train_tokens: int | None
    """Tokens of one epoch; None where the base's tokenizer is not at hand."""
    trained_tokens: int | None
    """Of these, how many are trained on."""
    task: str
    """`text`, `labels` or `json`."""
    shape: str = ""
    """What the rows were taken for, such as `chat messages`."""
    notes: tuple[str, ...] = ()
    """What reading had to find out: an encoding, a delimiter, what was left out."""
    tokens_margin: int = 0
    """How far `train_tokens` may be off where it was estimated from a sample (95 %); 0 where it was counted."""
    changes: tuple[ChangeLine, ...] = ()
    """At most the first 500."""
    changes_made: int = 0
    mask: tuple[MaskLine, ...] = ()
    """The first training rows with the trained part marked; empty where the base's tokenizer is not at hand."""
    turns_left_out: int = 0
    """Turns that should be learnt and are not, since the base's template rewrites them once others follow."""
