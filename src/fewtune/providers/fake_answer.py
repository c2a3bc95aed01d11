"""An answer of the fake provider, told word by word."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from rapidfuzz import fuzz

from fewtune.providers.contract import Answer, Chunk, Request, TokenChoice


class FakeAnswer:
    """The completion of the most similar pair; with no pair to go by, the prompt again."""

    def __init__(self, request: Request, pairs: Sequence[tuple[str, str]]) -> None:
        self.request = request
        self.ended = False
        asked = request.prompt if request.messages is None else request.messages[-1].content
        text = _most_similar(asked, pairs) if pairs else asked
        if request.json:
            text = json.dumps({"answer": text.strip()})
        for stop in request.stop:
            text = text.partition(stop)[0]
        self._words: list[str] = re.findall(r"\s*\S+", text.strip())
        self._told: list[TokenChoice] = []

    def next(self) -> Chunk | Answer:
        """The next word, and after the last one the whole."""
        if len(self._told) == min(len(self._words), self.request.max_tokens):
            return self._end("stop" if len(self._told) == len(self._words) else "length")
        word = self._words[len(self._told)]
        choice = self._choice(word)
        self._told.append(choice)
        return Chunk(id=self.request.id, text=word, choices=self._asked([choice]))

    def withdraw(self) -> Answer:
        return self._end("withdrawn")

    def _end(self, reason: Literal["stop", "length", "withdrawn"]) -> Answer:
        self.ended = True
        return Answer(
            id=self.request.id,
            text="".join(choice.text for choice in self._told),
            tokens=len(self._told),
            stop_reason=reason,
            seconds=0.0,
            prompt_tokens=len(self.request.prompt.split()),
            choices=self._asked(self._told),
        )

    def _choice(self, word: str) -> TokenChoice:
        """As likely as the word itself says; the alternatives are the words of the answer, ever less likely."""
        chance = -fraction(word)
        others = [word, *(other for other in dict.fromkeys(self._words) if other != word)]
        ranked = tuple((other, chance - place) for place, other in enumerate(others))
        return TokenChoice(text=word, log_likelihood=chance, alternatives=ranked[: self.request.alternatives or 0])

    def _asked(self, choices: Sequence[TokenChoice]) -> tuple[TokenChoice, ...]:
        return () if self.request.alternatives is None else tuple(choices)


def _most_similar(prompt: str, pairs: Sequence[tuple[str, str]]) -> str:
    return max(pairs, key=lambda pair: fuzz.ratio(prompt, pair[0]))[1]


def fraction(*parts: object) -> float:
    """A number from 0 to 1 that looks random and is fixed by the parts."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8]) / 2**64
