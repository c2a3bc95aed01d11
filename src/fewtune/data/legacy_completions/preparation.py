"""`prepare_data -q` of 2022, from the file to the rows of each new file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewtune.data.legacy_completions.frame import Frame, refusal
from fewtune.data.legacy_completions.pairs import Pairs, Task
from fewtune.data.legacy_completions.reading import FIELDS, choose_column, read_frame
from fewtune.data.legacy_completions.rules import RULES, Advice, Remark, empty_completions, few_rows, further_columns
from fewtune.data.legacy_completions.writing import write_parts

_MOST_VALID_ROWS = 1000
_TRAIN_SHARE = 0.8
_SEED = 42


@dataclass(frozen=True, kw_only=True)
class Prepared2022:
    """What the old tool made of a file, and what it had to say."""

    path: Path
    task: Task
    """Of the rows as they are now."""
    parts: Mapping[str, Pairs]
    """Rows by the ending of the new file's name: `_prepared`, or for classification `_prepared_train` and
    `_prepared_valid`."""
    remarks: tuple[Remark, ...]
    rows_read: int
    dropped_rows: Mapping[str, tuple[int, ...]]
    """Numbers of the dropped rows by the code of the remark. They need not be the rows that the remark is about: the
    old tool dropped by label, and labels go stale. See `long_row` in the documentation."""
    unchanged: bool
    """Nothing was to be done: the old tool wrote no file, and the given one can be used as it is."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Dropped rows by code: with the rows of all parts they add up to the rows read."""
        return {code: len(rows) for code, rows in self.dropped_rows.items()}

    @property
    def applied(self) -> tuple[str, ...]:
        """Codes of the remarks that something was done about, in that order."""
        return tuple(remark.code for remark in self.remarks if remark.applied)

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write each part as JSON lines, named after the file that was read; nothing where nothing was to be done.

        A number in brackets keeps names apart from those of files that are there already.
        """
        return () if self.unchanged else write_parts(self.parts, folder, self.path.stem)


def prepare_2022(path: Path) -> Prepared2022:
    """Read and prepare a file as `openai tools fine_tunes.prepare_data -q` of openai 0.25.0 did, to the byte.

    Raises DataError for what the old tool refused, and where it broke off with an error of its own.
    """
    file = str(path).encode(errors="replace").decode()
    frame = read_frame(path, file)
    read, remarks = _pairs(frame, file)
    pairs, remark = empty_completions(read)
    advice = [few_rows(read), *remarks, remark, *(rule(pairs) for rule in RULES)]
    said = [a.remark if isinstance(a, Advice) else a for a in advice if a]
    kept, dropped = _repaired(pairs, [a for a in advice if isinstance(a, Advice)])
    parts = _parts(kept)
    lost = _without(kept, *parts.values())
    if lost:
        said.append(_about_lost(lost))
    dropped = {"empty_completion": _without(read, pairs), **dropped, "repeated_label": lost}
    return Prepared2022(
        path=path,
        task=kept.task,
        parts=parts,
        remarks=tuple(said),
        rows_read=len(read),
        dropped_rows={code: rows for code, rows in dropped.items() if rows},
        unchanged=len(parts) == 1 and not any(remark.applied for remark in said),
    )


def _pairs(frame: Frame, file: str) -> tuple[Pairs, list[Remark | None]]:
    places = [choose_column(frame.columns, field, file) for field in FIELDS]
    names = [FIELDS[places.index(place)] if place in places else name for place, name in enumerate(frame.columns)]
    prompts, completions = (_texts(frame, place, file) for place in places)
    pairs = Pairs(prompts=prompts, completions=completions, labels=frame.labels, rows=range(len(prompts)), file=file)
    remarks = [_converted(frame), *_renamed(frame, places), further_columns(names, file)]
    return pairs, remarks


def _texts(frame: Frame, place: int, file: str) -> list[str]:
    try:
        texts = frame.as_text(frame.cells[place])
        "".join(texts).encode()
    except RecursionError as error:
        raise refusal("A value is nested too deep.", file, "Give prompts and completions as text.") from error
    except UnicodeEncodeError as error:
        what = "A text holds half a character (a lone surrogate)."
        raise refusal(what, file, "Write the character whole.") from error
    return texts


def _converted(frame: Frame) -> Remark | None:
    if not frame.converted:
        return None
    return Remark(code="format", text="The rows are written as JSON lines.", applied=True)


def _renamed(frame: Frame, places: Sequence[int]) -> list[Remark]:
    names = [(str(frame.columns[place]), field) for place, field in zip(places, FIELDS, strict=True)]
    return [
        Remark(code="column_case", text=f"The column `{name}` is called `{field}`.", applied=True)
        for name, field in names
        if name != field
    ]


def _repaired(pairs: Pairs, advice: Sequence[Advice]) -> tuple[Pairs, dict[str, tuple[int, ...]]]:
    dropped: dict[str, tuple[int, ...]] = {}
    for piece in advice:
        if piece.repair is None:
            continue
        before, pairs = pairs, piece.repair(pairs)
        dropped[piece.remark.code] = _without(before, pairs)
    return pairs, dropped


def _without(before: Pairs, *after: Pairs) -> tuple[int, ...]:
    """Rows that are in no part any more."""
    if len(before) == sum(map(len, after)):
        return ()
    left = {row for part in after for row in part.rows}
    return tuple(row for row in before.rows if row not in left)


def _about_lost(rows: tuple[int, ...]) -> Remark:
    text = f"{len(rows)} rows have the label of a row drawn for training, and are in neither file, as in 2022."
    return Remark(code="repeated_label", text=text, rows=rows, applied=True)


def _parts(pairs: Pairs) -> dict[str, Pairs]:
    if pairs.task != "classification":
        return {"_prepared": pairs}
    size = max(len(pairs) - _MOST_VALID_ROWS, int(len(pairs) * _TRAIN_SHARE))
    drawn = np.random.RandomState(_SEED).permutation(len(pairs))[:size].tolist()
    train = pairs.at(drawn)
    taken = set(train.labels)
    return {"_prepared_train": train, "_prepared_valid": pairs.kept([label not in taken for label in pairs.labels])}
