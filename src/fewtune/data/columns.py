"""Which column is the prompt and which the completion."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from rapidfuzz import process

from fewtune.errors import DataError, UsageError

PROMPT_NAMES = ("prompt", "input", "instruction", "message", "query", "question", "text", "title")
COMPLETION_NAMES = (
    "completion",
    "answer",
    "category",
    "intent",
    "label",
    "output",
    "reply",
    "response",
    "summary",
    "synopsis",
    "target",
)
"""Recognised whatever their case; the first name of each list wins over the others."""

_LIKE_A_PROMPT = (
    *PROMPT_NAMES,
    *("body", "customer", "description", "frage", "front", "issue", "pregunta", "request", "subject", "term", "user"),
)
_LIKE_A_COMPLETION = (
    *COMPLETION_NAMES,
    *("antwort", "assistant", "back", "class", "definition", "resolution", "respuesta", "sentiment", "solution"),
)
"""Too uncertain to be chosen by, and good enough to be proposed."""

_ADVICE = "Name the two with --prompt-column and --completion-column."
_CLOSE_ENOUGH = 60
"""Of 100, in rapidfuzz's ratio, to be proposed for a name that was not found."""
_VERY_CLOSE = 75
"""For a column that nobody named, so more is asked before it is spoken of."""
_MOST_NAMES = 20


def choose_columns(
    columns: Sequence[str], *, prompt: str | None, completion: str | None, where: str
) -> tuple[str, str]:
    """The prompt's and the completion's column: as named, otherwise by their usual names.

    Raises DataError, at `where`, for a name that is not there and where the usual names leave a doubt;
    UsageError when one column is named for both.
    """
    asked_prompt = None if prompt is None else named(columns, prompt, where)
    asked_completion = None if completion is None else named(columns, completion, where)
    if asked_prompt is not None and asked_prompt == asked_completion:
        raise UsageError(f"The column {asked_prompt!r} cannot be both the prompt and the completion.", fix=_ADVICE)
    chosen_prompt = asked_prompt or _usual("prompt", PROMPT_NAMES, columns, {asked_completion}, where)
    chosen_completion = asked_completion or _usual("completion", COMPLETION_NAMES, columns, {chosen_prompt}, where)
    return chosen_prompt, chosen_completion


def choose_completion(columns: Sequence[str], asked: str | None, taken: Collection[str], where: str) -> str:
    """The completion's column where others already make the prompt."""
    if asked is None:
        return _usual("completion", COMPLETION_NAMES, columns, {*taken}, where)
    column = named(columns, asked, where)
    if column in taken:
        raise UsageError(f"The column {column!r} cannot be both the prompt and the completion.", fix=_ADVICE)
    return column


def listed(names: Collection[str]) -> str:
    """The names, quoted, cut after twenty; the word `none` where there are none."""
    if not names:
        return "none"
    shown = ", ".join(repr(name) for name in list(names)[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else "")


def nearest(name: str, names: Collection[str]) -> str:
    """The start of an advice: 'Did you mean ...? ', or nothing where no name comes near."""
    found = process.extractOne(name, names, processor=_folded, score_cutoff=_CLOSE_ENOUGH)
    return f"Did you mean {found[0]!r}? " if found else ""


def other_separator(columns: Sequence[str]) -> str | None:
    """Advice where one column's name looks like several that something other than a comma divides."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(columns) == 1 and separator in columns[0]:
            return f"The columns seem to be separated by {name}: save the file with commas."
    return None


def named(columns: Sequence[str], name: str, where: str, advice: str = _ADVICE) -> str:
    """The column of that name, whatever its case; raises DataError, with the nearest name, where there is none."""
    alike = [column for column in columns if column == name]
    alike = alike or [column for column in columns if _folded(column) == _folded(name)]
    if len(alike) == 1:
        return alike[0]
    raise DataError(
        f"There is no single column {name!r}; there are {listed(columns)}.",
        where=where,
        fix=f"{nearest(name, columns)}{advice}",
    )


def _usual(role: str, names: Sequence[str], columns: Sequence[str], taken: set[str | None], where: str) -> str:
    free = [column for column in columns if column not in taken]
    namesakes = [column for column in free if _folded(column) == names[0]]
    alike = namesakes or [column for column in free if _folded(column) in names]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise DataError(f"Several columns could be the {role}: {listed(alike)}.", where=where, fix=_ADVICE)
    raise DataError(
        f"No column is recognised as the {role}; there are {listed(columns)}.",
        where=where,
        fix=_remedy(columns),
    )


def _remedy(columns: Sequence[str]) -> str:
    separated = other_separator(columns)
    if separated:
        return separated
    prompt, completion = _near(columns, _LIKE_A_PROMPT), _near(columns, _LIKE_A_COMPLETION)
    options = [
        f"{option} {shlex.quote(names[0])}"
        for option, names in (("--prompt-column", prompt), ("--completion-column", completion))
        if len(names) == 1 and prompt != completion
    ]
    if options:
        return f"Did you mean {' '.join(options)}? {_ADVICE}"
    return f"{_ADVICE} The first line of a CSV file must be the names."


def _near(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """Columns one of whose words is such a name, or that are nearly spelt so: to be proposed, never chosen."""
    exact = [column for column in columns if _folded(column) in names]
    spoken = [column for column in columns if not {*re.findall(r"\w+", _folded(column))}.isdisjoint(names)]
    near = (process.extractOne(column, names, processor=_folded, score_cutoff=_VERY_CLOSE) for column in columns)
    return exact or spoken or [column for column, match in zip(columns, near, strict=True) if match]


def _folded(name: str) -> str:
    return name.strip().casefold()
