"""Tune a base on exercises with fewtune's own engine: `python -m pretraining.tune --start build/second/base ...`.

Its steps are small, and answers alone are learnt. In the large steps of `pretraining.train` a label is one token in
thirty, and what it says of the text before it is hardly heard. The adapter is merged into a base. Killed at any time,
the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch

from fewtune.bases.folder import locate
from fewtune.bases.shape import shape
from fewtune.data.encode import Encoded, Encoder
from fewtune.engine import checkpoint
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.merging import merge
from fewtune.engine.trainer import Progress, train
from fewtune.engine.training import Task, Training
from fewtune.types import Plan
from pretraining import exercises, log_line, written_exercises
from pretraining.corpus import is_held_out, read_books
from pretraining.exercise import Exercise, Kind, Page
from pretraining.exercises import LARGEST_GROUP, pages
from pretraining.measure import matrix_rate
from pretraining.refusal import told

PLAN = Plan(learning_rate=1e-3, epochs=1, batch_size=16, rank=32, alpha=64, cooldown=0.5)
ALONE_SHARE = 0.9
"""Share of the exercises without worked examples before them."""
LOG_EVERY = 100
_BOOKS = 60
_BOOK_WEIGHT = 0.5


WEIGHTS: dict[Kind, float] = {
    written_exercises.message_subject: 12.0,
    written_exercises.message_place: 0.6,
    written_exercises.order_fields: 1.0,
    written_exercises.synopsis_of_title: 0.4,
    written_exercises.title_of_synopsis: 0.2,
    **{kind: _BOOK_WEIGHT * weight / sum(exercises.KINDS.values()) for kind, weight in exercises.KINDS.items()},
}
"""Of the kinds: messages first of all, and a little of everything else, so that it stays."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    start: str
    """Folder of the base that is tuned."""
    exercises: int
    seed: int = 0


def drawn(books: Sequence[Sequence[Page]], rng: random.Random) -> Iterator[list[Exercise]]:
    """Without end: an exercise, and before it now and then others of its kind, worked out."""
    while True:
        (kind,) = rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
        wanted = 1 if rng.random() < ALONE_SHARE else rng.randint(2, LARGEST_GROUP)
        made = exercises.some(kind(rng), rng.choice(books), wanted, rng)
        if made:
            yield made


def examples(recipe: Recipe, corpus: Path, encoder: Encoder) -> tuple[Encoded, ...]:
    """What is trained on, those that the context holds."""
    books = (pages(book) for book in read_books(corpus) if not is_held_out(book))
    kept = list(islice(filter(None, books), _BOOKS))
    if not kept:
        raise ValueError(f"{corpus} has no books to train on.")
    groups = drawn(kept, random.Random(recipe.seed))
    encoded = (_encoded(encoder, row, group) for row, group in enumerate(groups))
    return tuple(islice((one for one in encoded if len(one.ids) <= encoder.context), recipe.exercises))


def _encoded(encoder: Encoder, row: int, group: Sequence[Exercise]) -> Encoded:
    *worked, last = group
    return encoder.scored(last.prompt, last.answer, [(one.prompt, one.answer) for one in worked], row=row)


def tune(recipe: Recipe, corpus: Path, work: Path, out: Path, *, minutes_per_checkpoint: float = 3.0) -> None:
    """Train from the newest checkpoint in `work`, where there is one, and write base and adapter together to `out`.

    Raises OSError, ValueError or FewtuneError for what cannot be read or written, or is of another recipe.
    """
    base = load(recipe.start)
    _claim(work, recipe)
    task = Task(plan=PLAN, seed=recipe.seed, train=examples(recipe, corpus, base.encoder), valid=())
    training = checkpoint.open_training(base, task, work / "points")
    log, saved = Log(work, recipe, training), time.monotonic()
    for progress in _steps(base, training):
        log.add(progress)
        if time.monotonic() - saved > 60 * minutes_per_checkpoint or progress.step == task.steps:
            checkpoint.save_training(training, work / "points")
            saved = time.monotonic()
    checkpoint.save_adapter(training.result, work / "adapter", base)
    out.mkdir(parents=True, exist_ok=True)
    merge(locate(recipe.start), work / "adapter", out)


def _claim(work: Path, recipe: Recipe) -> None:
    """Note whose folder it is; another recipe's points would not be this one's."""
    path, own = work / "recipe.json", json.dumps(asdict(recipe), indent=2)
    if path.exists() and path.read_text() != own:
        raise ValueError(f"{work} holds a tuning of another recipe; use another folder, or remove it.")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(own)


def _steps(base: BaseModel, training: Training) -> Iterator[Progress]:
    for event in train(base, {"base": training}, {"base": training.task.steps}):
        if not isinstance(event, Progress):
            _, error = event
            raise ValueError(f"The loss stopped being a number at step {error.step}.")
        yield event


class Log:
    """Losses and rates, in `log.jsonl` and on the terminal."""

    def __init__(self, work: Path, recipe: Recipe, training: Training) -> None:
        self._work, self._training = work, training
        self._flops_per_token = flops_per_token(shape(recipe.start).parameters)
        self._matrix_rate = matrix_rate(training.adapter.flat.device, torch.float32)
        self._losses: list[float] = []
        self._clock, self._tokens = time.monotonic(), training.tokens

    def add(self, progress: Progress) -> None:
        self._losses.append(progress.loss)
        if len(self._losses) == LOG_EVERY or progress.step == self._training.task.steps:
            now, tokens = time.monotonic(), self._training.tokens
            rate = (tokens - self._tokens) / (now - self._clock)
            log_line.append(
                self._work,
                step=progress.step,
                of=self._training.task.steps,
                tokens=tokens,
                loss=round(statistics.fmean(self._losses), 4),
                tokens_per_second=round(rate),
                share=round(rate * self._flops_per_token / self._matrix_rate, 3),
            )
            self._losses, self._clock, self._tokens = [], now, tokens


def flops_per_token(parameters: int) -> float:
    """2 for each parameter forward and 2 back: a frozen base has no gradients of its own. Attention is left out."""
    return 4 * parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--start", required=True, help="folder of the base that is tuned")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exercises", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.exercises < 1:
        parser.error("--exercises is at least 1")
    recipe = Recipe(start=given.start, exercises=given.exercises, seed=given.seed)
    with told():
        tune(recipe, given.corpus, given.work, given.out)


if __name__ == "__main__":
    main()
