"""What happened to texts on their way into the file."""

from __future__ import annotations

from fewtune.data.checks.finding import Finding, in_rows, percent, quoted
from fewtune.data.checks.material import Material
from fewtune.data.markup import has_entity, has_markdown, has_tag, is_misread, mended

_LOST = "\ufffd"
_MOST = 0.5
_FEW = 0.05


def mojibake(rows: Material) -> Finding | None:
    """UTF-8 that was read as something else, where ftfy puts it right and leaves nothing that looks wrong."""
    found = rows.rows_where(_can_be_mended)
    if not found:
        return None
    text = next(text for _, said in rows.all_texts() for text in said if _can_be_mended(text))
    word = next((word for word in text.split() if _can_be_mended(word)), text)
    what = f"characters were read in a wrong encoding ({quoted(word)} for {quoted(mended(word))})."
    return in_rows("mojibake", "warning", found, what, repair="mend")


def encoding_damage(rows: Material) -> Finding | None:
    what = f"characters are lost, or were read in a wrong encoding and cannot be put right ({_LOST} stands for one)."
    found = rows.rows_where(_is_beyond_repair)
    return in_rows("encoding_damage", "warning", found, what, repair="drop", recommended=False)


def _can_be_mended(text: str) -> bool:
    return mended(text) != text


def _is_beyond_repair(text: str) -> bool:
    return _LOST in text or (is_misread(text) and not _can_be_mended(text))


def html_entity(rows: Material) -> Finding | None:
    """Where most rows have none, and in rows without tags: what is HTML by intent keeps its entities."""
    found = [row for row, said in rows.all_texts() if any(map(has_entity, said)) and not any(map(has_tag, said))]
    what = "characters are written as in HTML, such as &amp; for &."
    return in_rows("html_entity", "warning", _rare(rows, found), what, repair="unescape")


def html_tag(rows: Material) -> Finding | None:
    what = "there are tags of HTML, which most rows have not; if they are remains, take them out at the source."
    return in_rows("html_tag", "warning", _rare(rows, rows.rows_where(has_tag)), what)


def markdown(rows: Material) -> Finding | None:
    """In answers, where fewer than 5 % have any: a habit of the data is no flaw."""
    found = [example.row for example in rows.examples if has_markdown(example.completion)]
    share = percent(1 - len(found) / max(1, len(rows.examples)))
    what = f"the answer has marks of Markdown, such as ``` or **; {share} of the answers have none."
    return in_rows("markdown", "note", _rare(rows, found, _FEW), what)


def stray_whitespace(rows: Material) -> Finding | None:
    answered = frozenset(rows.rows_at(rows.answered))
    found = [row for row, said in rows.all_texts() if row in answered and any(text != text.strip() for text in said)]
    what = "white space stands before or after the prompt or the answer."
    return in_rows("stray_whitespace", "warning", found, what, repair="strip")


def _rare(rows: Material, found: list[int], most: float = _MOST) -> list[int]:
    return found if len(found) < most * len(rows.examples) else []
