"""The user's data as examples: what the file formats deliver, seen through the shape of its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from fewtune.data.columns import listed
from fewtune.data.formats.open import open_data
from fewtune.data.records import Table
from fewtune.data.shapes.recognise import recognise
from fewtune.data.shapes.shape import Columns, Shape
from fewtune.errors import DataError
from fewtune.types import Example

_SAMPLE = 1000
"""Records that are looked at before the shape is decided."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The rows of a file, or of the files of a folder, exactly as they stand there."""

    path: str
    sha256: str
    """Of the file's bytes, in hexadecimal; of a folder, of the names and bytes of its files."""
    examples: tuple[Example, ...]
    shape: str
    """What the rows were taken for, such as `chat messages`; several, joined by `and`, in a mixed folder."""
    prompt_columns: tuple[str, ...]
    completion_column: str
    ignored_columns: tuple[str, ...]
    """In the order of the file; nameless ones are called `unnamed column 1` and so on, by their place."""
    notes: tuple[str, ...]
    """What was found out on the way, as sentences: an encoding, a delimiter, what was left out."""

    @property
    def name(self) -> str:
        return Path(self.path).name


def read(path: str, *, columns: Columns | None = None, first_row: int = 0) -> Dataset:
    """Read a file, a folder of files, or standard input (`-`); rows are numbered from `first_row`.

    Columns that are not named are recognised by their usual names, such as `prompt` or `question`, and
    `completion` or `label`; conversations by their shape. Texts stand as they are: nothing is trimmed, and no
    type is guessed. Raises DataError, with file and line, for everything that cannot be read without a guess.
    """
    opened = open_data(path)
    parts: list[_Part] = []
    for table in opened.tables:
        parts.append(_part(table, columns or Columns(), first_row + sum(len(part.examples) for part in parts)))
    if not any(part.examples for part in parts):
        raise DataError("There is no row.", where=path, fix="Give a file with named columns and rows below them.")
    first = parts[0]
    return Dataset(
        path=path,
        sha256=opened.sha256,
        examples=tuple(chain.from_iterable(part.examples for part in parts)),
        shape=" and ".join(dict.fromkeys(part.shape for part in parts)),
        prompt_columns=first.prompt_columns,
        completion_column=first.completion_column,
        ignored_columns=first.ignored_columns,
        notes=tuple(_notes(parts)),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One table of the data."""

    file: str
    examples: list[Example]
    shape: str
    prompt_columns: tuple[str, ...]
    completion_column: str
    ignored_columns: tuple[str, ...]
    notes: tuple[str, ...]


def _part(table: Table, columns: Columns, first_row: int) -> _Part:
    sample = list(islice(table.records, _SAMPLE))
    shape = recognise(table.columns, sample, columns, f"{table.file}:{table.first_line}")
    examples = list(shape.examples(chain(sample, table.records), first_row))
    return _Part(
        file=table.file,
        examples=examples,
        shape=shape.name,
        prompt_columns=shape.prompt_columns,
        completion_column=shape.completion_column,
        ignored_columns=tuple(column for column in table.columns if column not in shape.used_columns),
        notes=(*table.notes, *shape.notes, *_references_noted(shape, examples)),
    )


def _references_noted(shape: Shape, examples: Sequence[Example]) -> tuple[str, ...]:
    if not shape.reference_columns:
        return ()
    having = sum(bool(example.references) for example in examples)
    counted = f"{having:,} of {len(examples):,} rows"
    return (f"Further good answers, in {counted}, are read from {listed(shape.reference_columns)}: judged by only.",)


def _notes(parts: Sequence[_Part]) -> Iterator[str]:
    """With the file that they are about, where there are several."""
    for part in parts:
        yield from (note if len(parts) == 1 else f"{part.file}: {note}" for note in part.notes)
