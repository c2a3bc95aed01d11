"""Synopses put together from patterns by chance: plots a small model can follow, more than it can learn by heart.

A pattern in `written/plots` is a title and a synopsis with slots, as `{name}`, and choices, as `[one|another]`;
`plots.toml` says what fills the slots. No pattern comes from the example data.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pretraining.written import FOLDER, Synopsis, titled_lines

_WORDS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_PRONOUNS = {"women": ("she", "her", "her", "herself"), "men": ("he", "him", "his", "himself")}
_SLOT, _CHOICE = re.compile(r"\{([^{}]+)\}"), re.compile(r"\[([^\[\]]+)\]")
_SENTENCE_START = re.compile(r"(^|[.!?:] )([a-z])")
_SMALL = {"a", "an", "and", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"}


@cache
def patterns() -> tuple[Synopsis, ...]:
    """With their slots and choices. Raises ValueError where a slot is unknown."""
    found = tuple(one for path in sorted(FOLDER.glob("plots/*.txt")) for one in titled_lines(path))
    for one in found:
        check(one)
    return found


def check(pattern: Synopsis) -> None:
    """Raises ValueError where a slot is unknown."""
    if unknown := set(_SLOT.findall(f"{pattern.title} {pattern.text}")) - fillings(random.Random(0)).keys():
        raise ValueError(f"The pattern {pattern.title!r} has a slot that nothing fills: {', '.join(sorted(unknown))}.")


def told(pattern: Synopsis, rng: random.Random) -> Synopsis:
    """One of the stories that a pattern tells."""
    drawn = fillings(rng)
    title, text = (_filled(_chosen(part, rng), drawn) for part in (pattern.title, pattern.text))
    return Synopsis(title=_as_title(title), text=_SENTENCE_START.sub(lambda at: at[1] + at[2].upper(), text))


def fillings(rng: random.Random) -> dict[str, str]:
    """By slot, what is drawn for one story."""
    drawn = {
        f"{kind}{number}": word
        for kind in ("surname", "trade", "thing", "animal", "place", "ship", "planet", "town", "number")
        for number, word in zip(("", "2"), rng.sample(_WORDS[f"{kind}s"], k=2), strict=True)
    }
    drawn |= {f"a {name}": _with_article(drawn[name]) for name in drawn}
    drawn |= {f"an {name}": _with_article(drawn[name]) for name in ("animal", "animal2")}
    sexes = rng.sample(list(_PRONOUNS), k=2)  # one of each, so that nobody wonders who "she" is
    for number, sex in zip(("", "2"), sexes, strict=True):
        slots = (f"{slot}{number}" for slot in ("he", "him", "his", "himself"))
        drawn |= {f"name{number}": rng.choice(_WORDS[sex]), **dict(zip(slots, _PRONOUNS[sex], strict=True))}
    return {**drawn, "day": rng.choice(_DAYS)}


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _chosen(text: str, rng: random.Random) -> str:
    return _CHOICE.sub(lambda at: rng.choice(at[1].split("|")), text)


def _filled(text: str, drawn: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda at: drawn[at[1]], text)


def _with_article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _as_title(text: str) -> str:
    words = text.split()
    return " ".join(
        word if place and word in _SMALL else word[0].upper() + word[1:] for place, word in enumerate(words)
    )
