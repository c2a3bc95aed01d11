"""From a file to rows that can be trained on: read, check, repair, split, count tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from fewtune import providers
from fewtune.bases.languages import languages
from fewtune.data.checks.finding import Finding
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import CHECKS, check
from fewtune.data.duplicates import near_duplicates
from fewtune.data.encode import Encoder
from fewtune.data.mask import Mask, mask
from fewtune.data.read import Dataset, read
from fewtune.data.rendering import RowShape
from fewtune.data.repair import Change, Repaired, repair
from fewtune.data.shapes.shape import Columns
from fewtune.data.split import Fold, Split, folds, leaked, split, split_beside
from fewtune.data.task import Task
from fewtune.data.tokens import TokenCount, count_tokens
from fewtune.errors import DataError, UsageError
from fewtune.experiment.asked_task import asked_task
from fewtune.experiment.display import prepared_html, rows_sum
from fewtune.experiment.settings import RunSettings
from fewtune.statistics import smallest_effect_told, smallest_share_told
from fewtune.types import Example

Decide = Callable[[Finding, Sequence[Example]], bool]
"""Whether to make a finding's repair; the examples are all rows read, by row number."""

_BYTES_A_LETTER_MAY_BECOME = 8
_MOST_MASKED = 20_000
_LEAKED = "leaked_row"
_FEW_VALIDATION_ROWS = "few_validation_rows"
_ENOUGH_ROWS, _TOO_FEW_ROWS = 60, 30
"""Validation rows that show a difference of 10 and of 20 points: with fewer it is noted, and warned about."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A data set as it will be used, and all that was found and done on the way."""

    dataset: Dataset
    given_valid: Dataset | None
    """The validation rows, where a file of their own was given for them."""
    task: Task
    findings: tuple[Finding, ...]
    accepted: frozenset[str]
    """Codes of the findings whose repair was made."""
    repaired: Repaired
    split: Split
    clusters: tuple[int, ...]
    """Numbers of the near-duplicate clusters of the kept rows."""
    encoder: Encoder | None
    """None for a hosted base, whose tokenizer is not at hand."""
    base: str
    seed: int

    @property
    def row_shape(self) -> RowShape:
        """In which the parts are written by default: as the base is given them; for a hosted base, as they came."""
        is_chat = self.encoder.recipe == "chat" if self.encoder else any(one.messages for one in self.kept)
        return "openai-chat" if is_chat else "openai-completion"

    @property
    def examples(self) -> tuple[Example, ...]:
        """All rows read, by row number."""
        return (*self.dataset.examples, *(self.given_valid.examples if self.given_valid else ()))

    @property
    def kept(self) -> tuple[Example, ...]:
        return self.repaired.examples

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.repaired.changes

    @cached_property
    def tokens(self) -> TokenCount | None:
        """Tokens of one pass over the training rows; None where the base's tokenizer is not at hand."""
        return self.encoder and count_tokens(self.split.train, self.encoder, self.seed)

    @cached_property
    def mask(self) -> Mask | None:
        """What is trained on in the first rows, and what is not; of very many rows only the first are looked at."""
        return self.encoder and mask(self.encoder, self.split.train[:_MOST_MASKED])

    def folds(self, k: int) -> tuple[Fold, ...]:
        """Divide the kept rows k times, so that each is judged once."""
        return folds(self.kept, self.task, k=k, seed=self.seed, clusters=self.clusters)

    def write(self, folder: Path, *, format: RowShape | None = None, folds: int = 0) -> dict[str, Path]:
        """Write train.jsonl, valid.jsonl, test.jsonl, repairs.jsonl, data-report.json and data-report.html.

        With `folds`, also so many folders of train.jsonl and valid.jsonl. Gives the paths by name.
        """
        from fewtune.experiment import prepared_folder

        shape = format or self.row_shape
        paths = prepared_folder.write_parts(self, folder, shape)
        if folds:
            paths |= prepared_folder.write_folds(self, folder, shape, folds)
        return paths | prepared_folder.write_report(self, folder)

    def __repr__(self) -> str:
        return f"Prepared({self.dataset.name!r}: {rows_sum(self)})"

    def _repr_html_(self) -> str:
        return prepared_html(self)


def prepare_rows(settings: RunSettings, decide: Decide | None = None) -> Prepared:
    """Read, check, repair and split; `decide` is asked for each repair that the settings leave open.

    Without `decide` the recommended repairs are made. Raises DataError for a file that cannot be read, or that
    leaves too few rows.
    """
    _check_codes((*settings.refused_repairs, *settings.accepted_repairs))
    encoder = _encoder(settings)
    dataset, given_valid = _datasets(settings)
    rows = (*dataset.examples, *(given_valid.examples if given_valid else ()))
    leaks = _leaks(_material(settings, rows, encoder), len(dataset.examples)) if given_valid else ()
    gone = {row for finding in leaks for row in finding.rows}
    material = _material(settings, [example for example in rows if example.row not in gone], encoder)
    findings = leaks + check(material)
    accepted = _accepted(findings, settings, decide, rows)
    refused = {finding.code for finding in findings} - accepted
    repaired = repair(rows, findings, refused, accepted=accepted)
    if not repaired.examples:
        raise _nothing_left(settings, len(rows), repaired)
    task = asked_task(settings.task, repaired.examples)
    clusters = _clusters(material, repaired, task)
    parts = _split(settings, repaired.examples, task, clusters, given_valid and len(dataset.examples))
    return Prepared(
        dataset=dataset,
        given_valid=given_valid,
        task=task,
        findings=findings + _resolution(parts, task),
        accepted=accepted,
        repaired=repaired,
        split=parts,
        clusters=clusters,
        encoder=encoder,
        base=settings.base,
        seed=settings.seed,
    )


def _check_codes(codes: Sequence[str]) -> None:
    # A check is named after the code of its finding.
    known = sorted([*(one.__name__ for one in CHECKS), _LEAKED])
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise UsageError(f"There is no finding {unknown[0]!r} to repair.", fix=f"There are: {', '.join(known)}.")


def _encoder(settings: RunSettings) -> Encoder | None:
    if not providers.kind(settings.provider).local_base:
        return None
    from fewtune.bases.folder import open_encoder

    return open_encoder(settings.base, settings.recipe)


def _datasets(settings: RunSettings) -> tuple[Dataset, Dataset | None]:
    columns = Columns(
        prompt=settings.prompt_column,
        completion=settings.completion_column,
        prompt_template=settings.prompt_template,
        group=settings.group_column,
        references=settings.reference_columns,
    )
    dataset = read(settings.data, columns=columns)
    if settings.valid_file is None:
        return dataset, None
    if settings.valid is not None:
        raise UsageError("--valid and --valid-file cannot both be given.", fix="Leave one of them out.")
    # Nobody answers validation rows, so they need no references.
    columns = replace(columns, references=())
    return dataset, read(settings.valid_file, columns=columns, first_row=len(dataset.examples))


def _material(settings: RunSettings, rows: Sequence[Example], encoder: Encoder | None) -> Material:
    local = providers.kind(settings.provider).local_base
    return Material(
        examples=rows,
        task=asked_task(settings.task, rows),
        context=encoder.context if encoder else None,
        context_bytes=_bytes_that_fit(encoder, rows) if encoder else 0,
        tokens=partial(_tokens, encoder) if encoder else None,
        languages=languages(settings.base) if local else None,
    )


def _tokens(encoder: Encoder, example: Example) -> int:
    """A conversation of which nothing is learnt is told by a check of its own, and has no length."""
    if example.messages and not any(message.trained for message in example.messages):
        return 0
    return len(encoder.whole(example).ids)


def _bytes_that_fit(encoder: Encoder, rows: Sequence[Example]) -> int:
    """A row of at most so many bytes has no more tokens than the base reads, whatever it says.

    A token of a byte-level tokenizer is at least a byte. Some normalise the text first, which can make several
    letters of one; and each turn of a conversation adds tokens of the template, so conversations are all counted.
    """
    if encoder.recipe == "chat" and any(example.messages for example in rows):
        return 0
    around = len(encoder.scored("", "").ids)
    return (encoder.context - around) // (1 if encoder.tokenizer.normalizer is None else _BYTES_A_LETTER_MAY_BECOME)


def _leaks(material: Material, train_rows: int) -> tuple[Finding, ...]:
    train, valid = material.examples[:train_rows], material.examples[train_rows:]
    rows = leaked(train, valid, material.task, material.clusters)
    if not rows:
        return ()
    counted = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
    sentence = f"In {counted} the text is that of a validation row, or nearly; trained on, it would flatter the result."
    return (Finding(code=_LEAKED, severity="error", rows=rows, sentence=sentence, repair="drop", recommended=True),)


def _accepted(
    findings: Sequence[Finding], settings: RunSettings, decide: Decide | None, rows: Sequence[Example]
) -> frozenset[str]:
    def accepts(finding: Finding) -> bool:
        if finding.code in settings.refused_repairs or finding.code in settings.accepted_repairs:
            return finding.code in settings.accepted_repairs
        return decide(finding, rows) if decide else finding.recommended

    return frozenset(finding.code for finding in findings if finding.repair and accepts(finding))


def _nothing_left(settings: RunSettings, rows: int, repaired: Repaired) -> DataError:
    dropped = ", ".join(f"{count} {code}" for code, count in repaired.dropped.items())
    return DataError(
        f"No row can be used: of {rows} all were dropped ({dropped}).",
        where=settings.data,
        fix="Check that the right columns were taken for prompt and completion.",
    )


def _clusters(material: Material, repaired: Repaired, task: Task) -> tuple[int, ...]:
    """Of the kept rows; found anew only where a repair changed words, or what kind of task it is."""
    clusters = {example.row: number for example, number in zip(material.examples, material.clusters, strict=True)}
    changed = any(change.after and change.code != "stray_whitespace" for change in repaired.changes)
    if changed or task.kind != material.task.kind or any(one.row not in clusters for one in repaired.examples):
        return near_duplicates(repaired.examples, task)
    return tuple(clusters[example.row] for example in repaired.examples)


def _split(
    settings: RunSettings, kept: Sequence[Example], task: Task, clusters: tuple[int, ...], train_rows: int | None
) -> Split:
    if train_rows is None:
        return split(kept, task, seed=settings.seed, valid=settings.valid, test=settings.test, clusters=clusters)
    border = sum(example.row < train_rows for example in kept)
    return split_beside(
        kept[:border], kept[border:], task, seed=settings.seed, test=settings.test, clusters=clusters[:border]
    )


def _resolution(parts: Split, task: Task) -> tuple[Finding, ...]:
    """What the validation rows cannot tell apart, in numbers."""
    rows = len(parts.valid)
    if rows >= _ENOUGH_ROWS:
        return ()
    with_rows = f"With {'1 validation row' if rows == 1 else f'{rows} validation rows'}"
    sentence = f"{with_rows} {_effect_told(rows) if task.kind == 'text' else _share_told(rows)}"
    severity = "warning" if rows < _TOO_FEW_ROWS else "note"
    return (
        Finding(
            code=_FEW_VALIDATION_ROWS, severity=severity, rows=(), sentence=sentence, repair=None, recommended=False
        ),
    )


def _share_told(rows: int) -> str:
    told = smallest_share_told(rows)
    if told is None:
        return "no two models can be told apart by their right answers."
    return (
        f"two models can be told apart by their right answers only from a difference of {100 * told:.0f} points on "
        "(95 %, and only if the better one is never worse)."
    )


def _effect_told(rows: int) -> str:
    told = smallest_effect_told(rows)
    if told is None:
        return "no two models can be told apart by their loss."
    return (
        f"two models can be told apart by their loss only if the mean difference is at least {told:.2f} times its "
        "spread from row to row (95 %)."
    )
