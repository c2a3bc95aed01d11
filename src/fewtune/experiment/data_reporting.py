"""What was found and done to the data, gathered into the one value that pages, terminal and `--json` show."""

from __future__ import annotations

from itertools import islice

from fewtune.data.checks.finding import Finding
from fewtune.data.mask import MaskRow
from fewtune.data.masking import masked
from fewtune.data.repair import Change
from fewtune.experiment.preparation import Prepared
from fewtune.report import words
from fewtune.report.data_part import ChangeLine, DataPart, FindingLine, MaskLine, MaskPiece
from fewtune.types import Example

_MOST_ROWS = 1_000
_MOST_CHANGES = 500


def data_part(prepared: Prepared) -> DataPart:
    counted, changes = prepared.tokens, prepared.changes
    datasets = [prepared.dataset, *([prepared.given_valid] if prepared.given_valid else [])]
    return DataPart(
        file=prepared.dataset.path,
        sha256=prepared.dataset.sha256,
        rows_read=len(prepared.examples),
        rows_kept=len(prepared.kept),
        dropped=dict(prepared.repaired.dropped),
        findings=finding_lines(prepared),
        train_rows=len(prepared.split.train),
        valid_rows=len(prepared.split.valid),
        test_rows=len(prepared.split.test),
        train_tokens=counted.all.value if counted else None,
        trained_tokens=counted.trained.value if counted else None,
        tokens_margin=counted.all.high - counted.all.value if counted else 0,
        task=prepared.task.kind,
        shape=prepared.dataset.shape,
        notes=tuple(note for dataset in datasets for note in dataset.notes),
        changes=tuple(_change_line(change) for change in islice(changes, _MOST_CHANGES)),
        changes_made=len(changes),
        mask=tuple(map(_mask_line, prepared.mask.rows)) if prepared.mask else (),
        turns_left_out=prepared.mask.left_out if prepared.mask else 0,
    )


def finding_lines(prepared: Prepared) -> tuple[FindingLine, ...]:
    return tuple(_finding_line(prepared, finding) for finding in prepared.findings)


def _finding_line(prepared: Prepared, finding: Finding) -> FindingLine:
    proposal = words.repaired(finding.repair) if finding.repair else None
    return FindingLine(
        code=finding.code,
        severity=finding.severity,
        count=len(finding.rows),
        sentence=finding.sentence,
        repair=proposal if finding.code in prepared.accepted else None,
        rows=tuple(str(prepared.examples[row].source) for row in finding.rows[:_MOST_ROWS]),
        proposal=proposal,
    )


def _change_line(change: Change) -> ChangeLine:
    return ChangeLine(
        source=str(change.source),
        code=change.code,
        before=_texts(change.before),
        after=None if change.after is None else _texts(change.after),
    )


def _texts(example: Example) -> tuple[str, str]:
    return masked(example.prompt), masked(example.completion)


def _mask_line(row: MaskRow) -> MaskLine:
    return MaskLine(
        source=str(row.source),
        tokens=row.tokens,
        trained_tokens=row.trained_tokens,
        pieces=tuple(
            MaskPiece(text=masked(piece.text), trained=piece.trained, stop=piece.is_stop) for piece in row.pieces
        ),
    )
