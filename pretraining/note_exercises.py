"""Exercises on notes and messages as people write them today."""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pretraining.exercise import Exercise, Kind, Maker, Page, asked
from pretraining.notes import CHATTER, DAYS, NAMES, NUMBERS, TRADES, Note, careless, note

_KEYS = {
    "thing": ("item", "thing", "what", "article", "product"),
    "count": ("count", "number", "amount", "how_many", "quantity"),
    "day": ("day", "when", "date", "on"),
    "name": ("name", "who", "from", "customer", "person"),
    "place": ("place", "where", "address"),
}


def note_fields(rng: random.Random) -> Maker:
    """A JSON object of what a note says; which fields, and what they are called, is the group's."""
    trade = rng.choice(TRADES)
    ask, keys, capital = fields_of(trade.flag, rng)

    def make(page: Page, rng: random.Random) -> Exercise:
        return Exercise(
            prompt=asked(ask, (made := note(trade, page, rng)).text), answer=answer_of(made, keys, capital=capital)
        )

    return make


def fields_of(flag: str, rng: random.Random) -> tuple[str, dict[str, str], bool]:
    """How a group asks for fields, what it calls them, and whether its days begin with a capital."""
    chosen = rng.sample(["thing", "count", "day", "name", "flag", "place"], k=rng.randint(2, 6))
    keys = {field: flag if field == "flag" else rng.choice(_KEYS[field]) for field in chosen}
    capital = rng.random() < 0.3
    return rng.choice(["", "As JSON", *2 * [f"Fields {', '.join(keys.values())}"]]), keys, capital


def answer_of(made: Note, keys: Mapping[str, str], *, capital: bool) -> str:
    """The fields of a note as JSON."""
    if capital and made.day:
        made = replace(made, day=made.day.capitalize())
    return json.dumps({key: getattr(made, field) for field, key in keys.items()}, ensure_ascii=False)


def note_field(rng: random.Random) -> Maker:
    """One thing that a note says, as it stands."""
    trade = rng.choice(TRADES)
    field = rng.choice(["thing", "count", "day", "name", "flag"])
    nothing = rng.choice(["none", "null", "not said"])
    ask = rng.choice(["", {"flag": trade.flag}.get(field, rng.choice(_KEYS.get(field, (field,))))])

    def make(page: Page, rng: random.Random) -> Exercise:
        made = note(trade, page, rng)
        value = getattr(made, field)
        shown = nothing if value is None else ("yes" if value else "no") if isinstance(value, bool) else str(value)
        return Exercise(prompt=asked(ask, made.text), answer=shown)

    return make


def number_words(rng: random.Random) -> Maker:
    to_digits = rng.random() < 0.6
    ask = rng.choice(["", "In digits" if to_digits else "In words"])

    def make(page: Page, rng: random.Random) -> Exercise:
        count = rng.randint(1, len(NUMBERS))
        word = NUMBERS[count - 1]
        if not to_digits:
            return Exercise(prompt=asked(ask, str(count)), answer=word)
        noun = rng.choice(page.paragraph.split()).strip(".,;:!?\"'").lower() or "things"
        return Exercise(prompt=asked(ask, rng.choice([word, f"{word} {noun}"])), answer=str(count))

    return make


MESSAGES: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("messages.toml").read_text(encoding="utf-8"))
"""By subject: sentences with gaps."""

_OTHER_NAMES = {
    "money": ("money", "payments", "bill"),
    "sending": ("post", "shipping", "parcels"),
    "access": ("login", "members", "profile"),
    "broken": ("broken", "faults", "defect"),
    "money_back": ("money back", "returns", "repayment"),
    "thanks": ("thanks", "happy", "compliment"),
    "stopping": ("stop", "withdrawal", "end it"),
    "question": ("question", "information", "what is it like"),
}
"""What some subjects are called from group to group."""


def message_topic(rng: random.Random) -> Maker:
    """What a message is about, among some subjects."""
    wanted = rng.sample(sorted(MESSAGES), k=rng.randint(3, 12))
    names = {subject: rng.choice(_OTHER_NAMES.get(subject, (subject,))) for subject in wanted}
    ask = rng.choice(["", "", "What is it about?", f"One of {', '.join(sorted(names.values()))}"])

    def make(_: Page, rng: random.Random) -> Exercise:
        subject = rng.choice(wanted)
        return Exercise(prompt=asked(ask, _message(MESSAGES[subject], rng)), answer=names[subject])

    return make


def _message(templates: Sequence[str], rng: random.Random) -> str:
    things = [one for trade in TRADES for one, _ in trade.things]
    filled = rng.choice(templates).format(
        thing=rng.choice(things), day=rng.choice(DAYS[:7]).capitalize(), n=rng.randint(2, 40), name=rng.choice(NAMES)
    )
    chance = rng.random()
    if chance < 0.3:
        filled = f"{filled} {rng.choice(CHATTER)}"
    elif chance < 0.4:
        filled = f"{rng.choice(CHATTER)} {filled}"
    return careless(filled, rng) if rng.random() < 0.2 else filled


KINDS: dict[Kind, float] = {
    note_fields: 4.0,
    note_field: 1.0,
    number_words: 0.4,
    message_topic: 3.0,
}
"""Each with its weight among the groups."""
