"""What bf16 on a CPU costs in loss and saves in time, beside another seed: `python -m bench.precision DATA...`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.adapt_top import best_of_rates, cells, split
from fewtune.engine.base_model import load
from fewtune.types import Plan, Precision

CASES: tuple[tuple[Precision, int], ...] = (("fp32", 0), ("bf16", 0), ("fp32", 1))
"""Precision and seed; the last shows what chance does."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    bases = {precision: load(arguments.base, precision=precision) for precision, _ in CASES}
    plan = Plan(learning_rate=0.0, epochs=arguments.epochs)
    print("| data | precision | seed | validation loss | test loss | seconds | times faster |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in arguments.data:
        parts, first = split(path), None
        for precision, seed in CASES:
            found = best_of_rates(bases[precision], parts, plan, seed)
            first = first or found.seconds
            print(f"| {path.stem} | {precision} | {seed} {cells(found, first)}", flush=True)


if __name__ == "__main__":
    main()
