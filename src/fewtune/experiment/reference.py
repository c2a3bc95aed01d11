"""A bigger model, behind an OpenAI-compatible address, answers the same held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

from fewtune.evaluation.baselines import choose_shots
from fewtune.experiment.answering import TEMPERATURES, answer_tokens, pairs, question
from fewtune.experiment.asking import Inquiry, Question
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.rivals import REFERENCE
from fewtune.store.runs import PredictionRecord
from fewtune.types import Example

_MARGIN = 4
"""Its tokenizer is another one, and it may think before it answers."""


def reference_answers(prepared: Prepared, inquiry: Inquiry, shots: int, seed: int) -> list[PredictionRecord]:
    """With as many random worked examples as the few-shot prompt; rows that it did not answer are missing."""
    worked = choose_shots(prepared.split.train, shots, seed, lambda _: True)
    rows = prepared.split.test
    asked_of = [_question(row, worked, prepared) for row in rows]
    return [
        PredictionRecord(
            system=REFERENCE,
            row=number,
            text=reply.text,
            tokens=reply.tokens,
            stop_reason=reply.stop_reason,
            seconds=reply.seconds,
        )
        for number, reply in inquiry.ask(asked_of).items()
    ]


def _question(row: Example, worked: Sequence[Example], prepared: Prepared) -> Question:
    from fewtune.providers.openai_chat import chat_messages, chat_tools

    limit, temperature = _MARGIN * answer_tokens(prepared), TEMPERATURES[prepared.task.kind]
    request = question(row, pairs(worked), limit, temperature)
    return Question(
        id=row.row,
        messages=tuple(chat_messages(request)),
        tools=tuple(chat_tools(row.tools)),
        max_tokens=limit,
        temperature=temperature,
        seed=request.seed,
    )
