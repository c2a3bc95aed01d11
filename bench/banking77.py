"""A public labelling task at few rows: `python -m bench.banking77`.

Of Banking77 (Casanueva et al., Efficient Intent Detection with Dual Sentence Encoders, 2020) eight rows of each of its
77 intents, drawn with five seeds; every system is judged on the same rows of the test file: the tuned base, the base
with worked examples in its prompt (drawn at random, and the nearest), TF-IDF with logistic regression, and the label of
the nearest row. A row's value is the share of the five draws in which it was right, and intervals are over rows.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from bench import report
from bench.child import ROOT
from fewtune.data.read import read
from fewtune.data.shapes.shape import Columns
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.sampler import generate
from fewtune.engine.trainer import train
from fewtune.engine.training import Task, begin
from fewtune.evaluation.classifier import classify
from fewtune.evaluation.comparison import compare, corrected
from fewtune.evaluation.label_metrics import same_label
from fewtune.statistics import Interval, mean_interval
from fewtune.types import Example, Plan

DATA = ROOT.parent / "shared" / "data" / "banking77"
ROWS_A_LABEL = 8
PLAN = Plan(learning_rate=1e-3, epochs=8, batch_size=8, rank=16, alpha=32, cooldown=0.3, prompt_loss_weight=0.1)
"""That of the example tickets before their base read messages; nothing was chosen on this task."""
SHOTS = 8
LONGEST = 32
"""Tokens of an answer; the longest intent has fewer."""
TUNED = "tuned"

Answer = Callable[[Sequence[Example], Sequence[Example]], list[str]]
"""(training rows, asked rows) -> labels."""


def rows(path: Path) -> list[Example]:
    return list(read(path, columns=Columns(prompt="text", completion="category")).examples)


def draw(pool: Sequence[Example], seed: int) -> list[Example]:
    """So many rows of every label, in the order of the file."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for row in pool:
        by_label[row.completion].append(row)
    generator = random.Random(seed)
    return [row for label in sorted(by_label) for row in generator.sample(by_label[label], ROWS_A_LABEL)]


def tuned(base: BaseModel, seed: int) -> Answer:
    def answer(known: Sequence[Example], asked: Sequence[Example]) -> list[str]:
        task = Task(plan=PLAN, seed=seed, train=tuple(map(base.encoder.example, known)), valid=())
        trainings = {TUNED: begin(base, task)}
        for _ in train(base, trainings, {TUNED: task.steps}):
            pass
        adapter = trainings[TUNED].result
        ids = [base.encoder.prompt(row.prompt) for row in asked]
        return written(
            base,
            [Prompt(id=n, ids=one, max_tokens=LONGEST, adapter=adapter) for n, one in enumerate(ids)],
        )

    return answer


def prompted(base: BaseModel, choose: Callable[[Sequence[Example], Sequence[Example]], list[list[Example]]]) -> Answer:
    """With as many of the chosen examples as the context holds."""

    def answer(known: Sequence[Example], asked: Sequence[Example]) -> list[str]:
        prompts: list[Prompt] = []
        stop = (base.encoder.frame.delimiter.strip("\n"),)
        for number, (row, shots) in enumerate(zip(asked, choose(known, asked), strict=True)):
            pairs = [(shot.prompt, shot.completion) for shot in shots]
            while len(ids := base.encoder.prompt(row.prompt, pairs)) + LONGEST > base.encoder.context and pairs:
                pairs = pairs[1:]
            prompts.append(Prompt(id=number, ids=ids, max_tokens=LONGEST, stop=stop))
        return written(base, prompts)

    return answer


def written(base: BaseModel, prompts: Sequence[Prompt]) -> list[str]:
    found = {one.id: one.text for one in generate(base, iter(prompts)) if isinstance(one, Continuation)}
    return [found[number] for number in range(len(prompts))]


def at_random(seed: int) -> Callable[[Sequence[Example], Sequence[Example]], list[list[Example]]]:
    """The same for all: examples of different labels."""

    def choose(known: Sequence[Example], asked: Sequence[Example]) -> list[list[Example]]:
        one_each = list({row.completion: row for row in random.Random(seed).sample(list(known), len(known))}.values())
        return [one_each[:SHOTS]] * len(asked)

    return choose


def nearest(known: Sequence[Example], asked: Sequence[Example]) -> list[list[Example]]:
    """By the cosine of TF-IDF, the nearest last."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    there = words.fit_transform([row.prompt for row in known])
    alike = (words.transform([row.prompt for row in asked]) @ there.T).toarray()
    return [[known[place] for place in np.argsort(found, kind="stable")[-SHOTS:]] for found in alike]


def regression(known: Sequence[Example], asked: Sequence[Example]) -> list[str]:
    """The rival that every run on labels has."""
    found = classify(known, [row.prompt for row in asked])
    assert found is not None, "77 labels are enough to learn from"
    return [one.label for one in found]


def systems(base: BaseModel, seed: int) -> dict[str, Answer]:
    return {
        TUNED: tuned(base, seed),
        f"few-shot, {SHOTS} at random": prompted(base, at_random(seed)),
        f"few-shot, {SHOTS} nearest": prompted(base, nearest),
        "TF-IDF + logistic regression": regression,
        "nearest row": lambda known, asked: [shots[-1].completion for shots in nearest(known, asked)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.banking77", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train.csv and test.csv")
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--rows", type=int, default=500, help="rows of the test file that are asked")
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if not (given.data / "test.csv").is_file():
        raise SystemExit(f"There is no test.csv in {given.data}. The data are not part of the project: name --data.")
    base, pool, asked = load(given.base), rows(given.data / "train.csv"), rows(given.data / "test.csv")
    asked = random.Random(0).sample(asked, min(given.rows, len(asked)))
    right: dict[str, list[list[float]]] = defaultdict(list)
    for seed in range(given.seeds):
        for name, answer in systems(base, seed).items():
            said = answer(draw(pool, seed), asked)
            right[name].append([same_label(text, row.completion) for text, row in zip(said, asked, strict=True)])
            print(f"seed {seed}, {name}: {np.mean(right[name][-1]):.3f}", flush=True)
    show(right, len(asked))
    report.write(
        "banking77", {"rows": len(asked), "right": {name: np.mean(v, axis=1).tolist() for name, v in right.items()}}
    )


def show(right: dict[str, list[list[float]]], count: int) -> None:
    """Accuracy over draws and rows, its range over draws, and what the tuned model has more."""
    by_row = {name: np.mean(found, axis=0).tolist() for name, found in right.items()}
    against = {
        name: compare(by_row[TUNED], found, higher_is_better=True, binary=False)
        for name, found in by_row.items()
        if name != TUNED
    }
    told = corrected(against, higher_is_better=True)
    table: list[list[str]] = []
    for name, found in by_row.items():
        draws = [100 * float(np.mean(one)) for one in right[name]]
        cells = [name, percent(float(np.mean(found)), mean_interval(found)), f"{min(draws):.1f} to {max(draws):.1f}"]
        one = told.get(name)
        table.append([*cells, percent(one.value, one.interval) if one else "", one.verdict if one else ""])
    heading = f"right of {count} rows, %"
    report.show(("system", heading, "over the draws", "tuned minus it", "tuned is"), table)


def percent(value: float, interval: Interval | None) -> str:
    span = f" ({100 * interval.low:.1f} to {100 * interval.high:.1f})" if interval else ""
    return f"{100 * value:.1f}{span}"


if __name__ == "__main__":
    main()
