"""What adapting the upper part only costs in loss and saves in time: `python -m bench.adapt_top DATA...`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.bases.folder import width
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.likelihood import Likelihood, measure
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Progress, train
from fewtune.engine.training import Task, Training, begin
from fewtune.experiment.preparation import prepare_rows
from fewtune.experiment.settings import RunSettings
from fewtune.search.prior import around, learning_rate_prior
from fewtune.types import Plan

SHARES = (1.0, 0.5, 0.25)


@dataclass(frozen=True, kw_only=True)
class Row:
    data: str
    adapt_top: float
    valid_loss: float
    """Of the best rate and epoch."""
    test_loss: float
    """Of the same, which it did not choose."""
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--max-rows", type=int, default=400)
    arguments = parser.parse_args()
    base = load(arguments.base)
    print("| data | adapted | validation loss | test loss | seconds | times faster |")
    print("| --- | --- | --- | --- | --- | --- |")
    for path in arguments.data:
        rows = list(_rows(base, path, arguments.epochs, arguments.max_rows))
        for row in rows:
            speed = rows[0].seconds / row.seconds
            print(
                f"| {row.data} | {row.adapt_top:.0%} | {row.valid_loss:.3f} | {row.test_loss:.3f} "
                f"| {row.seconds:.0f} | {speed:.2f} |",
                flush=True,
            )


def _rows(base: BaseModel, path: Path, epochs: int, most: int) -> Iterator[Row]:
    split = prepare_rows(RunSettings(data=str(path))).split
    train_rows, valid, test = (
        [base.encoder.example(e) for e in part[:most]] for part in (split.train, split.valid, split.test)
    )
    rates = around(learning_rate_prior(width(base.name)))
    for share in SHARES:
        plans = {f"{rate:g}": Plan(learning_rate=rate, epochs=epochs, adapt_top=share) for rate in rates}
        tasks = {n: Task(plan=p, seed=0, train=tuple(train_rows), valid=tuple(valid)) for n, p in plans.items()}
        trainings = {name: begin(base, task) for name, task in tasks.items()}
        started = time.perf_counter()
        best_loss, adapter = _best(base, trainings)
        seconds = time.perf_counter() - started
        loss = mean_loss(measure(base, test, adapter))
        yield Row(data=path.stem, adapt_top=share, valid_loss=best_loss, test_loss=loss, seconds=seconds)


def _best(base: BaseModel, trainings: dict[str, Training]) -> tuple[float, Adapter]:
    """Lowest validation loss over rates and epochs, and the adapter that had it."""
    found: list[tuple[float, Adapter]] = []
    targets = {name: training.task.steps for name, training in trainings.items()}
    for event in train(base, trainings, targets):
        if isinstance(event, Progress) and event.validation:
            result = trainings[event.name].result
            found.append((mean_loss(event.validation), replace(result, flat=result.flat.clone())))
    return min(found, key=lambda one: one[0])


def mean_loss(measured: Sequence[Likelihood]) -> float:
    tokens = [value for one in measured for value in one.log_likelihoods]
    return -sum(tokens) / len(tokens)


if __name__ == "__main__":
    main()
