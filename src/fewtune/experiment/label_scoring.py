"""How likely a model finds each label of the set, so that its answer can be held to the set and its confidence told."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

from fewtune.experiment.answering import Sampling, System, scoring
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note
from fewtune.providers.contract import Score
from fewtune.store.runs import PredictionRecord

_MOST_SCORES = 2_000
"""Labels times rows of one system: each is a pass over the prompt. 77 labels of 300 rows would take longer than the
training."""


def score_labels(sampling: Sampling, system: System, prepared: Prepared) -> None:
    """Have the system score every label for the rows whose labels it has not scored yet.

    Left out, with a note, where that were too many scores, and where the provider scores nothing. A label's
    likelihood is that of all its tokens and the stop, so that `card` is not favoured over `card lost`.
    """
    if not sampling.provider.capabilities.can_score:
        return
    labels, rows = prepared.task.labels, prepared.split.test
    if len(labels) * len(rows) > _MOST_SCORES:
        text = f"{len(labels)} labels for each of {len(rows)} rows are too many to score: {system.name} is judged by "
        sampling.watch(Note(text=text + "what it writes, and its confidence is not told."))
        return
    have = {row for row, one in sampling.known(system).items() if one.label_log_likelihoods}
    asked = [(row, label) for row in rows if row.row not in have for label in labels]
    requests = [
        replace(scoring(replace(row, completion=label), system.shots.get(row.row, ())), id=number)
        for number, (row, label) in enumerate(asked)
    ]
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for reply in sampling.ask(system, requests):
        row, label = asked[reply.id]
        scores = found[row.row]
        if isinstance(reply, Score):
            scores[label] = math.fsum(reply.log_likelihoods)
        if len(scores) == len(labels):
            sampling.keep(PredictionRecord(system=system.name, row=row.row, label_log_likelihoods=scores))
