"""Who answers the held-out rows beside the tuned model: the names, and the rivals that write nothing themselves."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.errors import UsageError
from fewtune.evaluation import classifier
from fewtune.evaluation.baselines import Neighbours, majority_answer
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note, Watch
from fewtune.store.runs import PredictionRecord

BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST = "base", "few-shot", "few-shot-nearest"
MAJORITY, NEAREST, TF_IDF = "majority", "nearest-answer", "tf-idf"
REFERENCE, RUNNER_UP, TUNED = "reference", "runner-up", "tuned"

SYSTEMS = (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST, TF_IDF, REFERENCE, RUNNER_UP, TUNED)
"""Everyone who may answer, in the order in which they are shown."""
RIVALS = (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST, TF_IDF)
"""What one could use instead of tuning; the verdict is about these. A bigger model and another trial only stand by."""
WRITERS = (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, REFERENCE, RUNNER_UP, TUNED)
"""Those that write their answers, where the others look them up."""
LOOKED_UP = (MAJORITY, NEAREST, TF_IDF)
"""Those whose every answer is one of the training rows'."""
CHOICES = (*RIVALS, RUNNER_UP)
"""What `--rivals` may name."""
_DEFAULTS = {
    "text": (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST),
    "labels": (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST, TF_IDF),
    "json": (BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, MAJORITY, NEAREST),
}
_ALL = "all"


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
        raise UsageError(f"There is no rival {unknown or ''!r}.", where="--rivals", fix=fix)
    return tuple(name for name in CHOICES if name in names)


def chosen_rivals(named: tuple[str, ...] | None, task: str, *, bills: bool) -> tuple[str, ...]:
    """Those that were named, else the task's; of those that a service bills for then only the two best known."""
    if named is not None:
        return named
    return tuple(name for name in _DEFAULTS[task] if not (bills and name == FEW_SHOT_NEAREST))


def looked_up(prepared: Prepared, wanted: Sequence[str], watch: Watch, *, named: bool) -> list[PredictionRecord]:
    """The answers of the wanted rivals that look theirs up in the training rows or learn them from words.

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
    return records + (_classified(prepared, watch) if TF_IDF in wanted else [])


def _classified(prepared: Prepared, watch: Watch) -> list[PredictionRecord]:
    if prepared.task.kind != "labels":
        watch(Note(text="The rival tf-idf was left out: it learns labels, and these answers are none."))
        return []
    if not classifier.is_installed():
        text = "The rival tf-idf was left out: it needs scikit-learn (pip install 'fewtune[rivals]')."
        watch(Note(text=text))
        return []
    rows = prepared.split.test
    found = classifier.classify(prepared.split.train, [row.prompt for row in rows])
    if found is None:
        watch(Note(text="The rival tf-idf was left out: the training rows have only one answer, or prompts no words."))
        return []
    return [
        PredictionRecord(system=TF_IDF, row=row.row, text=one.label, label_log_likelihoods=dict(one.log_likelihoods))
        for row, one in zip(rows, found, strict=True)
    ]


def _record(system: str, row: int, text: str) -> PredictionRecord:
    return PredictionRecord(system=system, row=row, text=text)
