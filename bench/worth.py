"""What a base is worth for few-shot tuning: `python -m bench.worth BASE...`, a folder or `pocket` each.

Five folds of the example tickets and orders: tuned on four, greedy answers to the fifth. Beside the tickets stands
what TF-IDF and logistic regression make of the same folds, the cheap rival. Of the episodes the loss of held-out rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from bench import report
from bench.adapt_top import mean_loss
from fewtune.data.duplicates import near_duplicates
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.likelihood import measure
from fewtune.engine.lora import Adapter
from fewtune.engine.sampler import generate
from fewtune.engine.trainer import train
from fewtune.engine.training import Task, begin
from fewtune.experiment.preparation import prepare_rows
from fewtune.experiment.settings import RunSettings
from fewtune.similarity import joined, normalise, numbered
from fewtune.types import Example, Plan

EXAMPLES = Path(__file__).parents[1] / "examples"
FOLDS = 5
PLANS = {
    "tickets": Plan(learning_rate=1.5e-4, epochs=5, batch_size=8, rank=16, alpha=32, cooldown=0.3),
    "orders": Plan(learning_rate=1e-3, epochs=12, batch_size=4, cooldown=0.3),
    "episodes": Plan(learning_rate=6e-4, epochs=4, batch_size=4, cooldown=0.3),
}
"""One plan for all bases. Rates and epochs were picked on three folds of another division of the same rows."""
FOLD_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Fold:
    train: tuple[Example, ...]
    judge: tuple[Example, ...]


def folds(name: str) -> list[Fold]:
    """Five folds in which no row stands apart from its near-duplicates, each with the labels' shares."""
    prepared = prepare_rows(RunSettings(data=str(EXAMPLES / f"{name}.csv")))
    rows, kind = prepared.kept, prepared.task
    together = joined(numbered(normalise(row.prompt) for row in rows), near_duplicates(rows, kind))
    labels = [row.completion if kind.kind == "labels" else "" for row in rows]
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=FOLD_SEED).split(rows, labels, list(together))
    return [Fold(train=tuple(rows[i] for i in a), judge=tuple(rows[i] for i in b)) for a, b in cut]


def tuned(base: BaseModel, plan: Plan, parts: Sequence[Fold]) -> list[Adapter]:
    """One adapter for each fold, trained together."""
    encode = base.encoder.example
    tasks = [Task(plan=plan, seed=0, train=tuple(map(encode, fold.train)), valid=()) for fold in parts]
    trainings = {str(number): begin(base, task) for number, task in enumerate(tasks)}
    for _ in train(base, trainings, {name: training.task.steps for name, training in trainings.items()}):
        pass
    return [training.result for training in trainings.values()]


def answers(base: BaseModel, adapter: Adapter | None, rows: Sequence[Example], longest: int) -> list[str]:
    """Greedy answers, in the order of the rows."""
    encoder = base.encoder
    prompts = (
        Prompt(id=number, ids=encoder.prompt(row.prompt), max_tokens=longest, adapter=adapter)
        for number, row in enumerate(rows)
    )
    found = {one.id: one.text for one in generate(base, prompts) if isinstance(one, Continuation)}
    return [found[number].strip() for number in range(len(rows))]


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def same(answer: str, row: Example) -> bool:
    return answer == row.completion.strip()


def same_fields(answer: str, row: Example) -> bool:
    return is_json(answer) and json.loads(answer) == json.loads(row.completion)


def share(judge: Callable[[str, Example], bool], answered: Sequence[tuple[str, Example]]) -> float:
    return sum(judge(answer, row) for answer, row in answered) / len(answered)


def worth(base: BaseModel) -> Iterator[tuple[str, list[float]]]:
    """Name of a measure, and its value on each fold."""
    for name, longest in (("tickets", 8), ("orders", 80)):
        parts = folds(name)
        adapters = tuned(base, PLANS[name], parts)
        answered = [
            list(zip(answers(base, adapter, fold.judge, longest), fold.judge, strict=True))
            for adapter, fold in zip(adapters, parts, strict=True)
        ]
        if name == "tickets":
            yield "tickets: right label", [share(same, fold) for fold in answered]
        else:
            yield "orders: valid JSON", [share(lambda answer, _: is_json(answer), fold) for fold in answered]
            yield "orders: exact", [share(same_fields, fold) for fold in answered]
    parts = folds("episodes")
    untuned = [mean_loss(measure(base, list(map(base.encoder.example, fold.judge)), None)) for fold in parts]
    yield "episodes: loss untuned", untuned
    adapters = tuned(base, PLANS["episodes"], parts)
    pairs = zip(adapters, parts, strict=True)
    yield (
        "episodes: loss tuned",
        [mean_loss(measure(base, list(map(base.encoder.example, fold.judge)), adapter)) for adapter, fold in pairs],
    )


def rival() -> list[float]:
    """Accuracy of TF-IDF of words and word pairs with logistic regression, fold by fold."""
    found: list[float] = []
    for fold in folds("tickets"):
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
        )
        model.fit([row.prompt for row in fold.train], [row.completion for row in fold.train])
        guesses = model.predict([row.prompt for row in fold.judge])
        found.append(share(same, list(zip(guesses, fold.judge, strict=True))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.worth", description=__doc__)
    parser.add_argument("bases", nargs="+")
    given = parser.parse_args()
    measured: dict[str, dict[str, list[float]]] = {"TF-IDF + logistic regression": {"tickets: right label": rival()}}
    for name in given.bases:
        measured[Path(name).name] = dict(worth(load(name)))
    headings = list(dict.fromkeys(heading for values in measured.values() for heading in values))
    rows = [[name, *(_shown(values.get(heading)) for heading in headings)] for name, values in measured.items()]
    report.show(("base", *headings), rows)
    report.write("worth", measured)


def _shown(values: list[float] | None) -> str:
    return "" if values is None else f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
