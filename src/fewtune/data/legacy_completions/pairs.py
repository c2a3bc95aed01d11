"""The rows on their way through the rules."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

Task = Literal["open-ended", "classification", "conditional"]
_ROWS_PER_LABEL = 3


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Prompts and completions side by side."""

    prompts: Sequence[str]
    completions: Sequence[str]
    labels: Sequence[Hashable]
    """By which the old tool dropped rows; the row numbers as a rule."""
    rows: Sequence[int]
    """Number of each row among those read, from 0."""
    file: str
    """Where they were read, as the user would name it."""

    def __len__(self) -> int:
        return len(self.prompts)

    def kept(self, wanted: Sequence[bool]) -> Pairs:
        """The rows whose flag is set."""
        return self.at([place for place, keep in enumerate(wanted) if keep])

    def at(self, places: Sequence[int]) -> Pairs:
        """The rows at these places, in their order."""
        return Pairs(
            prompts=[self.prompts[place] for place in places],
            completions=[self.completions[place] for place in places],
            labels=[self.labels[place] for place in places],
            rows=[self.rows[place] for place in places],
            file=self.file,
        )

    def with_prompts(self, change: Callable[[str], str]) -> Pairs:
        return replace(self, prompts=list(map(change, self.prompts)))

    def with_completions(self, change: Callable[[str], str]) -> Pairs:
        return replace(self, completions=list(map(change, self.completions)))

    @cached_property
    def task(self) -> Task:
        """Open-ended without any prompt; classification where a completion stands for more than three rows."""
        if not any(self.prompts):
            return "open-ended"
        return "classification" if len(set(self.completions)) < len(self) / _ROWS_PER_LABEL else "conditional"
