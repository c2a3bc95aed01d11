"""What the answers copy from the training rows, and what of the training rows the tuned model knows by heart."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fewtune.evaluation.memorization import Training
from fewtune.experiment.answering import scoring
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rivals import TUNED, WRITERS
from fewtune.providers.contract import Provider, Score
from fewtune.providers.refusal import answered
from fewtune.report.evaluation_part import Copying
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example

_TRIED = 50


def copying(
    prepared: Prepared, predictions: Sequence[PredictionRecord], provider: Provider, model: str, seed: int
) -> dict[str, Copying]:
    """By system, of those that write; empty for labels, where every right answer stands in the training rows."""
    if prepared.task.kind == "labels":
        return {}
    train = prepared.split.train
    training = Training([example.completion for example in train])
    expected = training.longest_span([row.completion for row in prepared.split.test]).words
    reproduced, tried = by_heart(train, provider, model, seed)
    found: dict[str, Copying] = {}
    for name in WRITERS:
        answers = [one.text for one in predictions if one.system == name and one.text is not None]
        if not answers:
            continue
        span = training.longest_span(answers)
        found[name] = Copying(
            rows=len(answers),
            longest_words=span.words,
            longest_text=span.text,
            longest_source=str(train[span.source].source) if span.words else "",
            near_copies=training.near_copies(answers),
            reproduced=reproduced if name == TUNED else 0,
            tried=tried if name == TUNED else 0,
            expected_longest_words=expected,
        )
    return found


def by_heart(train: Sequence[Example], provider: Provider, model: str, seed: int) -> tuple[int, int]:
    """How many of some training rows the tuned model would write word for word at temperature 0, and of how many.

    It would exactly where each token of the completion, and its stop, is the likeliest after those before it; so one
    reading of the row tells it, and nothing has to be written. Nothing is tried where a provider cannot tell.
    """
    if not provider.capabilities.can_score:
        return 0, 0
    rows = random.Random(seed).sample(train, min(_TRIED, len(train)))
    replies = answered(provider.sample(model, [scoring(row) for row in rows]))
    told = [all(reply.greedy) for reply in replies if isinstance(reply, Score)]
    return sum(told), len(told)
