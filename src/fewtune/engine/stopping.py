"""The text of an answer while it is being written: where it stops, and what of it may be shown already."""

from __future__ import annotations

from fewtune.data.encode import Encoder

_HALF = "\N{REPLACEMENT CHARACTER}"
"""What a decoder writes for a character whose bytes are not all there."""


class Transcript:
    """Turns tokens into text one by one, at a price that does not grow with the text."""

    def __init__(self, encoder: Encoder, stop: tuple[str, ...], *, lead: str | None = None) -> None:
        """`lead` is what is to be left out at the very beginning; None is what the encoder puts there."""
        self.text = ""
        """All whole characters so far, cut before the first stop sequence; `Encoder.answer` of the tokens."""
        self.stopped = False
        """Whether a stop sequence was written."""
        self._tokenizer = encoder.tokenizer
        self._stop = tuple(filter(None, stop))
        self._longest = max(map(len, stop), default=0)
        self._unwanted = encoder.lead if lead is None else lead
        """At the very beginning; empty once it is known whether it was there."""
        self._begun = ""
        """What was written as long as that is not known."""
        self._new: list[int] = []
        """Tokens that are not in the text yet."""
        self._before: list[int] = []
        self._before_text = ""
        """Those that came last into it: decoders may treat a token otherwise where none stands before it."""
        self.shown = 0
        """Characters that were taken."""
        self._ended = False

    def add(self, token: int) -> None:
        """Write one more token; not to be used after a stop."""
        self._new.append(token)
        text = self._new_text()
        if text and not text.endswith(_HALF):
            self._append(text)
            self._before, self._new = self._new, []
            self._before_text = self._tokenizer.decode(self._before)

    @property
    def whole(self) -> bool:
        """Whether every token so far is in the text, and none waits for the rest of its character."""
        return not self._new

    def end(self) -> None:
        """No token will follow: half a character is shown as it is."""
        if not self.stopped:
            self._append(self._new_text(), last=True)
        self._ended = True

    def take(self) -> str:
        """Text not taken before that later tokens cannot change: no half character, nothing of a stop sequence."""
        held = 0 if self._ended else max((_begun(self.text, stop) for stop in self._stop), default=0)
        settled = len(self.text) - held
        taken = self.text[self.shown : settled]
        self.shown = max(self.shown, settled)
        return taken

    def _new_text(self) -> str:
        return self._tokenizer.decode(self._before + self._new)[len(self._before_text) :]

    def _without_lead(self, text: str, *, last: bool) -> str:
        self._begun += text
        if not last and len(self._begun) < len(self._unwanted) and self._unwanted.startswith(self._begun):
            return ""
        begun, unwanted, self._begun, self._unwanted = self._begun, self._unwanted, "", ""
        return begun.removeprefix(unwanted)

    def _append(self, text: str, *, last: bool = False) -> None:
        known = len(self.text)
        self.text += self._without_lead(text, last=last)
        places = [self.text.find(stop, max(0, known - self._longest + 1)) for stop in self._stop]
        found = [place for place in places if place >= 0]
        if found:
            self.text, self.stopped, self._ended = self.text[: min(found)], True, True


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of the stop sequence."""
    begin = max(0, len(text) - len(stop) + 1)
    while (begin := text.find(stop[0], begin)) >= 0:
        if stop.startswith(text[begin:]):
            return len(text) - begin
        begin += 1
    return 0
