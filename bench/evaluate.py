"""Seconds to answer and score held-out rows by base, few-shot, tuned and runner-up: `python -m bench.evaluate`.

The built-in base, worked examples in the prompt, answers of at most 110 tokens at the temperature of a run; what is
asked is what a run asks. Two adapters are trained for a moment before the clock starts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import report
from bench.child import measure
from bench.rows import add_data_option, require

if TYPE_CHECKING:
    from fewtune.experiment.preparation import Prepared
    from fewtune.providers.contract import Answer, Provider, Request, Score

NAMES = ("base", "few-shot", "few-shot-nearest", "runner-up")
"""Beside `tuned`; the nearest examples cannot be read once for all rows, so they are measured apart."""
_TRAINED_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class EvaluationJob:
    data: str
    rows: int
    shots: int
    max_tokens: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    job = EvaluationJob(
        data=str(options.data.resolve()), rows=options.rows, shots=options.shots, max_tokens=options.max_tokens
    )
    measured = measure("bench.evaluate:ours", asdict(job))
    lines = [
        (name, f"{one['scoring']:.1f}", f"{one['writing']:.1f}", f"{one['tokens']:,}", f"{one['cpu_seconds']:.0f}")
        for name, one in measured["systems"].items()
    ]
    report.show(("system", "scoring, s", "writing, s", "tokens written", "CPU seconds"), lines)
    four = [one for name, one in measured["systems"].items() if name != "few-shot-nearest"]
    total = sum(one["scoring"] + one["writing"] for one in four)
    print(f"All four of {measured['rows']} rows: {total:.1f} s.", file=sys.stderr, flush=True)
    report.write("evaluate", {"job": asdict(job), "measured": measured})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.evaluate", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=110)
    return parser


def ours(given: Mapping[str, Any]) -> dict[str, Any]:
    """All systems one after another, through the local provider; in a child."""
    import fewtune
    from fewtune.experiment.answering import scoring, systems
    from fewtune.providers import connect
    from fewtune.providers.contract import Workspace

    job = EvaluationJob(**given)
    prepared = fewtune.prepare(job.data)
    # Whether a row was trained on makes no difference to the time.
    prepared = replace(prepared, split=replace(prepared.split, test=prepared.kept[: job.rows]))
    with tempfile.TemporaryDirectory() as folder:
        examples = {example.row: example for example in prepared.kept}
        provider = connect("local", Workspace(base="pocket", examples=examples, folder=Path(folder)))
        tuned, runner_up = _adapters(provider, prepared)
        found: dict[str, dict[str, float]] = {}
        for system in systems(prepared, NAMES, tuned, runner_up, job.shots, 0):
            rows = prepared.split.test
            scores = [scoring(row, system.shots.get(row.row, ())) for row in rows]
            found[system.name] = _timed(provider, system.model, scores, _questions(prepared, system.shots, job))
    return {"rows": len(prepared.split.test), "systems": found}


def _questions(prepared: Prepared, shots: Mapping[int, Any], job: EvaluationJob) -> list[Request]:
    from fewtune.experiment.answering import TEMPERATURES, question

    temperature = TEMPERATURES[prepared.task.kind]
    return [question(row, shots.get(row.row, ()), job.max_tokens, temperature) for row in prepared.split.test]


def _adapters(provider: Provider, prepared: Prepared) -> list[str]:
    """Models of two trainings of a few rows each."""
    from fewtune.providers.contract import Finished, Trial
    from fewtune.types import Plan

    rows = tuple(example.row for example in prepared.split.train[:_TRAINED_ROWS])
    plan = Plan(epochs=1, learning_rate=1e-3)
    trials = [Trial(id=f"t{seed}", plan=plan, seed=seed, train_rows=rows, valid_rows=rows[:1]) for seed in (0, 1)]
    handles = provider.start(trials)
    return [event.model for event in provider.advance(dict.fromkeys(handles)) if isinstance(event, Finished)]


def _timed(provider: Provider, model: str, scores: Sequence[Request], questions: Sequence[Request]) -> dict[str, float]:
    from bench.device import Clock

    clock = Clock()
    _replies(provider.sample(model, scores))
    scoring = clock.read()["seconds"]
    tokens = sum(getattr(one, "tokens", 0) for one in _replies(provider.sample(model, questions)))
    whole = clock.read()
    return {
        "scoring": scoring,
        "writing": whole["seconds"] - scoring,
        "tokens": tokens,
        "cpu_seconds": whole["cpu_seconds"],
    }


def _replies(stream: Iterable[Any]) -> list[Answer | Score]:
    from fewtune.providers.contract import Answer, Score

    return [one for one in stream if isinstance(one, Answer | Score)]


if __name__ == "__main__":
    main()
