"""How long the views of large sweeps take: `python -m bench.views`.

The views of a sweep of 10,000 trials; the report of 100 trials, and of 50 trials × 2,000 points × 10,000 predictions;
and asking a searcher for the next candidate after 1,000 and 10,000. Runs are made up, so nothing is trained. Each is
done once before it counts, since the first drawing starts the drawing library.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import report
from fewtune.experiment.searching import space_of
from fewtune.experiment.settings import RunSettings
from fewtune.report import html
from fewtune.report.data_part import DataPart
from fewtune.report.summary import CurvePoint, PredictionLine, Summary, TrialLine
from fewtune.report.views import views
from fewtune.search.searchers import RandomSearcher, Searcher
from fewtune.search.space import Space
from fewtune.search.tpe import TpeSearcher

_WIDE, _NARROW = 880, 350
_WORDS = ("the", "crew", "of", "ship", "finds", "itself", "in", "city", "where", "time", "has", "stopped", "remembers")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    rows = [timed(name, made(), options.repeats) for name, made in _cases().items() if options.only in name]
    report.show(("what", "seconds", "CPU seconds"), [(name, f"{wall:.3f}", f"{cpu:.3f}") for name, wall, cpu in rows])
    report.write("views", {"seconds": {name: {"wall": wall, "cpu": cpu} for name, wall, cpu in rows}})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.views", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="only what has this in its name")
    return parser


def timed(name: str, work: Callable[[], object], repeats: int) -> tuple[str, float, float]:
    """The least wall-clock and CPU seconds of so many repeats, all threads counted."""
    work()
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return name, min(walls), min(cpus)


def _cases() -> Mapping[str, Callable[[], Callable[[], object]]]:
    """By name, what prepares the work and gives it back."""
    cases: dict[str, Callable[[], Callable[[], object]]] = {
        "views of 10,000 trials": lambda: partial(views, swept(10_000), _WIDE, _NARROW),
        "report of 100 trials x 200 points": lambda: partial(html.render, swept(100, points=200)),
        "report of 50 trials x 2,000 points x 10,000 predictions": lambda: partial(
            html.render, swept(50, points=2_000, predictions=10_000)
        ),
    }
    for number in (1_000, 10_000):
        cases[f"asking quasi after {number:,} trials"] = partial(_asked, _quasi, number)
        cases[f"asking TPE after {number:,} trials"] = partial(_asked, partial(TpeSearcher, seed=0), number)
    return cases


def _quasi(space: Space) -> Searcher:
    return RandomSearcher(space, 0, even=True)


def _asked(new: Callable[[Space], Searcher], number: int) -> Callable[[], object]:
    """A searcher that knows so many candidates, asked for one more each time."""
    settings = RunSettings(data="", learning_rates="1e-4..3e-3 log", rank="4..64 log", adapt_top="0.25..1 linear")
    searcher, chance = new(space_of(settings, rows=10**6)), random.Random(0)
    for plan in RandomSearcher(space_of(settings, rows=10**6), 1).ask(number):
        searcher.tell(plan, chance.random())
    return lambda: searcher.ask(1)


def swept(trials: int, points: int = 0, predictions: int = 0) -> Summary:
    """A random search over rate, epochs and rank, with curves of so many points each."""
    chance = random.Random(5)
    lines = tuple(_trial(place, chance) for place in range(trials))
    best = min(lines, key=lambda one: one.valid_loss or math.inf)
    return Summary(
        id="made-up",
        created="2026-01-01T00:00:00+00:00",
        state="finished",
        verdict="Made up: nothing was trained.",
        base="pocket",
        provider="local",
        seed=0,
        command="fewtune sweep made-up.csv",
        settings={},
        versions={},
        machine="",
        seconds=1.0,
        usd=0.0,
        data=_data(),
        trials=lines,
        chosen=best.id,
        tied=(),
        curves={line.trunk: _curve(line, points, chance) for line in lines} if points else {},
        systems=(),
        differences=(),
        predictions=tuple(_prediction(place, chance) for place in range(predictions)),
        files={},
    )


def _trial(place: int, chance: random.Random) -> TrialLine:
    rate, epochs, rank = 10 ** chance.uniform(-4, -2), chance.choice((1, 2, 4, 8)), chance.choice((2, 8, 32))
    loss = 2 + 0.6 * (math.log10(rate) + 3) ** 2 + 0.03 * abs(epochs - 4) + chance.gauss(0, 0.02)
    return TrialLine(
        id=f"t{place}-e{epochs}",
        trunk=f"t{place}",
        plan={"base": "pocket", "epochs": epochs, "batch_size": 4, "learning_rate": rate, "rank": rank},
        state="finished",
        failure=None,
        valid_loss=loss,
        valid_token_accuracy=0.5,
        valid_sequence_accuracy=0.0,
        tokens=1_000 * epochs,
        seconds=float(epochs),
        usd=0.0,
    )


def _curve(line: TrialLine, points: int, chance: random.Random) -> tuple[CurvePoint, ...]:
    """With a validation at each hundredth of the way."""
    every, end = max(1, points // 100), line.valid_loss or 0.0
    return tuple(
        CurvePoint(
            step=step,
            epoch=line.plan["epochs"] * step / points,
            train_loss=end + 2 * math.exp(-5 * step / points) + chance.gauss(0, 0.1),
            valid_loss=end + 2 * math.exp(-5 * step / points) if step % every == 0 else None,
            valid_token_accuracy=None,
            valid_sequence_accuracy=None,
        )
        for step in range(1, points + 1)
    )


def _prediction(place: int, chance: random.Random) -> PredictionLine:
    said = {name: " ".join(chance.choices(_WORDS, k=40)) for name in ("base", "few-shot", "tuned")}
    expected = " ".join(chance.choices(_WORDS, k=40))
    return PredictionLine(source=f"made-up.csv:{place + 2}", prompt=f"Row {place}", expected=expected, answers=said)


def _data() -> DataPart:
    rows = {"rows_read": 220, "rows_kept": 220, "train_rows": 160, "valid_rows": 30, "test_rows": 30}
    return DataPart(
        file="made-up.csv",
        sha256="",
        dropped={},
        findings=(),
        train_tokens=None,
        trained_tokens=None,
        task="text",
        **rows,
    )


if __name__ == "__main__":
    main()
