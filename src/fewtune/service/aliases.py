"""Which base a name stands for: scripts that name OpenAI's models run unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rapidfuzz import process

ALIAS_HEADER = "fewtune-model-alias"
"""Says which base answered to a name that is another's: NAME=BASE."""
OPENAI_NAMES = (
    "gpt-4.1",
    "gpt-4.1-2025-04-14",
    "gpt-4.1-mini",
    "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano",
    "gpt-4.1-nano-2025-04-14",
    "gpt-4o",
    "gpt-4o-2024-05-13",
    "gpt-4o-2024-08-06",
    "gpt-4o-2024-11-20",
    "gpt-4o-mini",
    "gpt-4o-mini-2024-07-18",
    "gpt-4",
    "gpt-4-0613",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-0125",
    "gpt-3.5-turbo-0613",
    "gpt-3.5-turbo-1106",
    "babbage-002",
    "davinci-002",
    "ada",
    "babbage",
    "curie",
    "davinci",
)
"""Names that OpenAI has tuned, then and now, with the method that is offered here; listed as models."""

_FAMILY = re.compile(r"(gpt-4\.1|gpt-4\.1-mini|gpt-4\.1-nano|gpt-4o|gpt-4o-mini|gpt-3\.5-turbo)(-\d{4}(-\d\d-\d\d)?)?")
"""The dated names of these are known without being listed."""


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a name stands for."""

    base: str
    alias: str | None
    """The name, where it is another's for the base; always shown to the user."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """The bases and the names that stand for one."""

    bases: tuple[str, ...]
    """The default one first."""
    chosen: Mapping[str, str]
    """Names that whoever started the service gave to a base; they win over OpenAI's."""
    openai: bool = True
    """OpenAI's names stand for the default base."""

    def meaning(self, name: str) -> Meaning | None:
        """None where no base has the name and none stands for it."""
        if name in self.chosen:
            return Meaning(base=self.chosen[name], alias=name)
        if name in self.bases:
            return Meaning(base=name, alias=None)
        if self.openai and (name in OPENAI_NAMES or _FAMILY.fullmatch(name)):
            return Meaning(base=self.bases[0], alias=name)
        return None

    @property
    def aliases(self) -> tuple[str, ...]:
        """All that are worth listing."""
        return tuple(dict.fromkeys((*self.chosen, *(OPENAI_NAMES if self.openai else ()))))

    def nearest(self, name: str, others: Iterable[str] = ()) -> list[str]:
        """At most three names that are written most like it."""
        known = dict.fromkeys((*self.bases, *self.aliases, *others))
        return [found for found, _score, _place in process.extract(name[:200], list(known), limit=3)]
