"""What adapting the upper part only costs in loss and saves in time: `python -m bench.adapt_top DATA...`.

A file is split as a run splits it. A folder with train.csv and test.csv, texts and their labels, is trained on a few
rows of each label, and judged by a sample of the test rows.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fewtune.bases.folder import width
from fewtune.data.read import read
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.likelihood import Likelihood, measure
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Progress, train
from fewtune.engine.training import Task, Training, begin
from fewtune.experiment.preparation import prepare_rows
from fewtune.experiment.settings import RunSettings
from fewtune.search.prior import around, learning_rate_prior
from fewtune.types import Example, Plan

SHARES = (1.0, 0.5, 0.25)
TRAIN_ROWS, VALID_ROWS = 8, 2
"""Of each label, where a folder is given."""
TEST_ROWS = 500
"""Of all labels together."""

Parts = tuple[Sequence[Example], Sequence[Example], Sequence[Example]]
"""To train on, to choose the rate and the epoch with, to judge by."""


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
    parser.add_argument("--max-rows", type=int, default=400, help="of each part of a file")
    arguments = parser.parse_args()
    base = load(arguments.base)
    print("| data | adapted | validation loss | test loss | seconds | times faster |")
    print("| --- | --- | --- | --- | --- | --- |")
    for path in arguments.data:
        parts = _few_of_each_label(path) if path.is_dir() else split(path, arguments.max_rows)
        rows = list(_rows(base, path.stem, parts, arguments.epochs))
        for row in rows:
            speed = rows[0].seconds / row.seconds
            print(
                f"| {row.data} | {row.adapt_top:.0%} | {row.valid_loss:.3f} | {row.test_loss:.3f} "
                f"| {row.seconds:.0f} | {speed:.2f} |",
                flush=True,
            )


def split(path: Path, most: int | None = None) -> Parts:
    """As a run splits the file, with so many rows of each part at most."""
    parts = prepare_rows(RunSettings(data=str(path))).split
    return parts.train[:most], parts.valid[:most], parts.test[:most]


def _few_of_each_label(folder: Path) -> Parts:
    draw = random.Random(0)
    of_label: defaultdict[str, list[Example]] = defaultdict(list)
    examples = list(read(folder / "train.csv").examples)
    draw.shuffle(examples)
    for example in examples:
        of_label[example.completion].append(example)
    train_rows = [example for some in of_label.values() for example in some[:TRAIN_ROWS]]
    valid = [example for some in of_label.values() for example in some[TRAIN_ROWS : TRAIN_ROWS + VALID_ROWS]]
    return train_rows, valid, draw.sample(read(folder / "test.csv").examples, TEST_ROWS)


def _rows(base: BaseModel, name: str, parts: Parts, epochs: int) -> Iterator[Row]:
    train_rows, valid, test = ([base.encoder.example(example) for example in part] for part in parts)
    rates = around(learning_rate_prior(width(base.name)))
    for share in SHARES:
        plans = {f"{rate:g}": Plan(learning_rate=rate, epochs=epochs, adapt_top=share) for rate in rates}
        tasks = {n: Task(plan=p, seed=0, train=tuple(train_rows), valid=tuple(valid)) for n, p in plans.items()}
        trainings = {name: begin(base, task) for name, task in tasks.items()}
        started = time.perf_counter()
        best_loss, adapter = best(base, trainings)
        seconds = time.perf_counter() - started
        loss = mean_loss(measure(base, test, adapter))
        yield Row(data=name, adapt_top=share, valid_loss=best_loss, test_loss=loss, seconds=seconds)


def best(base: BaseModel, trainings: dict[str, Training]) -> tuple[float, Adapter]:
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
