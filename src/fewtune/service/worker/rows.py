"""The rows of all jobs of a base, by numbers that no two jobs share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fewtune.types import Example

_OF_ONE_JOB = 2**24
_VALIDATION = 2**23


def first_training_row(number: int) -> int:
    return number * _OF_ONE_JOB


def first_validation_row(number: int) -> int:
    return number * _OF_ONE_JOB + _VALIDATION


class Rows(Mapping[int, Example]):
    """A live mapping: jobs come and go."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[Sequence[Example], Sequence[Example]]] = {}

    def put(self, number: int, training: Sequence[Example], validation: Sequence[Example]) -> None:
        self._jobs[number] = (training, validation)

    def drop(self, number: int) -> None:
        self._jobs.pop(number, None)

    def __getitem__(self, row: int) -> Example:
        number, place = divmod(row, _OF_ONE_JOB)
        training, validation = self._jobs[number]
        try:
            return training[place] if place < _VALIDATION else validation[place - _VALIDATION]
        except IndexError:
            raise KeyError(row) from None

    def __iter__(self) -> Iterator[int]:
        for both in self._jobs.values():
            for examples in both:
                yield from (example.row for example in examples)

    def __len__(self) -> int:
        return sum(len(examples) for both in self._jobs.values() for examples in both)
