"""What the checks look at, with all that several of them need worked out once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fewtune.data.duplicates import near_duplicates
from fewtune.data.language import Spoken, spoken
from fewtune.data.masking import kinds_in
from fewtune.data.placeholder import is_placeholder
from fewtune.data.task import Task, label_key
from fewtune.data.texts import everything, texts
from fewtune.types import Example

_SHARE_OF_A_LABEL = 0.02
_ROWS_OF_A_LABEL = 5


@dataclass(frozen=True, kw_only=True)
class Material:
    """The rows as they were read, and what is known of the base that is to learn them.

    What is unknown is None, and the checks that need it then say nothing.
    """

    examples: Sequence[Example]
    task: Task
    context: int | None = None
    """The longest sequence, in tokens, that the base reads."""
    context_bytes: int = 0
    """A row whose texts have no more UTF-8 bytes fits for certain: its tokens are not counted."""
    tokens: Callable[[Example], int] | None = None
    """Counts a row's tokens as the base would read it."""
    languages: Collection[str] | None = None
    """ISO 639-1 codes of the languages that the base was trained on."""

    @cached_property
    def prompts(self) -> list[str]:
        """Without the white space around them, in the order of the rows; so are the answers."""
        return [example.prompt.strip() for example in self.examples]

    @cached_property
    def answers(self) -> list[str]:
        return [example.completion.strip() for example in self.examples]

    @cached_property
    def answered(self) -> list[int]:
        """Places of the rows that can be learnt from: there is an answer, and a prompt where any row has one."""
        has_prompts = not self.is_promptless
        pairs = enumerate(zip(self.prompts, self.answers, strict=True))
        return [place for place, (prompt, answer) in pairs if answer and (prompt or not has_prompts)]

    @cached_property
    def placeholders(self) -> list[int]:
        """Places of the answers that only hold the place of one.

        A label of 2 % of the rows, and of five, is a label all the same.
        """
        held = [place for place, answer in enumerate(self.answers) if is_placeholder(answer)]
        if self.task.kind != "labels":
            return held
        counts = Counter(label_key(self.answers[place]) for place in held)
        fewest = max(_ROWS_OF_A_LABEL, _SHARE_OF_A_LABEL * len(self.examples))
        return [place for place in held if counts[label_key(self.answers[place])] < fewest]

    @cached_property
    def meant(self) -> list[int]:
        """Places of the rows whose answers are meant as such."""
        held = frozenset(self.placeholders)
        return [place for place in self.answered if place not in held]

    @cached_property
    def is_promptless(self) -> bool:
        """Whether the answers are learnt without prompts."""
        return not any(self.prompts)

    @cached_property
    def conversations(self) -> list[Example]:
        return [example for example in self.examples if example.messages is not None]

    @cached_property
    def again(self) -> list[int]:
        """Places of the rows that are equal to one before."""

        def key(place: int) -> tuple[str | None, ...]:
            example = self.examples[place]
            return self.prompts[place], self.answers[place], example.rejected, example.tools

        return [place for same in _repeated(range(len(self.examples)), key) for place in same[1:]]

    @cached_property
    def same_prompts(self) -> list[list[int]]:
        """Places of the rows whose prompts differ in no more than case and white space, where there are several."""
        return _repeated(self.meant, lambda place: " ".join(self.prompts[place].split()).casefold())

    @cached_property
    def clusters(self) -> tuple[int, ...]:
        """For each row the number of its cluster of near-duplicates; a row without an answer is like no other.

        The rows of a split are to be grouped by these, by their place among `examples`.
        """
        chosen = self.answered
        found = near_duplicates([self.examples[place] for place in chosen], self.task)
        numbers = list(range(len(chosen), len(chosen) + len(self.examples)))
        for place, number in zip(chosen, found, strict=True):
            numbers[place] = number
        return tuple(numbers)

    @cached_property
    def spoken(self) -> tuple[Spoken, ...]:
        """Languages of the prompts and, where they are free text, of the answers."""
        sides = (self.prompts, self.answers) if self.task.kind == "text" else (self.prompts,)
        return tuple(map(spoken, sides))

    @cached_property
    def private(self) -> Mapping[str, list[int]]:
        """Numbers of the rows by what secrets and personal data are in them; tools and calls are looked at as well."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for example in self.examples:
            kinds = [kind for text in everything(example) for kind in kinds_in(text)]
            for kind in dict.fromkeys(kinds):
                found[kind].append(example.row)
        return found

    def all_texts(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Row number and texts of every row."""
        return ((example.row, texts(example)) for example in self.examples)

    def rows_where(self, holds: Callable[[str], object]) -> list[int]:
        """Numbers of the rows in which it holds for one of the texts."""
        return [row for row, said in self.all_texts() if any(map(holds, said))]

    def rows_at(self, places: Sequence[int]) -> list[int]:
        return [self.examples[place].row for place in places]


def _repeated(places: Sequence[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    """The places with equal keys, for each key that several have, in order of appearance.

    Only hashes are kept, since a million keys would fill the memory; equal ones are looked at again.
    """
    first: dict[int, int] = {}
    groups: dict[int, list[int]] = {}
    for place in places:
        value = key(place)
        before = first.setdefault(hash(value), place)
        if before != place and key(before) == value:
            groups.setdefault(before, [before]).append(place)
    return list(groups.values())
