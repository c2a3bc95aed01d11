"""prepare --recipe openai-2022: what OpenAI's old tool wrote, and had to say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from fewtune.cli.show import print_json
from fewtune.data.legacy_completions.preparation import Prepared2022, prepare_2022
from fewtune.errors import UsageError
from fewtune.report.words import printable, rows_sum


def prepare_as_in_2022(data: str, out: Path | None, as_json: bool) -> None:
    """The new files stand beside the old one unless `out` names another folder, as they did."""
    if data == "-":
        raise UsageError(
            "--recipe openai-2022 names its files after the one it read.", fix="Give a file in place of '-'."
        )
    prepared = prepare_2022(Path(data))
    files = prepared.write(out or Path(data).parent)
    if as_json:
        print_json(_document(prepared, files))
    else:
        _show(prepared, files)


def _document(prepared: Prepared2022, files: tuple[Path, ...]) -> dict[str, object]:
    return {
        "schema_version": 1,
        "recipe": "openai-2022",
        "file": str(prepared.path),
        "rows_read": prepared.rows_read,
        "rows_kept": sum(len(part) for part in prepared.parts.values()),
        "dropped": dict(prepared.dropped),
        "remarks": [asdict(remark) for remark in prepared.remarks],
        "files": [str(path) for path in files],
    }


def _show(prepared: Prepared2022, files: tuple[Path, ...]) -> None:
    console = Console(highlight=False, markup=False)
    for remark in prepared.remarks:
        console.print(f"{'done' if remark.applied else 'note'}  {printable(remark.text)}", soft_wrap=True)
    kept = sum(len(part) for part in prepared.parts.values())
    console.print(rows_sum(prepared.rows_read, kept, prepared.dropped), soft_wrap=True)
    for path in files:
        console.print(str(path), soft_wrap=True)
    if not files:
        console.print("Nothing had to be done: the file can be used as it is.")
