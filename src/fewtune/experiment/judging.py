"""Ask a language model which of two answers it prefers: tuned against every rival that writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fewtune.errors import UsageError, from_os_error
from fewtune.evaluation.judge import RUBRIC, Choice, Pair, instructions, question, read_verdict, tally
from fewtune.experiment.asking import Inquiry, Question, spent
from fewtune.experiment.rivals import RUNNER_UP, TUNED, WRITERS
from fewtune.report.evaluation_part import Judged
from fewtune.store.runs import PredictionRecord, ReplyRecord
from fewtune.types import Example

_MOST_TOKENS = 1024
"""A verdict takes a dozen; the rest is for models that think first."""
_LONGEST_RUBRIC = 20_000


def read_rubric(path: str | None) -> str:
    """The file's text, or the usual rubric. Raises UsageError for a file that cannot be read, is empty or very long."""
    if path is None:
        return RUBRIC
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise from_os_error(error, "read the rubric", Path(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError("The rubric is not UTF-8 text.", where=path, fix="Save it as UTF-8.") from error
    if not text or len(text) > _LONGEST_RUBRIC:
        problem = f"has more than {_LONGEST_RUBRIC:,} characters" if text else "is empty"
        raise UsageError(f"The rubric {problem}.", where=path, fix="Say in a few sentences what makes an answer good.")
    return text


def judged(
    rows: Sequence[Example], predictions: Sequence[PredictionRecord], inquiry: Inquiry, rubric: str
) -> tuple[Judged, ...]:
    """The tuned model against each other one that wrote an answer to every row, on every row."""
    by_system = {name: _texts(predictions, name) for name in WRITERS if name != RUNNER_UP}
    whole = [name for name, texts in by_system.items() if all(row.row in texts for row in rows)]
    rivals = [name for name in whole if name != TUNED]
    if TUNED not in whole:
        return ()
    told = instructions(rubric)
    return tuple(
        _against(name, [_pair(row, by_system[TUNED], by_system[name]) for row in rows], inquiry, told, len(rivals))
        for name in rivals
    )


def _texts(predictions: Sequence[PredictionRecord], name: str) -> dict[int, str]:
    return {one.row: one.text for one in predictions if one.system == name and one.text is not None}


def _pair(row: Example, tuned: Mapping[int, str], rival: Mapping[int, str]) -> Pair:
    return Pair(prompt=row.prompt, expected=row.completion, first=tuned[row.row], second=rival[row.row])


def _against(rival: str, pairs: Sequence[Pair], inquiry: Inquiry, told: str, rivals: int) -> Judged:
    shown = [pair for pair in pairs if not pair.is_alike]
    questions = [_question(2 * place + swapped, pair, told) for place, pair in enumerate(shown) for swapped in (0, 1)]
    replies = inquiry.ask(questions)
    verdicts: list[tuple[Choice | None, Choice | None]] = [
        (_read(replies, 2 * place), _read(replies, 2 * place + 1)) for place in range(len(shown))
    ]
    found = tally(verdicts, len(pairs) - len(shown), pairs=rivals)
    return Judged(
        judge=inquiry.outside.model.name,
        first=TUNED,
        second=rival,
        wins=found.wins,
        losses=found.losses,
        ties=found.ties,
        unread=found.unread,
        agreement=found.agreement,
        usd=spent(list(replies.values())),
        tokens=sum(reply.prompt_tokens + reply.tokens for reply in replies.values()),
        verdict=found.verdict,
    )


def _question(number: int, pair: Pair, told: str) -> Question:
    """Even numbers show the tuned model first, odd ones second."""
    messages = (
        {"role": "system", "content": told},
        {"role": "user", "content": question(pair, swapped=number % 2 == 1)},
    )
    return Question(id=number, messages=messages, max_tokens=_MOST_TOKENS)


def _read(replies: Mapping[int, ReplyRecord], number: int) -> Choice | None:
    return read_verdict(replies[number].text) if number in replies else None
