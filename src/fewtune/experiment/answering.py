"""Let the base, prompts with worked examples and the tuned model answer the same held-out rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fewtune.data.chat import asked
from fewtune.data.encode import Encoder
from fewtune.evaluation.baselines import Fits, Neighbours, choose_shots
from fewtune.experiment.interruption import Interruption
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Answering, Watch
from fewtune.experiment.rivals import BASE_SYSTEM, FEW_SHOT, FEW_SHOT_NEAREST, RUNNER_UP, TUNED
from fewtune.providers.contract import BASE, Answer, Provider, Request, Score
from fewtune.providers.refusal import answered
from fewtune.store.runs import PredictionRecord, Runs
from fewtune.types import Example

_MOST_ANSWER_TOKENS = 256
_SEEDS_APART = 2**20
"""Between the samples of a row; no data set has so many rows that two would meet."""
TEMPERATURES = {"text": 0.7, "labels": 0.0, "json": 0.0}
"""A small base that always takes the likeliest word soon repeats itself; a label or JSON has one right answer."""
_CHARACTERS_PER_TOKEN = 3
"""Where no tokenizer is at hand; on the low side, so that answers are not cut short."""

Shots = tuple[tuple[str, str], ...]
"""Worked examples, each a prompt and its completion."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One way of answering with the run's provider."""

    name: str
    model: str
    shots: Mapping[int, Shots] = field(default_factory=dict[int, Shots])
    """By row; none where the row has none."""


def systems(
    prepared: Prepared, wanted: Sequence[str], model: str, runner_up: str | None, shots: int, seed: int
) -> tuple[System, ...]:
    """Those of the wanted rivals that write, and the tuned model; a prompt with examples is left out if none fits."""
    room = answer_tokens(prepared)
    found = [System(name=BASE_SYSTEM, model=BASE)] if BASE_SYSTEM in wanted else []
    if FEW_SHOT in wanted and (chosen := _random_shots(prepared, shots, seed, room)):
        found.append(System(name=FEW_SHOT, model=BASE, shots=chosen))
    if FEW_SHOT_NEAREST in wanted and (chosen := _nearest_shots(prepared, shots, room)):
        found.append(System(name=FEW_SHOT_NEAREST, model=BASE, shots=chosen))
    if RUNNER_UP in wanted and runner_up:
        found.append(System(name=RUNNER_UP, model=runner_up))
    return (*found, System(name=TUNED, model=model))


def pairs(examples: Sequence[Example]) -> Shots:
    """Examples as they stand in a prompt."""
    return tuple((example.prompt, example.completion) for example in examples)


def _random_shots(prepared: Prepared, count: int, seed: int, room: int) -> dict[int, Shots]:
    rows = prepared.split.test
    chosen = pairs(choose_shots(prepared.split.train, count, seed, _leaves(room, rows, prepared.encoder)))
    return {row.row: chosen for row in rows} if chosen else {}


def _nearest_shots(prepared: Prepared, count: int, room: int) -> dict[int, Shots]:
    """Row by row; those whose prompt leaves no room for an example have none. Empty where no row has one."""
    neighbours = Neighbours(prepared.split.train)
    found = {
        row.row: pairs(neighbours.shots(row.prompt, count, _leaves(room, [row], prepared.encoder)))
        for row in prepared.split.test
    }
    return found if any(found.values()) else {}


def _leaves(room: int, rows: Sequence[Example], encoder: Encoder | None) -> Fits:
    """Whether worked examples leave room in the base's context for each of the rows and so many tokens of answer."""

    def fits(chosen: Sequence[Example]) -> bool:
        if encoder is None:
            return True
        prompts = (encoder.prompt(e.prompt, pairs(chosen), messages=asked(e), tools=e.tools) for e in rows)
        return all(len(prompt) + room <= encoder.context for prompt in prompts)

    return fits


def answer_tokens(prepared: Prepared) -> int:
    """How long an answer may get: a quarter longer than the longest one trained on, and never beyond 256."""
    longest = max(_length(example.completion, prepared.encoder) for example in prepared.split.train)
    return min(_MOST_ANSWER_TOKENS, math.ceil(1.25 * longest) + 1)


def _length(text: str, encoder: Encoder | None) -> int:
    return len(encoder.completion(text)) if encoder else len(text) // _CHARACTERS_PER_TOKEN


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Where answers and scores come from, and where they are kept."""

    provider: Provider
    store: Runs
    run_id: str
    watch: Watch
    interruption: Interruption

    def known(self, system: System) -> dict[int, PredictionRecord]:
        """What the store has of it, by row."""
        return {one.row: one for one in self.store.predictions(self.run_id) if one.system == system.name}

    def keep(self, record: PredictionRecord) -> None:
        self.store.put_predictions(self.run_id, [record])

    def ask(self, system: System, requests: Sequence[Request]) -> Iterator[Answer | Score]:
        """The replies as they come, told to those who watch."""
        done = 0
        for reply in answered(self.provider.sample(system.model, requests)):
            self.interruption.check()
            if isinstance(reply, Answer | Score):
                yield reply
                done += 1
                self.watch(Answering(system=system.name, done=done, of=len(requests)))


def answer(sampling: Sampling, chosen: Sequence[System], prepared: Prepared, samples: int = 1) -> None:
    """Ask every system for what the store does not have yet: an answer and, where it can be had, a score.

    With more samples each row is answered again, always at the temperature of texts: at 0 all would be alike.
    """
    rows, limit, temperature = prepared.split.test, answer_tokens(prepared), TEMPERATURES[prepared.task.kind]
    for system in chosen:
        have = sampling.known(system)
        missing = [e for e in rows if (p := have.get(e.row)) is None or p.text is None]
        requests = [question(e, system.shots.get(e.row, ()), limit, temperature) for e in missing]
        if sampling.provider.capabilities.can_score:
            requests = _scores(system, rows, have) + requests
        for reply in sampling.ask(system, requests):
            sampling.keep(_record(system.name, reply))
        if samples > 1:
            _answer_again(sampling, system, _further(rows, system, have, samples, limit))


def _scores(system: System, rows: Sequence[Example], have: Mapping[int, PredictionRecord]) -> list[Request]:
    """Of the rows that are not scored yet."""
    unscored = [e for e in rows if (p := have.get(e.row)) is None or p.log_likelihoods is None]
    return [scoring(e, system.shots.get(e.row, ())) for e in unscored]


def _further(
    rows: Sequence[Example],
    system: System,
    have: Mapping[int, PredictionRecord],
    samples: int,
    limit: int,
) -> list[tuple[int, Request]]:
    """Of every row that has fewer samples than that, its number and what is asked for all but the first."""
    known = {row: len(one.more_texts or ()) for row, one in have.items()}
    return [
        (
            row.row,
            replace(
                question(row, system.shots.get(row.row, ()), limit, TEMPERATURES["text"]),
                seed=seed_of(row.row, sample),
            ),
        )
        for row in rows
        if known.get(row.row, 0) + 1 < samples
        for sample in range(1, samples)
    ]


def seed_of(row: int, sample: int) -> int:
    """Every system draws the same numbers for a row's sample, again and again."""
    return row + _SEEDS_APART * sample


def _answer_again(sampling: Sampling, system: System, wanted: Sequence[tuple[int, Request]]) -> None:
    """Further samples of each row, stored when the row has all of its."""
    missing = Counter(row for row, _ in wanted)
    texts: dict[int, dict[int, str]] = defaultdict(dict)
    for reply in sampling.ask(system, [replace(request, id=place) for place, (_, request) in enumerate(wanted)]):
        row, request = wanted[reply.id]
        if isinstance(reply, Answer):
            texts[row][request.seed] = reply.text
        if len(texts[row]) == missing[row]:
            more = [text for _, text in sorted(texts[row].items())]
            sampling.keep(PredictionRecord(system=system.name, row=row, more_texts=more))


def question(example: Example, shots: Shots, limit: int, temperature: float) -> Request:
    """The row's first sample."""
    return Request(
        id=example.row,
        prompt=example.prompt,
        messages=asked(example),
        tools=example.tools,
        shots=shots,
        max_tokens=limit,
        temperature=temperature,
        seed=seed_of(example.row, 0),
    )


def scoring(example: Example, shots: Shots = ()) -> Request:
    """Asks how likely the example's own answer is."""
    return Request(
        id=example.row,
        prompt=example.prompt,
        messages=asked(example),
        tools=example.tools,
        shots=shots,
        score=example.completion,
    )


def score_rows(sampling: Sampling, system: System, rows: Sequence[Example]) -> dict[int, PredictionRecord]:
    """How likely a system finds these rows' own answers, by row; it is asked for what the store does not have yet."""
    for reply in sampling.ask(system, _scores(system, rows, sampling.known(system))):
        sampling.keep(_record(system.name, reply))
    found = sampling.known(system)
    return {row.row: found[row.row] for row in rows}


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
