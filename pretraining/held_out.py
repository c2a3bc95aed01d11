"""Bits per byte of the held-out books: `python -m pretraining.held_out --corpus ... --base ... --records ...`.

On two CPU cores this takes about ten minutes for a base of eight million parameters.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pretraining.export import read_base
from pretraining.measure import bits_per_byte, measures
from pretraining.refusal import told
from pretraining.tokenizer import load
from pretraining.train import held_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True, help="measured.json is written there")
    given = parser.parse_args()
    with told():
        model, _ = read_base(given.base)
        measured = [
            {"title": book.title, "author": book.author, "bits_per_byte": bits_per_byte(model, book)}
            for book in measures(held_out(given.corpus), load(given.base))
        ]
        (given.records / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
