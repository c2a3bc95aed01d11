"""The rows that every contender trains on: the same token ids, in the same batches."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from bench.child import ROOT
from fewtune.bases.folder import open_encoder
from fewtune.data.checks.material import Material
from fewtune.data.checks.runner import check
from fewtune.data.encode import Encoded, Encoder
from fewtune.data.read import read
from fewtune.data.repair import repair
from fewtune.data.task import recognise
from fewtune.types import Example

DEFAULT = ROOT.parent / "shared" / "data" / "doctor_who" / "dw_synopses.csv"


def add_data_option(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DEFAULT, help="CSV with prompts and completions")


def require(data: Path) -> None:
    """Ends the program, with the reason, where the file is absent."""
    if not data.is_file():
        raise SystemExit(f"There is no data at {data}. It is not part of the project: name a CSV file with --data.")


def encoded_rows(data: str, base: str) -> tuple[Encoded, ...]:
    """The file's rows, checked and repaired as a run does it, as the base's ids, cut to its context."""
    encoder, examples = open_encoder(base), read(data).examples
    kept = repair(examples, check(Material(examples=examples, task=recognise(examples)))).examples
    return tuple(_cut(encoder, example) for example in kept)


def _cut(encoder: Encoder, example: Example) -> Encoded:
    prompt = encoder.prompt(example.prompt)
    ids = (prompt + encoder.completion(example.completion))[: encoder.context]
    return Encoded(row=example.row, ids=ids, prompt_length=len(prompt))
