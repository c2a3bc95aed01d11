"""Let base, few-shot prompt and tuned model answer the same held-out rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fewtune.data.chat import asked
from fewtune.data.encode import Encoder
from fewtune.evaluation.baselines import choose_shots
from fewtune.experiment.interruption import Interruption
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Answering, Watch
from fewtune.providers.contract import BASE, Answer, Provider, Request, Score
from fewtune.store.runs import PredictionRecord, Runs
from fewtune.types import Example

BASE_SYSTEM, FEW_SHOT, TUNED = "base", "few-shot", "tuned"
SYSTEMS = (BASE_SYSTEM, FEW_SHOT, TUNED)
_MOST_ANSWER_TOKENS = 256
TEMPERATURES = {"text": 0.7, "labels": 0.0, "json": 0.0}
"""A small base that always takes the likeliest word soon repeats itself; a label or JSON has one right answer."""
_CHARACTERS_PER_TOKEN = 3
"""Where no tokenizer is at hand; on the low side, so that answers are not cut short."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One way of answering."""

    name: str
    model: str
    shots: tuple[tuple[str, str], ...] = ()


def systems(prepared: Prepared, model: str, shots: int, seed: int) -> tuple[System, ...]:
    """Base, base with as many worked examples as fit, and the tuned model; few-shot is left out if none fits."""
    room, encoder = answer_tokens(prepared), prepared.encoder

    def fits(chosen: Sequence[Example]) -> bool:
        if encoder is None:
            return True
        pairs = [(example.prompt, example.completion) for example in chosen]
        prompts = (encoder.prompt(e.prompt, pairs, messages=asked(e), tools=e.tools) for e in prepared.split.test)
        return all(len(prompt) + room <= encoder.context for prompt in prompts)

    examples = choose_shots(prepared.split.train, shots, seed, fits)
    pairs = tuple((example.prompt, example.completion) for example in examples)
    few_shot = (System(name=FEW_SHOT, model=BASE, shots=pairs),) if pairs else ()
    return (System(name=BASE_SYSTEM, model=BASE), *few_shot, System(name=TUNED, model=model))


def answer_tokens(prepared: Prepared) -> int:
    """How long an answer may get: a quarter longer than the longest one trained on, and never beyond 256."""
    longest = max(_length(example.completion, prepared.encoder) for example in prepared.split.train)
    return min(_MOST_ANSWER_TOKENS, math.ceil(1.25 * longest) + 1)


def _length(text: str, encoder: Encoder | None) -> int:
    return len(encoder.completion(text)) if encoder else len(text) // _CHARACTERS_PER_TOKEN


def answer(
    provider: Provider,
    chosen: Sequence[System],
    prepared: Prepared,
    store: Runs,
    run_id: str,
    watch: Watch,
    interruption: Interruption,
) -> None:
    """Ask every system for what the store does not have yet: an answer and, where it can be had, a score."""
    have = {(one.system, one.row): one for one in store.predictions(run_id)}
    limit, temperature = answer_tokens(prepared), TEMPERATURES[prepared.task.kind]
    for system in chosen:
        rows = prepared.split.test
        missing = [e for e in rows if (p := have.get((system.name, e.row))) is None or p.text is None]
        unscored = [e for e in rows if (p := have.get((system.name, e.row))) is None or p.log_likelihoods is None]
        requests = [_question(e, system, limit, temperature) for e in missing]
        if provider.capabilities.can_score:
            requests = [scoring(e, system.shots) for e in unscored] + requests
        _ask(provider, system, requests, lambda one: store.put_predictions(run_id, [one]), watch, interruption)


def _question(example: Example, system: System, limit: int, temperature: float) -> Request:
    """The row is the seed: every system draws the same numbers for it, again and again."""
    return Request(
        id=example.row,
        prompt=example.prompt,
        messages=asked(example),
        tools=example.tools,
        shots=system.shots,
        max_tokens=limit,
        temperature=temperature,
        seed=example.row,
    )


def scoring(example: Example, shots: tuple[tuple[str, str], ...] = ()) -> Request:
    """Asks how likely the example's own answer is."""
    return Request(
        id=example.row,
        prompt=example.prompt,
        messages=asked(example),
        tools=example.tools,
        shots=shots,
        score=example.completion,
    )


def score_rows(
    provider: Provider,
    system: System,
    rows: Sequence[Example],
    store: Runs,
    run_id: str,
    watch: Watch,
    interruption: Interruption,
) -> None:
    """Ask a system for the scores of these rows' own answers that the store does not have yet."""
    have = {one.row for one in store.predictions(run_id) if one.system == system.name and one.log_likelihoods}
    requests = [scoring(example, system.shots) for example in rows if example.row not in have]
    _ask(provider, system, requests, lambda one: store.put_predictions(run_id, [one]), watch, interruption)


def _ask(
    provider: Provider,
    system: System,
    requests: Sequence[Request],
    keep: Callable[[PredictionRecord], None],
    watch: Watch,
    interruption: Interruption,
) -> None:
    done = 0
    for reply in provider.sample(system.model, requests):
        interruption.check()
        if isinstance(reply, Answer | Score):
            keep(_record(system.name, reply))
            done += 1
            watch(Answering(system=system.name, done=done, of=len(requests)))


def _record(system: str, reply: Answer | Score) -> PredictionRecord:
    if isinstance(reply, Score):
        return PredictionRecord(
            system=system,
            row=reply.id,
            log_likelihoods=list(reply.log_likelihoods),
            greedy=list(reply.greedy),
        )
    return PredictionRecord(
        system=system,
        row=reply.id,
        text=reply.text,
        tokens=reply.tokens,
        stop_reason=reply.stop_reason,
        seconds=reply.seconds,
    )
