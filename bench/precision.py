"""What bf16 on a CPU costs in loss and saves in time: `python -m bench.precision DATA...`, beside another seed in fp32.

Three rates together; the best rate and epoch by validation loss, then the test rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.adapt_top import Parts, best, mean_loss, split
from fewtune.bases.folder import width
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.likelihood import measure
from fewtune.engine.training import Task, begin
from fewtune.search.prior import around, learning_rate_prior
from fewtune.types import Plan, Precision

CASES: tuple[tuple[Precision, int], ...] = (("fp32", 0), ("bf16", 0), ("fp32", 1))
"""Precision and seed; the last shows what chance does."""


@dataclass(frozen=True, kw_only=True)
class Row:
    valid_loss: float
    test_loss: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--epochs", type=int, default=4)
    arguments = parser.parse_args()
    bases: dict[Precision, BaseModel] = {
        precision: load(arguments.base, precision=precision) for precision in ("fp32", "bf16")
    }
    print("| data | precision | seed | validation loss | test loss | seconds | times faster |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in arguments.data:
        first: float | None = None
        for precision, seed, row in _rows(bases, split(path), arguments.epochs):
            first = first or row.seconds
            print(
                f"| {path.stem} | {precision} | {seed} | {row.valid_loss:.3f} | {row.test_loss:.3f} "
                f"| {row.seconds:.0f} | {first / row.seconds:.2f} |",
                flush=True,
            )


def _rows(bases: dict[Precision, BaseModel], parts: Parts, epochs: int) -> Iterator[tuple[Precision, int, Row]]:
    for precision, seed in CASES:
        base = bases[precision]
        train_rows, valid, test = ([base.encoder.example(example) for example in part] for part in parts)
        plans = [Plan(learning_rate=rate, epochs=epochs) for rate in around(learning_rate_prior(width(base.name)))]
        tasks = [Task(plan=plan, seed=seed, train=tuple(train_rows), valid=tuple(valid)) for plan in plans]
        trainings = {f"{task.plan.learning_rate:g}": begin(base, task) for task in tasks}
        started = time.perf_counter()
        valid_loss, adapter = best(base, trainings)
        seconds = time.perf_counter() - started
        yield (
            precision,
            seed,
            Row(valid_loss=valid_loss, test_loss=mean_loss(measure(base, test, adapter)), seconds=seconds),
        )


if __name__ == "__main__":
    main()
