"""The predictions as CSV and as JSON lines. The page's script writes the same bytes: see `predictions.js`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fewtune.errors import UsageError
from fewtune.report.evaluation_part import AnswerLine
from fewtune.report.predictions import Predictions, Row, number, predictions
from fewtune.report.summary import Summary
from fewtune.report.whole_file import write_whole

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for a formula at the beginning of a cell; some take the wide signs as well."""
_MARK = "\ufeff"
"""Tells a spreadsheet that the file is UTF-8, which it would not guess."""
_LONE = re.compile("[\ud800-\udfff]")
"""Surrogates without their other half, which no file in UTF-8 can hold."""
_FACTS = ("tokens", "seconds", "seed", "stop_reason", "invalid")


def write_predictions(summary: Summary, path: Path) -> Path:
    """By the ending of the path's name; raises UsageError for one that is neither `.csv` nor `.jsonl`."""
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise UsageError(
            f"Predictions are written as .csv or .jsonl, not as {path.suffix or 'a file without an ending'}.",
            where=str(path),
            fix="Give the file one of these endings.",
        )
    write_whole(write(predictions(summary)).encode("utf-8"), path, "write the predictions")
    return path


def to_csv(found: Predictions) -> str:
    """A row for each held-out prompt; columns that no row fills are left out.

    A text that a spreadsheet would run as a formula gets an apostrophe in front. Lines end as RFC 4180 has it.
    """
    records = [_record(row, found) for row in found.rows]
    headings = list(dict.fromkeys(name for record in records for name in record))
    filled = [name for name in headings if any(record.get(name) not in (None, "") for record in records)]
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([_cell(name) for name in filled])
    writer.writerows([_cell(record.get(name)) for name in filled] for record in records)
    return _MARK + file.getvalue()


def _record(row: Row, found: Predictions) -> dict[str, Any]:
    line = row.line
    record: dict[str, Any] = {"source": line.source, "prompt": line.prompt, "expected": line.expected}
    record["references"] = _dumped(line.references) if line.references else ""
    for name in found.systems:
        record |= {f"{name}{part}": value for part, value in _columns(row.answers.get(name), found)}
    return record


def _columns(answer: AnswerLine | None, found: Predictions) -> Iterator[tuple[str, Any]]:
    """Of one system; also for a row that it did not answer, so that its columns stay together."""
    yield "", answer.samples[0] if answer and answer.samples else ""
    yield ".more_samples", _dumped(answer.samples[1:]) if answer and answer.samples[1:] else ""
    for metric in found.metrics:
        yield f".{metric.name}", number((answer.metrics or {}).get(metric.name)) if answer else None
    for fact in _FACTS:
        value = getattr(answer, fact, None)
        yield f".{fact}", number(value) if isinstance(value, float) else value


def _cell(value: Any) -> str:
    if isinstance(value, str):
        text = _LONE.sub("\ufffd", value)
        return f"'{text}" if text.startswith(_FORMULA) else text
    return "" if value is None else _written(value)


def _written(value: float) -> str:
    """As JavaScript writes it."""
    return str(value).replace("e-0", "e-")


def to_json_lines(found: Predictions) -> str:
    """A JSON object for each held-out prompt, with everything that is known of each answer, as it was written."""
    return "".join(f"{_dumped(_object(row, found))}\n" for row in found.rows)


def _object(row: Row, found: Predictions) -> dict[str, Any]:
    line = row.line
    answers = {name: _answer(row.answers[name], found) for name in found.systems if name in row.answers}
    head = {"source": line.source, "prompt": line.prompt, "expected": line.expected}
    return {**head, "references": line.references, "answers": answers}


def _answer(answer: AnswerLine, found: Predictions) -> dict[str, Any]:
    values = {one.name: number((answer.metrics or {}).get(one.name)) for one in found.metrics}
    return {
        "samples": answer.samples,
        "metrics": {name: value for name, value in values.items() if value is not None},
        "tokens": answer.tokens,
        "seconds": number(answer.seconds),
        "seed": answer.seed,
        "stop_reason": answer.stop_reason,
        "invalid": answer.invalid,
    }


def _dumped(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_WRITERS = {".csv": to_csv, ".jsonl": to_json_lines}
