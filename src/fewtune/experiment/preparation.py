"""From a file to rows that can be trained on: read, check, repair, split, count tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewtune import providers
from fewtune.data.check import CHECKS, Finding, check
from fewtune.data.encode import Encoder
from fewtune.data.read import Dataset, read
from fewtune.data.repair import Change, Repaired, repair
from fewtune.data.split import Split, split
from fewtune.data.task import Task, recognise
from fewtune.data.write import write_changes, write_jsonl
from fewtune.errors import DataError, UsageError, from_os_error
from fewtune.experiment.display import prepared_html, rows_sum
from fewtune.experiment.settings import RunSettings
from fewtune.types import Example

_TOO_LONG = "too_long"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set as it will be used, and all that was found and done on the way."""

    dataset: Dataset
    task: Task
    findings: tuple[Finding, ...]
    repaired: Repaired
    split: Split
    encoder: Encoder | None
    """None for a hosted base, whose tokenizer is not at hand."""

    @property
    def kept(self) -> tuple[Example, ...]:
        return tuple(self.repaired.examples)

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(self.repaired.changes)

    def tokens(self, examples: Sequence[Example]) -> tuple[int, int] | None:
        """Tokens of one pass over the examples, and how many of them are trained on."""
        if self.encoder is None:
            return None
        encoded = [self.encoder.example(example) for example in examples]
        return sum(len(one.ids) for one in encoded), sum(one.trained_tokens for one in encoded)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write train.jsonl, valid.jsonl, test.jsonl and repairs.jsonl; gives the paths by name."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, "make the folder for the prepared rows", folder) from error
        parts = {"train": self.split.train, "valid": self.split.valid, "test": self.split.test}
        paths = {name: folder / f"{name}.jsonl" for name in (*parts, "repairs")}
        for name, examples in parts.items():
            write_jsonl(paths[name], examples)
        write_changes(paths["repairs"], self.changes)
        return paths

    def __repr__(self) -> str:
        return f"Prepared({self.dataset.path.name!r}: {rows_sum(self)})"

    def _repr_html_(self) -> str:
        return prepared_html(self)


def prepare_rows(settings: RunSettings) -> Prepared:
    """Raises DataError for a file that cannot be read, or that leaves too few rows."""
    _check_codes(settings.refused_repairs)
    encoder = _encoder(settings)
    dataset = read(
        Path(settings.data), prompt_column=settings.prompt_column, completion_column=settings.completion_column
    )
    task = recognise(dataset.examples)
    findings = check(dataset.examples, task)
    if encoder:
        findings += _too_long(dataset.examples, encoder)
    repaired = repair(dataset.examples, findings, settings.refused_repairs)
    if not repaired.examples:
        dropped = ", ".join(f"{count} {code}" for code, count in repaired.dropped.items())
        raise DataError(
            f"No row can be used: of {len(dataset.examples)} all were dropped ({dropped}).",
            where=settings.data,
            fix="Check that the right columns were taken for prompt and completion.",
        )
    task = recognise(repaired.examples)
    parts = split(repaired.examples, task, seed=settings.seed, valid=settings.valid, test=settings.test)
    return Prepared(dataset=dataset, task=task, findings=findings, repaired=repaired, split=parts, encoder=encoder)


def _check_codes(codes: Sequence[str]) -> None:
    # A check is named after the code of its finding.
    known = sorted([*(one.__name__ for one in CHECKS), _TOO_LONG])
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise UsageError(f"--no-repair has {unknown[0]!r}, which is no finding.", fix=f"There are: {', '.join(known)}.")


def _encoder(settings: RunSettings) -> Encoder | None:
    if not providers.kind(settings.provider).local_base:
        return None
    from fewtune.bases.folder import open_encoder

    return open_encoder(settings.base)


def _too_long(examples: Sequence[Example], encoder: Encoder) -> tuple[Finding, ...]:
    """A row longer than the base's context cannot be trained on whole, and is never cut in silence."""
    rows = tuple(example.row for example in examples if encoder.fit(example) is None)
    if not rows:
        return ()
    counted = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
    sentence = f"{counted} longer than the {encoder.context} tokens that the base reads."
    return (Finding(code=_TOO_LONG, severity="error", rows=rows, sentence=sentence, repair="drop", recommended=True),)
