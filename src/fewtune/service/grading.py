"""One answer graded: texts filled in, compared, and the numbers put together."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rapidfuzz import fuzz
from sacrebleu.metrics.bleu import BLEU

from fewtune.evaluation.text_metrics import rouge_l, words
from fewtune.service.errors import ServiceError, invalid
from fewtune.service.filling import FilledTooLong, UnknownVariable, filled
from fewtune.service.formula import FormulaError, UnknownNumber, check_formula, value_of
from fewtune.service.judge import Judge, JudgeFailed
from fewtune.service.wire.graders import (
    Grader,
    Multi,
    Refused,
    ScoreModel,
    SingleGrader,
    StringCheck,
    TextSimilarity,
)

_BLEU = BLEU(effective_order=True)
_NUMBER = re.compile(r"[+-]?\d{1,9}(?:\.\d{1,9})?")


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A number, or what kept it from being one."""

    value: float = 0.0
    errors: tuple[str, ...] = ()
    """Names of `GradingErrors`."""
    detail: str | None = None
    tokens: Mapping[str, int] = field(default_factory=dict[str, int])
    """That judges read and wrote, by model."""
    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of a formula."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is graded."""

    sample: str
    item: Mapping[str, Any]
    most_characters: int


def check(grader: Grader, judge: Judge | None) -> None:
    """Raises ServiceError (400) for a grader that cannot be used here."""
    for single in parts_of(grader).values():
        _check_single(single, judge)
    if isinstance(grader, Multi):
        try:
            check_formula(grader.calculate_output, frozenset(parts_of(grader)))
        except FormulaError as error:
            raise invalid(str(error), param="grader.calculate_output", code="invalid_formula") from error


def parts_of(grader: Grader) -> dict[str, SingleGrader]:
    """The graders that give a number by themselves, by the name under which a formula knows them."""
    if not isinstance(grader, Multi):
        return {grader.name: grader}
    return grader.graders if isinstance(grader.graders, dict) else {grader.graders.name: grader.graders}


def grade(grader: Grader, answer: Answer, judge: Judge | None) -> Grade:
    """Grade with a grader that was checked. Raises ServiceError for texts that are too long."""
    grades = {name: _graded(single, answer, judge) for name, single in parts_of(grader).items()}
    if not isinstance(grader, Multi):
        return grades[grader.name]
    together = Grade(
        errors=tuple(dict.fromkeys(error for one in grades.values() for error in one.errors)),
        detail=next((one.detail for one in grades.values() if one.detail), None),
        tokens=sum((Counter(one.tokens) for one in grades.values()), Counter[str]()),
        parts={name: one.value for name, one in grades.items()},
    )
    return together if together.errors else _put_together(grader.calculate_output, together)


def _put_together(formula: str, grade: Grade) -> Grade:
    try:
        return replace(grade, value=value_of(check_formula(formula, frozenset(grade.parts)), grade.parts))
    except UnknownNumber:
        return replace(grade, errors=("invalid_variable_error",))
    except FormulaError:
        return replace(grade, errors=("formula_parse_error",))
    except (ArithmeticError, ValueError):
        return replace(grade, errors=("other_error",))


def _check_single(grader: SingleGrader, judge: Judge | None) -> None:
    if isinstance(grader, Refused):
        reason = "code from a request is never run" if grader.type == "python" else "they are not offered"
        raise _unsupported(f"Graders of the type '{grader.type}' cannot be used here: {reason}.")
    if isinstance(grader, TextSimilarity) and grader.evaluation_metric not in _SIMILARITIES:
        known = ", ".join(_SIMILARITIES)
        raise _unsupported(f"The metric '{grader.evaluation_metric}' is not offered here; there are {known}.")
    if isinstance(grader, ScoreModel) and judge is None:
        raise _unsupported(
            "No judge is set up: whoever starts the server names one with FEWTUNE_JUDGE_URL. A request cannot."
        )
    if isinstance(grader, ScoreModel) and not grader.range[0] < grader.range[1]:
        raise invalid("The range's first number must be below its second.", param="grader.range")


def _unsupported(message: str) -> ServiceError:
    return invalid(message, param="grader", code="unsupported_grader")


def _graded(grader: SingleGrader, answer: Answer, judge: Judge | None) -> Grade:
    def fill(text: str) -> str:
        return filled(text, answer.item, answer.sample, most=answer.most_characters)

    try:
        match grader:
            case StringCheck():
                return Grade(value=_checked(grader.operation, fill(grader.input), fill(grader.reference)))
            case TextSimilarity():
                alike = _SIMILARITIES[grader.evaluation_metric]
                return Grade(value=alike(fill(grader.input), fill(grader.reference)))
            case ScoreModel() if judge is not None:
                messages = [{"role": one.role, "content": fill(one.content)} for one in grader.input]
                return _judged(grader, messages, judge)
            case _:
                raise _unsupported("This grader cannot be used here.")
    except UnknownVariable as error:
        return Grade(errors=("invalid_variable_error",), detail=str(error))
    except FilledTooLong as error:
        raise invalid(str(error), param="grader", code="string_above_max_length") from error


def _checked(operation: str, text: str, reference: str) -> float:
    match operation:
        case "eq":
            return float(text == reference)
        case "ne":
            return float(text != reference)
        case "like":
            return float(reference in text)
        case _:
            return float(reference.casefold() in text.casefold())


def _judged(grader: ScoreModel, messages: list[dict[str, str]], judge: Judge) -> Grade:
    low, high = grader.range
    wish = f"Reply with one number from {low:g} to {high:g} and nothing else."
    try:
        said, tokens = judge.ask(grader.model, [*messages, {"role": "system", "content": wish}])
    except JudgeFailed as error:
        return Grade(errors=("model_grader_server_error",), detail=str(error))
    found = _NUMBER.fullmatch(said.strip())
    value = float(found.group()) if found else math.nan
    if not low <= value <= high:
        return Grade(errors=("model_grader_parse_error",), tokens={grader.model: tokens})
    return Grade(value=value, tokens={grader.model: tokens})


def _bleu(text: str, reference: str) -> float:
    return float(_BLEU.sentence_score(text, [reference]).score) / 100


def _fuzzy(text: str, reference: str) -> float:
    return fuzz.ratio(text, reference) / 100


def _gleu(text: str, reference: str) -> float:
    """The smaller of precision and recall of all runs of one to four words.

    Wu et al., Google's Neural Machine Translation System, 2016, section 4.3, "GLEU".
    """
    said, wanted = (sum((_runs(one, n) for n in range(1, 5)), Counter[Any]()) for one in (text, reference))
    most = max(said.total(), wanted.total())
    return (said & wanted).total() / most if most else float(text == reference)


def _rouge(n: int) -> Callable[[str, str], float]:
    """F1 of runs of n words: Lin, ROUGE, 2004, section 2, with precision beside its recall."""

    def score(text: str, reference: str) -> float:
        said, wanted = _runs(text, n), _runs(reference, n)
        both = said.total() + wanted.total()
        return 2 * (said & wanted).total() / both if both else 0.0

    return score


def _runs(text: str, n: int) -> Counter[Any]:
    found = words(text)
    return Counter(zip(*(found[start:] for start in range(n)), strict=False))


_SIMILARITIES: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": _fuzzy,
    "bleu": _bleu,
    "gleu": _gleu,
    **{f"rouge_{n}": _rouge(n) for n in range(1, 6)},
    "rouge_l": rouge_l,
}
