"""Exercises made from the pages of books by rule; what is right follows from the page."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from pretraining.exercise import Exercise, Kind, Maker, Page, asked

LONGEST_ANSWER = 110
"""Words of a passage that an exercise asks for."""

_WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
PHRASE = re.compile(r"\b(?:the|a|an|his|her|my|our|their) (?:[a-z]{3,} )?[a-z]{4,}(?: of (?:the )?[A-Za-z]{4,})?")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
_NOT_NAMES = frozenset(_WORDS["not_names"])
_NUMBERS: list[str] = _WORDS["numbers"]
_NUMBER = re.compile(r"\b(" + "|".join(_NUMBERS[1:]) + r")\b")

TOPICS: dict[str, str] = _WORDS["subjects"]
_TOPIC_OF = {word: topic for topic, words in TOPICS.items() for word in words.split()}


def continuation(rng: random.Random) -> Maker:
    ask = rng.choice(["Go on", "Continue", "What comes next?", "Write the next lines"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        if len(page.sentences) < 3:
            return None
        cut = rng.randint(1, len(page.sentences) - 1)
        before, after = page.sentences[max(0, cut - 4) : cut], page.sentences[cut:]
        return Exercise(prompt=asked(ask, " ".join(before)), answer=shortened(after))

    return make


def passage_for_title(rng: random.Random) -> Maker:
    """A title drawn from the page's own words; the page is the answer."""
    ask = rng.choice(["", "", "", "Write a passage", "Tell the story", "Title"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        phrases = PHRASE.findall(page.paragraph)
        if not phrases or len(page.paragraph.split()) < 25:
            return None
        words = [w if w in ("of", "the") and place else w.capitalize() for place, w in _placed(rng.choice(phrases))]
        return Exercise(prompt=asked(ask, " ".join(words)), answer=shortened(page.sentences))

    return make


def _placed(phrase: str) -> list[tuple[int, str]]:
    words = phrase.split()
    if words[0] in ("his", "her", "my", "our", "their"):
        words = ["the", *words[1:]]
    return list(enumerate(words))


def passage_of_book(rng: random.Random) -> Maker:
    pattern = rng.choice(["{title}, by {author}", "{author}: {title} ({year})", "From {title}, {year}"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        card = pattern.format(title=page.book.title, author=page.book.author, year=page.book.year)
        return Exercise(prompt=card, answer=shortened(page.sentences)) if len(page.sentences) > 1 else None

    return make


def shortened(sentences: Sequence[str]) -> str:
    """Whole sentences, as many as fit; at least one."""
    kept: list[str] = []
    for sentence in sentences:
        if kept and sum(len(one.split()) for one in kept) + len(sentence.split()) > LONGEST_ANSWER:
            break
        kept.append(sentence)
    return " ".join(kept)


def gap(rng: random.Random) -> Maker:
    ask = rng.choice(["", "Fill the gap", "Which word is missing?"])
    mark = rng.choice(["____", "...", "[gap]", "***"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        sentence = rng.choice(page.sentences)
        words = [word for word in _WORD.findall(sentence) if len(word) > 3]
        if not words:
            return None
        word = rng.choice(words)
        return Exercise(prompt=asked(ask, sentence.replace(word, mark, 1)), answer=word)

    return make


def book_card(rng: random.Random) -> Maker:
    patterns = [
        "{title} was written by {author} in {year}.",
        "In {year} {author} wrote {title}.",
        "{author}, {title}, {year}",
    ]
    keys = rng.choice([("title", "author", "year"), ("book", "writer", "year"), ("work", "by", "in")])
    chosen = sorted(rng.sample(range(3), k=rng.randint(1, 3)))

    def make(page: Page, rng: random.Random) -> Exercise:
        book = page.book
        text = rng.choice(patterns).format(title=book.title, author=book.author, year=book.year)
        values = (book.title, book.author, book.year)
        return Exercise(prompt=text, answer=_json({keys[place]: values[place] for place in chosen}))

    return make


def _json(fields: dict[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False)


def sentence_fields(rng: random.Random) -> Maker:
    """A JSON object of what can be read off a sentence; the chosen fields are the group's."""
    readers: dict[str, Callable[[str], object]] = {
        "first": lambda text: _WORD.findall(text)[0],
        "last": lambda text: _WORD.findall(text)[-1],
        "name": first_name,
        "number": _number,
        "question": lambda text: "?" in text,
        "speech": lambda text: '"' in text or "“" in text,
    }
    chosen = rng.sample(sorted(readers), k=rng.randint(2, 4))

    def make(page: Page, rng: random.Random) -> Exercise | None:
        sentence = rng.choice(page.sentences)
        if not _WORD.search(sentence):
            return None
        return Exercise(prompt=sentence, answer=_json({name: readers[name](sentence) for name in chosen}))

    return make


def first_name(text: str) -> str | None:
    """The first capitalised word inside a sentence that looks like a name."""
    return next((name for name in _NAME.findall(text) if name not in _NOT_NAMES), None)


def _number(text: str) -> int | None:
    found = _NUMBER.search(text)
    return _NUMBERS.index(found[1]) + 1 if found else None


def topic(rng: random.Random) -> Maker:
    """What a sentence is about, where words of exactly one topic are in it."""
    wanted = rng.sample(sorted(TOPICS), k=rng.randint(4, 12))
    ask = rng.choice(["", "", "What is it about?", f"One of {', '.join(sorted(wanted))}"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        sentence = rng.choice(page.sentences)
        found = {_TOPIC_OF[word] for word in map(str.lower, _WORD.findall(sentence)) if word in _TOPIC_OF}
        if len(found) != 1 or not found <= set(wanted):
            return None
        return Exercise(prompt=asked(ask, sentence), answer=found.pop())

    return make


def form(rng: random.Random) -> Maker:
    """A label that a simple rule gives; the names of the labels are the group's."""
    names = rng.choice([("question", "exclamation", "statement"), ("asks", "cries", "tells"), ("Q", "E", "S")])
    voices = rng.choice([("speech", "narration"), ("dialogue", "story"), ("said", "told")])
    persons = rng.choice([("first person", "third person", "neither"), ("I", "he or she", "none")])
    rules: list[Callable[[str], str]] = [
        lambda text: names[0] if "?" in text else names[1] if "!" in text else names[2],
        lambda text: voices[0] if '"' in text or "“" in text else voices[1],
        lambda text: persons[_person(text)],
    ]
    rule = rng.choice(rules)

    def make(page: Page, rng: random.Random) -> Exercise:
        sentence = rng.choice(page.sentences)
        return Exercise(prompt=sentence, answer=rule(sentence))

    return make


def _person(text: str) -> int:
    words = set(_WORD.findall(text))
    if words & {"I", "me", "my", "we", "We", "us"}:
        return 0
    return 1 if words & {"he", "He", "she", "She", "him", "her", "they", "They"} else 2


_CHANGES: dict[str, Callable[[list[str]], str]] = {
    "Sort": lambda words: ", ".join(sorted(words, key=str.lower)),
    "Reverse the list": lambda words: ", ".join(reversed(words)),
    "The first": lambda words: words[0],
    "The last": lambda words: words[-1],
    "How many": lambda words: str(len(words)),
    "The longest": lambda words: max(words, key=len),
    "Repeat": lambda words: ", ".join(words),
    "Join": lambda words: " and ".join(words),
    "As JSON": lambda words: json.dumps(words),
    "In capitals": lambda words: ", ".join(words).upper(),
}


def words(rng: random.Random) -> Maker:
    """Something done to a list of the page's words."""
    ask, change = rng.choice(sorted(_CHANGES.items()))
    shown = ask if rng.random() < 0.6 else ""

    def make(page: Page, rng: random.Random) -> Exercise | None:
        found = sorted({word.lower() for word in _WORD.findall(page.paragraph) if len(word) > 2})
        if len(found) < 6:
            return None
        chosen = rng.sample(found, k=rng.randint(2, 6))
        return Exercise(prompt=asked(shown, ", ".join(chosen)), answer=change(chosen))

    return make


_REWRITINGS: dict[str, Callable[[str], str]] = {
    "Copy": str,
    "In capitals": str.upper,
    "In small letters": str.lower,
    "As a title": str.title,
    "In quotes": lambda text: json.dumps(text, ensure_ascii=False),
    "The first word": lambda text: text.split()[0],
    "The last word": lambda text: text.split()[-1],
    "The first three words": lambda text: " ".join(text.split()[:3]),
    "The words": lambda text: str(len(text.split())),
    "Backwards": lambda text: " ".join(reversed(text.split()[:8])),
    "Letter by letter": lambda text: " ".join(max(_WORD.findall(text) or [text], key=len)),
}


def rewriting(rng: random.Random) -> Maker:
    ask, change = rng.choice(sorted(_REWRITINGS.items()))

    def make(page: Page, rng: random.Random) -> Exercise | None:
        text = rng.choice(page.sentences)
        return Exercise(prompt=asked(ask, text), answer=change(text)) if len(text) < 200 else None

    return make


def name_in_it(rng: random.Random) -> Maker:
    ask = rng.choice(["", "Who is named?", "The name"])
    nobody = rng.choice(["none", "nobody", "-"])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        sentence = rng.choice(page.sentences)
        name = first_name(sentence)
        if name is None and rng.random() < 0.8:
            return None
        return Exercise(prompt=asked(ask, sentence), answer=name or nobody)

    return make


def has_word(rng: random.Random) -> Maker:
    yes, no = rng.choice([("yes", "no"), ("true", "false"), ("1", "0")])

    def make(page: Page, rng: random.Random) -> Exercise | None:
        sentence = rng.choice(page.sentences)
        found = sorted({word for word in _WORD.findall(sentence) if len(word) > 3})
        others = sorted({word for word in _WORD.findall(page.paragraph) if len(word) > 3} - set(found))
        if not found or not others:
            return None
        there = rng.random() < 0.5
        word = rng.choice(found if there else others)
        return Exercise(prompt=f'Is "{word}" in it? {sentence}', answer=yes if there else no)

    return make


KINDS: dict[Kind, float] = {
    continuation: 0.8,
    passage_for_title: 1.4,
    passage_of_book: 0.3,
    gap: 1.0,
    book_card: 0.4,
    sentence_fields: 1.5,
    topic: 2.0,
    form: 1.0,
    words: 1.0,
    rewriting: 1.0,
    name_in_it: 1.0,
    has_word: 0.5,
}
"""Each with its weight among the groups."""
