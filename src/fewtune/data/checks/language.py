"""Rows in a language that the others are not in, or that the base never read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from fewtune.data.checks.finding import Finding, in_rows, some
from fewtune.data.checks.material import Material
from fewtune.data.language import same


def language_mix(rows: Material) -> Finding | None:
    """Prompts and answers are looked at apart: in translations each side has a language of its own."""
    odd = {place: code for side in rows.spoken if side.dominant for place, code in side.others.items()}
    usual = some(dict.fromkeys(side.dominant for side in rows.spoken if side.dominant))
    what = f"the language is another ({_codes(odd.values())}) than in most ({usual})."
    return in_rows("language_mix", "note", rows.rows_at(list(odd)), what, repair="drop", recommended=False)


def untrained_language(rows: Material) -> Finding | None:
    if rows.languages is None:
        return None
    foreign: dict[int, str] = {}
    for side in rows.spoken:
        if side.dominant and not _is_known(side.dominant, rows.languages):
            foreign.update((place, side.dominant) for place in side.long if place not in side.others)
        foreign.update((place, code) for place, code in side.others.items() if not _is_known(code, rows.languages))
    what = f"the language ({_codes(foreign.values())}) is none that the base was trained on."
    return in_rows("untrained_language", "warning", rows.rows_at(list(foreign)), what, repair="drop", recommended=False)


def _is_known(code: str, languages: Collection[str]) -> bool:
    return any(same(code, one) for one in languages)


def _codes(codes: Iterable[str]) -> str:
    """The most frequent first."""
    return some(code for code, _ in Counter(codes).most_common())
