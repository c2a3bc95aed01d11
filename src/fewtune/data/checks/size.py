"""Too few rows, and rows that are too long."""

from __future__ import annotations

from fewtune.data.checks.finding import Finding, counted, in_rows, of_the_whole
from fewtune.data.checks.material import Material
from fewtune.data.texts import everything
from fewtune.types import Example

_FEW_ROWS = 100
_OVER_LONG = 10_000
_BYTES_OF_A_CHARACTER = 4


def few_rows(rows: Material) -> Finding | None:
    if len(rows.examples) >= _FEW_ROWS:
        return None
    sentence = (
        f"With {counted(len(rows.examples))} it will be hard to tell one model from another; "
        f"more good rows help most, up to {_FEW_ROWS} at least."
    )
    return of_the_whole("few_rows", "note", sentence)


def over_long(rows: Material) -> Finding | None:
    """Where nobody can count the base's tokens."""
    if rows.tokens:
        return None
    long = [example.row for example in rows.examples if _characters(example) > _OVER_LONG]
    what = f"there are more than {_OVER_LONG:,} characters, which is more than many services and models take."
    return in_rows("over_long", "note", long, what)


def too_long(rows: Material) -> Finding | None:
    """A row longer than the base's context cannot be trained on whole, and is never cut in silence."""
    if not rows.tokens or rows.context is None:
        return None
    counts = {example.row: rows.tokens(example) for example in rows.examples if not _fits(example, rows.context_bytes)}
    long = {row: count for row, count in counts.items() if count > rows.context}
    longest = max(long.values(), default=0)
    what = f"there are more than the {rows.context:,} tokens that the base reads; the longest has {longest:,}."
    return in_rows("too_long", "error", long, what, repair="drop")


def _characters(example: Example) -> int:
    return sum(map(len, everything(example)))


def _fits(example: Example, context_bytes: int) -> bool:
    characters = _characters(example)
    if characters > context_bytes or characters * _BYTES_OF_A_CHARACTER <= context_bytes:
        return characters <= context_bytes
    return sum(len(text.encode(errors="surrogatepass")) for text in everything(example)) <= context_bytes
