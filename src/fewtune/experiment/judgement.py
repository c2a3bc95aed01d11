"""Let base, few-shot prompt and tuned model answer the same held-out rows, and compare them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fewtune.data.chat import asked
from fewtune.data.encode import Encoder
from fewtune.evaluation.baselines import choose_shots
from fewtune.evaluation.comparison import Compared, Measured, compare, summarise, verdict_sentence
from fewtune.evaluation.metrics import PRIMARY, for_task
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


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the held-out rows say."""

    measured: Mapping[str, Mapping[str, Measured]]
    """System, then metric."""
    compared: Mapping[str, Mapping[str, Compared]]
    """Rival, then metric: tuned minus rival."""
    shots: int
    """Worked examples that did fit into the few-shot prompt."""
    sentence: str


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


def judge(rows: Sequence[Example], task: str, predictions: Sequence[PredictionRecord], shots: int) -> Judgement:
    """Measure every system in every metric that all its rows have, and compare the tuned one with the others."""
    by_system = {
        name: {one.row: one for one in predictions if one.system == name}
        for name in SYSTEMS
        if any(one.system == name for one in predictions)
    }
    values = {name: _values(rows, task, found) for name, found in by_system.items()}
    kinds = _kinds(task)
    measured = {
        name: {metric: summarise(column, binary=kinds[metric][1]) for metric, column in columns.items()}
        for name, columns in values.items()
    }
    compared = {
        rival: _compare(values.get(TUNED, {}), columns, kinds) for rival, columns in values.items() if rival != TUNED
    }
    return Judgement(measured=measured, compared=compared, shots=shots, sentence=_sentence(task, compared))


def _kinds(task: str) -> dict[str, tuple[bool, bool]]:
    """Metric to (higher is better, every row is 0 or 1)."""
    kinds = {metric.name: (metric.higher_is_better, metric.binary) for metric in for_task(task)}
    return {"loss": (False, False), "token_accuracy": (True, False), **kinds}


def _values(rows: Sequence[Example], task: str, found: Mapping[int, PredictionRecord]) -> dict[str, list[float]]:
    """Metric to its value of each row, in the order of the rows.

    Loss and token accuracy are those of the answer without its stop: a prompt cannot teach the base where
    an answer ends, and the comparison should not turn on that.
    """
    columns: dict[str, list[float]] = {}
    scores = [found[row.row].log_likelihoods for row in rows if row.row in found]
    if len(scores) == len(rows) and all(scores):
        columns["loss"] = [-_mean(score[:-1] or score) for score in scores if score]
        greedy = [found[row.row].greedy or [] for row in rows]
        columns["token_accuracy"] = [_mean(one[:-1] or one) for one in greedy]
    texts = [found[row.row].text for row in rows if row.row in found]
    if len(texts) == len(rows) and None not in texts:
        for metric in for_task(task):
            columns[metric.name] = [
                metric.measure(text or "", row.completion) for text, row in zip(texts, rows, strict=True)
            ]
    return columns


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _compare(
    tuned: Mapping[str, Sequence[float]],
    rival: Mapping[str, Sequence[float]],
    kinds: Mapping[str, tuple[bool, bool]],
) -> dict[str, Compared]:
    return {
        metric: compare(tuned[metric], column, higher_is_better=kinds[metric][0], binary=kinds[metric][1])
        for metric, column in rival.items()
        if metric in tuned
    }


def _sentence(task: str, compared: Mapping[str, Mapping[str, Compared]]) -> str:
    """In the task's primary metric; where a service tells no loss, in how alike the texts are."""
    primary = PRIMARY[task] if all(PRIMARY[task] in one for one in compared.values()) else for_task(task)[0].name  # type: ignore[index]
    against = {rival: metrics[primary] for rival, metrics in compared.items() if primary in metrics}
    return verdict_sentence(against, metric=primary, higher_is_better=_kinds(task)[primary][0])
