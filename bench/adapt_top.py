"""What adapting the upper part only costs in loss and saves in time: `python -m bench.adapt_top DATA...`.

A file is split as a run splits it. A folder with train.csv and test.csv, texts and their labels, is trained on a few
rows of each label, and judged by a sample of the test rows.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from collections.abc import Sequence
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
class Outcome:
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
        plan = Plan(learning_rate=0.0, epochs=arguments.epochs)
        first: float | None = None
        for share in SHARES:
            found = best_of_rates(base, parts, replace(plan, adapt_top=share))
            first = first or found.seconds
            print(f"| {path.stem} | {share:.0%} {cells(found, first)}", flush=True)


def cells(found: Outcome, first: float) -> str:
    """The last four cells of a line; how many times faster, counts from the first line's seconds."""
    return f"| {found.valid_loss:.3f} | {found.test_loss:.3f} | {found.seconds:.0f} | {first / found.seconds:.2f} |"


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


def best_of_rates(base: BaseModel, parts: Parts, plan: Plan, seed: int = 0) -> Outcome:
    """The plan at three rates trained together, the best rate and epoch by validation loss."""
    train_rows, valid, test = (tuple(base.encoder.example(example) for example in part) for part in parts)
    plans = {f"{r:g}": replace(plan, learning_rate=r) for r in around(learning_rate_prior(width(base.name)))}
    tasks = {name: Task(plan=one, seed=seed, train=train_rows, valid=valid) for name, one in plans.items()}
    trainings = {name: begin(base, task) for name, task in tasks.items()}
    started = time.perf_counter()
    valid_loss, adapter = _best(base, trainings)
    seconds = time.perf_counter() - started
    return Outcome(valid_loss=valid_loss, test_loss=mean_loss(measure(base, test, adapter)), seconds=seconds)


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
