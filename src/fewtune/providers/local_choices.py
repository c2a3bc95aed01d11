"""The choices of one answer, as they are told."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.data.token_texts import TokenTexts
from fewtune.engine.choosing import Choice
from fewtune.providers.contract import TokenChoice


class ToldChoices:
    """Tokens as text, without what the frame puts before an answer."""

    def __init__(self, texts: TokenTexts, lead: str) -> None:
        self._texts = texts
        self._lead = lead
        """What of the frame is still to come before the answer's own text."""
        self.all: tuple[TokenChoice, ...] = ()

    def add(self, choices: Sequence[Choice]) -> tuple[TokenChoice, ...]:
        told = tuple(map(self._told, choices))
        self.all += told
        return told

    def _told(self, choice: Choice) -> TokenChoice:
        text, lead = self._texts[choice.token], self._lead
        self._lead = lead.removeprefix(text) if lead.startswith(text) else ""
        return TokenChoice(
            text="" if self._lead else text.removeprefix(lead),
            log_likelihood=choice.log_likelihood or 0.0,
            alternatives=tuple((self._texts[token].removeprefix(lead), value) for token, value in choice.alternatives),
        )
