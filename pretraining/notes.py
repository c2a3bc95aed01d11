"""Short notes as people write them today, put together from parts: the books have none of these.

No part comes from the example data or from anybody's messages; the trades are others than those of the examples.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pretraining.book_exercises import PHRASE, first_name
from pretraining.exercise import Page

_PARTS = tomllib.loads(Path(__file__).with_name("notes.toml").read_text(encoding="utf-8"))

NAMES: list[str] = _PARTS["names"]
CHATTER: list[str] = _PARTS["chatter"]
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "tomorrow")
_SHORT_DAYS = {"monday": "mon", "tuesday": "tues", "wednesday": "weds", "thursday": "thurs", "saturday": "sat"}
NUMBERS: list[str] = _PARTS["numbers"]
"""From one on."""


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What notes to one kind of place are about."""

    things: list[tuple[str, str]]
    """Each in the singular and the plural."""
    flag: str
    """What the note says or denies."""
    said: list[str]
    denied: list[str]


TRADES = [Trade(**{**trade, "things": [(one, many) for one, many in trade["things"]]}) for trade in _PARTS["trades"]]


@dataclass(frozen=True, kw_only=True)
class Note:
    text: str
    thing: str
    count: int
    day: str | None
    name: str | None
    flag: bool
    place: str | None


def note(trade: Trade, page: Page, rng: random.Random) -> Note:
    """A note to one trade; now and then about a thing, or from a person, of the page, so that any word can be one."""
    count = rng.choice([1, 1, 2, 2, 3, rng.randint(4, 20), rng.randint(21, 99)])
    day = rng.choice([None, None, None, *DAYS])
    name = rng.choice([None, rng.choice(NAMES), first_name(page.paragraph)])
    flag = rng.choice([True, False, None])
    phrase = "" if flag is None else rng.choice(trade.said if flag else trade.denied)
    place = rng.choice(_PARTS["places"]) if "{place}" in phrase else None
    thing = _thing(trade, page, count, rng)
    wish = rng.choice(_PARTS["wishes"]).format(it=f"{_counted(count, rng)} {thing}")
    parts = [wish + (_on(day, rng) if day else ""), *([phrase.format(place=place)] if phrase else [])]
    text = _signed(_chatted(parts, rng), name, rng)
    text = careless(text, rng) if rng.random() < 0.35 else text
    return Note(text=text, thing=thing, count=count, day=day, name=name, flag=bool(flag), place=place)


def _thing(trade: Trade, page: Page, count: int, rng: random.Random) -> str:
    phrases = PHRASE.findall(page.paragraph)
    if phrases and rng.random() < 0.35:
        one = rng.choice(phrases).partition(" of ")[0].partition(" ")[2]
        return one if count == 1 or one.endswith("s") else one + "s"
    one, many = rng.choice(trade.things)
    return one if count == 1 else many


def _counted(count: int, rng: random.Random) -> str:
    if count == 1:
        return rng.choice(["a", "one", "1", "the"])
    if count in (6, 12) and rng.random() < 0.5:
        return "half a dozen" if count == 6 else "a dozen"
    return NUMBERS[count - 1] if count <= len(NUMBERS) and rng.random() < 0.6 else str(count)


def _on(day: str, rng: random.Random) -> str:
    if day in ("today", "tomorrow"):
        return rng.choice([f" {day}", f" for {day}", f" {day} afternoon"])
    shown = _SHORT_DAYS[day] if day in _SHORT_DAYS and rng.random() < 0.2 else day.capitalize()
    return rng.choice([f" on {shown}", f" for {shown}", f" {shown} morning", f", {shown}"])


def _chatted(parts: list[str], rng: random.Random) -> str:
    rng.shuffle(parts)
    sentences = [_sentence(part) for part in parts]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(CHATTER))
    return rng.choice(["", "", "Hello. ", "Hi! ", "Good morning, ", "Hi there, ", "hey "]) + " ".join(sentences)


def _sentence(part: str) -> str:
    return part[0].upper() + part[1:] + ("" if part.endswith(("?", "!")) else ".")


def _signed(text: str, name: str | None, rng: random.Random) -> str:
    if name is None:
        return text
    before = [f"{name} here. {text}", f"This is {name}. {text}", f"It's {name} again. {text}", f"I'm {name}. {text}"]
    after = [
        f"{text} {name}",
        f"{text} Regards, {name}",
        f"{text} - {name}",
        f"{text} Thanks, {name}",
        f"{text} Yours, {name}",
    ]
    return rng.choice(before + after)


def careless(text: str, rng: random.Random) -> str:
    """As typed on a telephone: small letters, few signs, short words."""
    text = text.lower().replace("'", "")
    for long, short in (("please", "pls"), ("you", "u"), ("thanks", "thx"), (".", ""), (",", ""), ("are", "r")):
        if rng.random() < 0.4:
            text = text.replace(long, short) if not long.isalpha() else _with_short_word(text, long, short)
    return text


def _with_short_word(text: str, long: str, short: str) -> str:
    return " ".join(short if word == long else word for word in text.split())
