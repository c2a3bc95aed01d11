"""Who answers the held-out rows beside the tuned model: the names, and the rivals that write nothing themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from fewtune.errors import BaseModelError, UsageError
from fewtune.evaluation import classifier
from fewtune.evaluation.baselines import Neighbours, majority_answer
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note, Watch
from fewtune.experiment.sentence_encoder import embedding
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example

BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST = "base", "few-shot", "few-shot-nearest"
MAJORITY, NEAREST, TF_IDF, SENTENCE_ENCODER = "majority", "nearest-answer", "tf-idf", "sentence-encoder"
REFERENCE, RUNNER_UP, TUNED = "reference", "runner-up", "tuned"

_CHOSEN = (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST, TF_IDF)
RIVALS = (*_CHOSEN, SENTENCE_ENCODER)
"""What one could use instead of tuning; the verdict is about these. A bigger model and another trial only stand by."""
SYSTEMS = (*RIVALS, REFERENCE, RUNNER_UP, TUNED)
"""Everyone who may answer, in the order in which they are shown."""
WRITERS = (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, REFERENCE, RUNNER_UP, TUNED)
"""Those that write their answers, where the others look them up."""
LOOKED_UP = (MAJORITY, NEAREST, TF_IDF, SENTENCE_ENCODER)
"""Those whose every answer is one of the training rows'."""
CHOICES = (*_CHOSEN, RUNNER_UP)
"""What `--rivals` may name; the others have an option of their own, which names a model."""
_DEFAULTS = {
    "text": (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST),
    "labels": _CHOSEN,
    "json": (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST),
}
_ALL = "all"

_Classify = Callable[[Sequence[Example], Sequence[str]], tuple[classifier.Labelled, ...] | None]
"""(training rows, prompts) -> the prompts' labels; None where there is nothing to learn."""


def read_rivals(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """`base,few-shot`, names one by one, or `all`; None leaves them to the task. Raises UsageError for other names."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    if names == [_ALL]:
        return CHOICES
    unknown = next((name for name in names if name not in CHOICES), None)
    if unknown is not None or not names:
        fix = f"Choose of: {', '.join(CHOICES)}; or {_ALL}."
        if unknown in (SENTENCE_ENCODER, REFERENCE):
            fix = f"Name its model with --{unknown}; it then answers beside the others."
        raise UsageError(f"There is no rival {unknown or ''!r}.", where="--rivals", fix=fix)
    return tuple(name for name in CHOICES if name in names)


def chosen_rivals(named: tuple[str, ...] | None, task: str, *, bills: bool) -> tuple[str, ...]:
    """Those that were named, else the task's; of those that a service bills for then only the two best known."""
    if named is not None:
        return named
    return tuple(name for name in _DEFAULTS[task] if not (bills and name == FEW_SHOT_NEAREST))


def looked_up(
    prepared: Prepared, wanted: Sequence[str], encoder: str | None, watch: Watch, *, named: bool
) -> list[PredictionRecord]:
    """The answers of the wanted rivals that look theirs up in the training rows, or learn them from words, or from the
    vectors of a sentence encoder, where one is named.

    A rival that cannot answer is left out: with a note, but for a majority that nobody asked for by name.
    """
    train, records = prepared.split.train, list[PredictionRecord]()
    if MAJORITY in wanted:
        majority = majority_answer(train)
        if majority:
            records += [_record(MAJORITY, row.row, majority) for row in prepared.split.test]
        elif named:
            watch(Note(text="No training answer occurs twice, so there is no majority answer to compare with."))
    if NEAREST in wanted:
        neighbours = Neighbours(train)
        records += [_record(NEAREST, row.row, neighbours.answer(row.prompt)) for row in prepared.split.test]
    if TF_IDF in wanted:
        records += _by_words(prepared, watch)
    return records + (_by_encoder(prepared, encoder, watch) if encoder else [])


def _by_words(prepared: Prepared, watch: Watch) -> list[PredictionRecord]:
    if not classifier.is_installed():
        watch(Note(text="The rival tf-idf was left out: it needs scikit-learn (pip install 'fewtune[rivals]')."))
        return []
    return _classified(TF_IDF, prepared, classifier.classify, watch)


def _by_encoder(prepared: Prepared, encoder: str, watch: Watch) -> list[PredictionRecord]:
    try:
        return _classified(SENTENCE_ENCODER, prepared, partial(classifier.classify_vectors, embedding(encoder)), watch)
    except BaseModelError as error:
        # What is trained by now is worth more than this rival.
        watch(Note(text=f"The rival {SENTENCE_ENCODER} was left out: {error.what}"))
        return []


def _classified(name: str, prepared: Prepared, classify: _Classify, watch: Watch) -> list[PredictionRecord]:
    if prepared.task.kind != "labels":
        watch(Note(text=f"The rival {name} was left out: it learns labels, and these answers are none."))
        return []
    rows = prepared.split.test
    found = classify(prepared.split.train, [row.prompt for row in rows])
    if found is None:
        watch(Note(text=f"The rival {name} was left out: the training rows have only one answer, or prompts no words."))
        return []
    return [
        PredictionRecord(system=name, row=row.row, text=one.label, label_log_likelihoods=dict(one.log_likelihoods))
        for row, one in zip(rows, found, strict=True)
    ]


def _record(system: str, row: int, text: str) -> PredictionRecord:
    return PredictionRecord(system=system, row=row, text=text)
