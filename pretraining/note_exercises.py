"""Exercises on short notes as people write them today, put together from parts: the books have none of these.

No part comes from the example data or from anybody's messages; the trades are others than those of the examples.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretraining.book_exercises import PHRASE, first_name
from pretraining.exercise import Exercise, Kind, Maker, Page, asked

NAMES = [
    "Aaron",
    "Abigail",
    "Ada",
    "Adam",
    "Albert",
    "Alice",
    "Amir",
    "Amy",
    "Andrew",
    "Anna",
    "Anton",
    "Arthur",
    "Asha",
    "Barbara",
    "Ben",
    "Bruno",
    "Carla",
    "Cecil",
    "Clara",
    "Colin",
    "Daisy",
    "Daniel",
    "David",
    "Dora",
    "Edith",
    "Edward",
    "Elena",
    "Ella",
    "Emma",
    "Eric",
    "Eva",
    "Farid",
    "Felix",
    "Fiona",
    "Frank",
    "George",
    "Gita",
    "Grace",
    "Hannah",
    "Harold",
    "Harry",
    "Helen",
    "Henry",
    "Ian",
    "Ida",
    "Igor",
    "Iris",
    "Jack",
    "James",
    "Jane",
    "Jim",
    "Joan",
    "John",
    "Josef",
    "Julia",
    "Karl",
    "Kate",
    "Ken",
    "Laura",
    "Leo",
    "Lily",
    "Lucas",
    "Mabel",
    "Maria",
    "Mark",
    "Martha",
    "Mary",
    "Max",
    "Milo",
    "Mohamed",
    "Nadia",
    "Nell",
    "Nina",
    "Noor",
    "Oliver",
    "Otto",
    "Paul",
    "Peter",
    "Priya",
    "Rachel",
    "Ralph",
    "Rosa",
    "Ruby",
    "Sam",
    "Sara",
    "Sofia",
    "Stan",
    "Susan",
    "Tess",
    "Theo",
    "Thomas",
    "Tina",
    "Tom",
    "Vera",
    "Victor",
    "Wendy",
    "Will",
    "Yusuf",
    "Zoe",
]

DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "tomorrow"]
_SHORT_DAYS = {"monday": "mon", "tuesday": "tues", "wednesday": "weds", "thursday": "thurs", "saturday": "sat"}
_NUMBERS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What notes to one kind of place are about."""

    things: tuple[tuple[str, str], ...]
    """Each in the singular and the plural."""
    flag: str
    """What the note says or denies."""
    said: tuple[str, ...]
    denied: tuple[str, ...]


def _things(text: str) -> tuple[tuple[str, str], ...]:
    """`fern` has the plural ferns, `bus/es` buses, `pair of boots=pairs of boots` what it says."""
    return tuple(_numbers(part.strip()) for part in text.split(","))


def _numbers(part: str) -> tuple[str, str]:
    if "=" in part:
        one, _, many = part.partition("=")
        return one, many
    one, _, ending = part.partition("/")
    return one, one + (ending or "s")


TRADES = (
    Trade(
        things=_things(
            "rose bush/es, apple tree, bag of compost=bags of compost, clay pot, fern, hedge plant, watering can"
        ),
        flag="bring",
        said=(
            "please bring to {place}",
            "can you drop them at {place}?",
            "to be delivered to {place}",
            "bring it round",
        ),
        denied=("I'll fetch them myself", "will pick up", "we come by with the van", "my son collects", "collecting"),
    ),
    Trade(
        things=_things(
            "ladder, power drill, floor sander, cement mixer, tent, folding table, long saw, heater, lawn mower"
        ),
        flag="delivery",
        said=("needs delivery to {place}", "could your driver leave it at {place}?", "send it to {place} please"),
        denied=("will collect", "I can pick it up", "fetching it on foot", "no delivery", "I'll be in to get it"),
    ),
    Trade(
        things=_things(
            "front seat, balcony seat, family ticket, child ticket, evening ticket, season pass/es, standing place"
        ),
        flag="paid",
        said=("already paid", "I paid online", "the money went out yesterday", "paid by card"),
        denied=("will pay at the door", "not paid yet", "can I pay later?", "invoice me please"),
    ),
    Trade(
        things=_things(
            "double room, single room, room with a view=rooms with a view, attic room, pitch/es, cottage, bunk bed"
        ),
        flag="breakfast",
        said=("with breakfast", "we'd love breakfast too", "breakfast for all please", "breakfast included"),
        denied=("no breakfast", "we eat elsewhere in the morning", "without breakfast", "skip breakfast please"),
    ),
    Trade(
        things=_things(
            "bicycle, pair of boots=pairs of boots, kitchen clock, old radio, sewing machine, violin, table lamp"
        ),
        flag="urgent",
        said=("it's urgent", "I need it very soon", "as fast as you can please", "rush job, sorry"),
        denied=("no hurry", "whenever you have time", "take your time", "it can wait"),
    ),
    Trade(
        things=_things(
            "history book, atlas/es, cook book, detective novel, picture book, road map, dictionary=dictionaries"
        ),
        flag="post",
        said=("please post it to {place}", "send it by post", "mail it to {place}", "can it go to {place}?"),
        denied=("I'll get it at the desk", "keep it at the counter", "will come in", "my wife picks it up"),
    ),
)
PLACES = [
    "the old school",
    "12 Mill Lane",
    "the town hall",
    "the church hall",
    "my office",
    "the blue house",
    "number 9",
    "the farm",
    "Flat 3",
    "the garage",
    "the harbour",
    "our shop",
    "the hospital gate",
    "the tennis club",
    "22 Station Road",
    "the back door",
    "the library",
]
_ASKS = (
    "I'd like {it}",
    "Can I have {it}",
    "{it} please",
    "Could you keep {it}",
    "We need {it}",
    "put me down for {it}",
)
_CHATTER = [
    "Sorry for the short notice.",
    "Thanks so much!",
    "It's for my sister's wedding.",
    "Last time was great.",
    "Hope you are well.",
    "The weather is awful here.",
    "Call me if there's a problem.",
    "My phone is broken so text my neighbour.",
    "lol",
    "You helped my father last year.",
    "We are 6 people.",
    "I live above the bakery.",
    "Cheers",
    "I've got a bad knee.",
    "The dog ate the last one.",
    "See you then.",
    "It's a surprise so don't tell anyone.",
    "I was there at 3 and nobody answered.",
]
_KEYS = {
    "thing": ("item", "thing", "what", "article", "product"),
    "count": ("count", "number", "amount", "how_many", "quantity"),
    "day": ("day", "when", "date", "on"),
    "name": ("name", "who", "from", "customer", "person"),
    "place": ("place", "where", "address"),
}


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
    place = rng.choice(PLACES) if "{place}" in phrase else None
    thing = _thing(trade, page, count, rng)
    wish = rng.choice(_ASKS).format(it=f"{_counted(count, rng)} {thing}")
    parts = [wish + (_on(day, rng) if day else ""), *([phrase.format(place=place)] if phrase else [])]
    text = _signed(_chatted(parts, rng), name, rng)
    text = _careless(text, rng) if rng.random() < 0.35 else text
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
    return _NUMBERS[count - 1] if count <= len(_NUMBERS) and rng.random() < 0.6 else str(count)


def _on(day: str, rng: random.Random) -> str:
    if day in ("today", "tomorrow"):
        return rng.choice([f" {day}", f" for {day}", f" {day} afternoon"])
    shown = _SHORT_DAYS[day] if day in _SHORT_DAYS and rng.random() < 0.2 else day.capitalize()
    return rng.choice([f" on {shown}", f" for {shown}", f" {shown} morning", f", {shown}"])


def _chatted(parts: list[str], rng: random.Random) -> str:
    rng.shuffle(parts)
    sentences = [_sentence(part) for part in parts]
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(_CHATTER))
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


def _careless(text: str, rng: random.Random) -> str:
    """As typed on a telephone: small letters, few signs, short words."""
    text = text.lower().replace("'", "")
    for long, short in (("please", "pls"), ("you", "u"), ("thanks", "thx"), (".", ""), (",", ""), ("are", "r")):
        if rng.random() < 0.4:
            text = text.replace(long, short) if not long.isalpha() else _with_short_word(text, long, short)
    return text


def _with_short_word(text: str, long: str, short: str) -> str:
    return " ".join(short if word == long else word for word in text.split())


def note_fields(rng: random.Random) -> Maker:
    """A JSON object of what a note says; which fields, and what they are called, is the group's."""
    trade = rng.choice(TRADES)
    chosen = rng.sample(["thing", "count", "day", "name", "flag", "place"], k=rng.randint(2, 6))
    keys = {field: trade.flag if field == "flag" else rng.choice(_KEYS[field]) for field in chosen}
    capital = rng.random() < 0.3
    ask = rng.choice(["", "As JSON", *2 * [f"Fields {', '.join(keys.values())}"]])

    def make(page: Page, rng: random.Random) -> Exercise:
        made = note(trade, page, rng)
        if capital and made.day:
            made = replace(made, day=made.day.capitalize())
        answer = json.dumps({key: getattr(made, field) for field, key in keys.items()}, ensure_ascii=False)
        return Exercise(prompt=asked(ask, made.text), answer=answer)

    return make


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
        count = rng.randint(1, len(_NUMBERS))
        word = _NUMBERS[count - 1]
        if not to_digits:
            return Exercise(prompt=asked(ask, str(count)), answer=word)
        noun = rng.choice(page.paragraph.split()).strip(".,;:!?\"'").lower() or "things"
        return Exercise(prompt=asked(ask, rng.choice([word, f"{word} {noun}"])), answer=str(count))

    return make


MESSAGES: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("messages.toml").read_text())
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
        filled = f"{filled} {rng.choice(_CHATTER)}"
    elif chance < 0.4:
        filled = f"{rng.choice(_CHATTER)} {filled}"
    return _careless(filled, rng) if rng.random() < 0.2 else filled


KINDS: dict[Kind, float] = {
    note_fields: 4.0,
    note_field: 1.0,
    number_words: 0.4,
    message_topic: 3.0,
}
"""Each with its weight among the groups."""
