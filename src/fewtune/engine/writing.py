"""One answer on its way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

from fewtune.engine.base_model import BaseModel
from fewtune.engine.choosing import Choice, Chooser
from fewtune.engine.continuation import Broken, Continuation, Ending, Piece, Prompt, Told
from fewtune.engine.shared_prefix import SharedPrefix
from fewtune.engine.stopping import Transcript


class Writing:
    """What has been read and written, and what of it was told."""

    def __init__(self, base: BaseModel, prompt: Prompt, prefix: SharedPrefix | None = None) -> None:
        """A prefix is what has been read already of the prompt's first tokens."""
        self.prompt = prompt
        self.prefix = prefix
        self.unread = prompt.ids[prefix.length :] if prefix else prompt.ids
        """What the base has not read yet: the prompt, then the token chosen last."""
        self.chooser = Chooser(
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            alternatives=prompt.alternatives,
            random=Random(prompt.seed),
        )
        self.grammar = base.json_grammars.begin(prompt.json) if prompt.json else None
        """What the answer is held to."""
        self._stop_ids = base.encoder.stop_ids
        self._limit = min(prompt.max_tokens, base.encoder.context - len(prompt.ids))
        """Tokens that may be written within the context."""
        self.end: Ending | None = "length" if self._limit <= 0 else None
        self._transcript = Transcript(base.encoder, prompt.stop, lead=base.encoder.lead if prompt.framed else "")
        self._started = time.perf_counter()
        self._tokens = 0
        self._choices: list[Choice] = []
        self._stretches: list[tuple[int, int | None]] = []
        """Of each choice, where its token's text begins and ends; it has no end while half a character stands there."""
        self._told = 0
        """Choices, of the first on."""

    def write(self, choice: Choice) -> None:
        """Add a token to the answer, or end it."""
        if choice.token in self._stop_ids:
            self.end = "stop"
        else:
            self.unread = (choice.token,)
            self._tokens += 1
            self._add(choice)
            if self.grammar:
                self.grammar.add(choice.token)
            if self._transcript.stopped or (self.grammar and self.grammar.whole):
                self.end = "stop"
            elif self._tokens >= self._limit:
                self.end = "length"
        if self.end:
            self._transcript.end()

    @property
    def ended(self) -> bool:
        return bool(self.end or self._broken)

    @property
    def _broken(self) -> str | None:
        """Why the answer cannot be held to its schema any more."""
        return self.grammar.error if self.grammar else None

    def _add(self, choice: Choice) -> None:
        begin = len(self._transcript.text)
        self._transcript.add(choice.token)
        if self.prompt.alternatives is None:
            return
        self._choices.append(choice)
        self._stretches.append((begin, None))
        if self._transcript.whole:
            place = len(self._stretches)
            while place and self._stretches[place - 1][1] is None:
                place -= 1
                self._stretches[place] = self._stretches[place][0], len(self._transcript.text)

    def withdraw(self) -> None:
        self.end = "withdrawn"
        self._transcript.end()

    def told(self) -> Iterator[Told]:
        """What is new of the answer."""
        if self._broken:
            yield Broken(id=self.prompt.id, text=self._broken)
            return
        text = self._transcript.take()
        choices = self._choices_told() if text or self.end else ()
        if text or choices:
            yield Piece(id=self.prompt.id, text=text, choices=choices)
        if self.end:
            yield Continuation(
                id=self.prompt.id,
                text=self._transcript.text,
                tokens=self._tokens,
                prompt_tokens=len(self.prompt.ids),
                stop_reason=self.end,
                seconds=time.perf_counter() - self._started,
                choices=tuple(self._choices),
            )

    def _choices_told(self) -> tuple[Choice, ...]:
        """Those of the text that was taken and not of what is held back or cut off."""
        before, count = self._told, len(self._choices)
        while self._told < count and self._is_told(*self._stretches[self._told]):
            self._told += 1
        return tuple(self._choices[before : self._told])

    def _is_told(self, begin: int, end: int | None) -> bool:
        if self._transcript.stopped:
            return begin < len(self._transcript.text)
        return bool(self.end) or (end is not None and end <= self._transcript.shown)
