"""Whether a search's winner beats base, few-shot prompt and, for labels, what needs no model, on rows that took no
part in choosing it.

Everything is scored and nothing sampled, which costs about as much as one validation of each system that has a model.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fewtune.data.chat import asked
from fewtune.data.encode import Encoder
from fewtune.data.split import Split
from fewtune.evaluation.baselines import choose_shots
from fewtune.evaluation.metrics import PRIMARY
from fewtune.evaluation.text_metrics import exact_match
from fewtune.experiment.answering import Sampling, System, pairs, score_rows
from fewtune.experiment.finals import trainings
from fewtune.experiment.measuring import Score
from fewtune.experiment.outcome import Outcome
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note, Progress, Watch
from fewtune.experiment.rivals import BASE_SYSTEM, FEW_SHOT, MAJORITY, NEAREST, TF_IDF, TUNED, looked_up
from fewtune.providers.contract import BASE
from fewtune.search.folds import Finalist
from fewtune.search.worth import Worth, worth
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example

Models = Mapping[str, float]
"""Models by name, with the share that each has in a row's score."""
Read = Callable[[PredictionRecord], float]
"""A row's score from its tokens."""
_WITHOUT_MODEL = (MAJORITY, NEAREST, TF_IDF)
"""Rivals of labels that cost no token."""


@dataclass(frozen=True, kw_only=True)
class Weighed:
    score: Score
    by: str | None = None
    """`folds` or `resampling`: how it was seen to that no row chose what it judges."""
    worth: Worth | None = None
    rows: Mapping[str, tuple[float, ...]] | None = None
    """By system, the score of each row: the loss of an answer without its stop, or 1 where it went wrong, else 0."""
    reason: str = ""
    """Why nothing was compared, where nothing was."""


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """One row, with what would be chosen without it."""

    example: Example
    fold: int
    models: Models


def weigh(sampling: Sampling, prepared: Prepared, outcome: Outcome, shots: int, seed: int) -> Weighed:
    """Score the rows of the nested estimate with the rivals, and with what would be chosen without each row.

    In the task's primary metric, whatever the trials were chosen by, so that a sweep does not say of tuning what a
    run denies. Neither loss nor exact answer looks at the stop token: a prompt cannot teach the base where an answer
    ends, and the comparison should not turn on that.
    """
    measure: Score = "loss" if PRIMARY[prepared.task.kind] == "loss" else "exact_match"
    if not sampling.provider.capabilities.can_score:
        reason = "this provider does not tell how likely a given answer is, so base and few-shot prompt have no score"
        return Weighed(score=measure, reason=reason)
    judged = _judged(sampling, outcome)
    if not judged:
        reason = "the validation rows are too few to choose with some and judge with others"
        return Weighed(score=measure, reason=reason)
    read = _wrong if measure == "exact_match" else _loss
    tuned = _tuned(sampling, judged, read)
    rivals = _prompted(sampling, prepared, outcome, judged, shots, seed, read)
    if prepared.task.kind == "labels":
        rivals |= _without_model(sampling.watch, prepared, outcome, judged)
    if measure == "exact_match":
        # Several samples or seeds stand for one answer: it is wrong where most of them are, and where half are.
        tuned = tuple(float(value >= 0.5) for value in tuned)
    groups = [one.fold for one in judged] if outcome.choice.by == "folds" else None
    return Weighed(
        score=measure,
        by=outcome.choice.by,
        worth=worth(tuned, rivals, groups=groups, binary=measure == "exact_match"),
        rows={**rivals, TUNED: tuned},
    )


def _judged(sampling: Sampling, outcome: Outcome) -> tuple[_Judged, ...]:
    estimate, choice, search = outcome.choice.estimate, outcome.choice, outcome.search
    if estimate is None:
        return ()
    rows = [(fold, one) for fold in sorted(set(choice.groups or (0,))) for one in search.folds[fold].judge]
    checkpoints = {(one.trial_id, one.epoch): one.model for one in sampling.store.checkpoints(sampling.run_id)}
    plans = {one.id: one for one in outcome.readings}

    def models(shares: Mapping[str, float], fold: int) -> Models:
        found: dict[str, float] = {}
        for name, share in shares.items():
            epochs = plans[name].plan.epochs
            trained = trainings(search, Finalist(candidate=plans[name].candidate, epochs=epochs))
            own = [trial for (one, place), trial in trained.items() if one == fold and (choice.groups or place == 0)]
            found |= {checkpoints[trial, epochs]: share / len(own) for trial in own}
        return found

    chosen = zip(estimate.positions, estimate.choices, strict=True)
    return tuple(
        _Judged(example=rows[place][1], fold=rows[place][0], models=models(shares, rows[place][0]))
        for place, shares in chosen
    )


def _tuned(sampling: Sampling, judged: Sequence[_Judged], read: Read) -> tuple[float, ...]:
    """Each row by what would be chosen without it; only the models that a row asks for score it."""
    wanted: dict[str, list[Example]] = defaultdict(list)
    for one in judged:
        for model in one.models:
            wanted[model].append(one.example)
    scored = {model: score_rows(sampling, System(name=model, model=model), rows) for model, rows in wanted.items()}
    return tuple(
        math.fsum(share * read(scored[model][one.example.row]) for model, share in one.models.items()) for one in judged
    )


def _prompted(
    sampling: Sampling,
    prepared: Prepared,
    outcome: Outcome,
    judged: Sequence[_Judged],
    shots: int,
    seed: int,
    read: Read,
) -> dict[str, tuple[float, ...]]:
    """The base, and the base with worked examples from the rows that the fold trains on; none where none fits."""
    base = score_rows(sampling, System(name=BASE_SYSTEM, model=BASE), [one.example for one in judged])
    rivals = {BASE_SYSTEM: tuple(read(base[one.example.row]) for one in judged)}
    shown: dict[int, PredictionRecord] = {}
    for fold in dict.fromkeys(one.fold for one in judged):
        rows = [one.example for one in judged if one.fold == fold]
        chosen = choose_shots(outcome.search.folds[fold].train, shots, seed, _fitting(prepared.encoder, rows))
        if not chosen:
            return rivals
        shots_of = {row.row: pairs(chosen) for row in rows}
        shown |= score_rows(sampling, System(name=FEW_SHOT, model=BASE, shots=shots_of), rows)
    return {**rivals, FEW_SHOT: tuple(read(shown[one.example.row]) for one in judged)}


def _without_model(
    watch: Watch, prepared: Prepared, outcome: Outcome, judged: Sequence[_Judged]
) -> dict[str, tuple[float, ...]]:
    """1 for each row that a rival labels wrongly from the rows that the fold trains on, else 0; case counts, as it
    does for the tokens of the models. A rival that cannot label every fold is left out, since rows are paired."""
    told, watch = dict[tuple[str, int], str](), _once(watch)
    for fold in dict.fromkeys(one.fold for one in judged):
        rows = tuple(one.example for one in judged if one.fold == fold)
        split = Split(train=outcome.search.folds[fold].train, valid=(), test=rows)
        found = looked_up(replace(prepared, split=split), _WITHOUT_MODEL, None, watch, named=False)
        told |= {(one.system, one.row): one.text or "" for one in found}
    return {
        name: tuple(1 - exact_match(told[name, one.example.row], one.example.completion) for one in judged)
        for name in _WITHOUT_MODEL
        if all((name, one.example.row) in told for one in judged)
    }


def _once(watch: Watch) -> Watch:
    """Every fold would say the same of a rival."""
    said: set[str] = set()

    def tell(event: Progress) -> None:
        if not isinstance(event, Note) or event.text not in said:
            watch(event)
        if isinstance(event, Note):
            said.add(event.text)

    return tell


def _fitting(encoder: Encoder | None, rows: Sequence[Example]) -> Callable[[Sequence[Example]], bool]:
    """Whether worked examples leave room for each of the rows with its answer."""

    def fits(chosen: Sequence[Example]) -> bool:
        return encoder is None or all(_length(encoder, row, pairs(chosen)) <= encoder.context for row in rows)

    return fits


def _length(encoder: Encoder, row: Example, shots: Sequence[tuple[str, str]]) -> int:
    return len(encoder.scored(row.prompt, row.completion, shots, messages=asked(row), tools=row.tools).ids)


def _loss(record: PredictionRecord) -> float:
    scored = record.log_likelihoods or []
    return -fmean(scored[:-1] or scored)


def _wrong(record: PredictionRecord) -> float:
    greedy = record.greedy or []
    return float(not all(greedy[:-1] or greedy))
