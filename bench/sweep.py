"""A sweep against the same grid trained plan by plan: `python -m bench.sweep`.

Ours once as it is by default, with the finalists' folds, and once without them, since the grid has none; TRL + PEFT at
its fastest setting, one run after another. Each part is kept in build/bench/sweep-parts.json as soon as it is measured,
so that the measurement may be cut short and gone on with; `--anew` begins again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench import race, report
from bench.child import ROOT, Standing, cores, measure
from bench.comparison import tokens_per_second
from bench.grid import BASE, BATCH_SIZES, GridRun, grid, shortened
from bench.job import Job
from bench.rows import DEFAULT
from bench.training import TRL, trl_name

PARTS = ("sweep", "without folds", "grid")
DATA = {"episodes": ROOT / "examples" / "episodes.csv", "Doctor Who": DEFAULT}
_OURS = {"sweep": None, "without folds": 0}
"""Folds of a sweep; None leaves them to it."""
_TIMED_ROWS = 64
_FILE = report.FOLDER / "sweep-parts.json"
_DRAWING = ROOT / "docs" / "sweep.svg"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    kept = _Kept(path=_FILE, found={} if options.anew or not _FILE.exists() else json.loads(_FILE.read_text()))
    lanes: dict[str, list[race.Lane]] = {}
    for name in options.data:
        if not DATA[name].is_file():
            print(f"{name} is left out: there is no file {DATA[name]}, and it is not part of the project.")
            continue
        with _rows(DATA[name], options.rows) as path:
            for part in options.part:
                _measure_part(kept, _Place(name=name, rows=options.rows, data=path), part)
        lanes[name] = _lanes(kept, _Place(name=name, rows=options.rows, data=Path()))
    for name, found in lanes.items():
        _show(name, found)
    report.write("sweep", {"parts": kept.found})
    if options.draw and lanes:
        _DRAWING.write_text(race.drawn({name: found for name, found in lanes.items() if found}), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--part", nargs="*", default=list(PARTS), choices=PARTS, help="only these; none: show them")
    parser.add_argument("--rows", type=int, help="only the first so many rows of a file, to try it")
    parser.add_argument("--anew", action="store_true", help="forget what was measured before")
    parser.add_argument("--draw", action="store_true", help="write docs/sweep.svg")
    return parser


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A data set, as far as it is taken."""

    name: str
    rows: int | None
    data: Path

    def key(self, *parts: str) -> str:
        return " / ".join((self.name, f"{self.rows or 'all'} rows", *parts))


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Results by their names, written as soon as there is a new one."""

    path: Path
    found: dict[str, Any]

    def once(self, key: str, measured: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        if key not in self.found:
            self.found[key] = dict(measured())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
            _tell(f"{key}: {self.found[key].get('seconds', 0):,.1f} s")
        return self.found[key]


@contextmanager
def _rows(data: Path, count: int | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield shortened(data, count, Path(folder)) if count else data


def _measure_part(kept: _Kept, place: _Place, part: str) -> None:
    if part in _OURS:
        job = {"data": str(place.data), "folds": _OURS[part]}
        kept.once(place.key(part), lambda: measure("bench.our_sweep:sweep", job))
        return
    for batch_size in BATCH_SIZES:
        best = kept.once(f"settings / batch {batch_size}", lambda size=batch_size: _fastest(size))
        runs = [replace(one, grouped=best["grouped"]) for one in grid(str(place.data)) if one.batch_size == batch_size]
        missing = [one for one in runs if place.key(part, one.key) not in kept.found]
        if missing:
            _train(kept, place, missing, best["threads"])


def _train(kept: _Kept, place: _Place, missing: Sequence[GridRun], threads: int) -> None:
    with Standing("bench.trl_grid:one_run", threads) as standing:
        for one in missing:
            measured = lambda run=one: {**standing.measure(run.job()), "epochs": run.epochs}  # noqa: E731
            kept.once(place.key("grid", one.key), measured)


def _fastest(batch_size: int) -> dict[str, Any]:
    """TRL's layout and threads, by a short training each on the example data."""
    job = Job(base=BASE, data=str(DATA["episodes"]), batch_size=batch_size, steps=_TIMED_ROWS // batch_size)
    tried = {
        (grouped, threads): measure(TRL, asdict(replace(job, grouped=grouped)), threads)
        for grouped in (False, True)
        for threads in sorted({1, cores()})
    }
    grouped, threads = max(tried, key=lambda one: tokens_per_second(tried[one]))
    rates = {trl_name(*one): round(tokens_per_second(found)) for one, found in tried.items()}
    return {"grouped": grouped, "threads": threads, "tokens_per_second": rates}


def _lanes(kept: _Kept, place: _Place) -> list[race.Lane]:
    """Of the contenders that were measured to the end, the grid first."""
    keys = {run: place.key("grid", run.key) for run in grid("")}
    found: list[race.Lane] = []
    if all(key in kept.found for key in keys.values()):
        found.append(race.one_after_another("TRL + PEFT, run by run", [kept.found[key] for key in keys.values()]))
    for part, label in (("sweep", "fewtune sweep"), ("without folds", "fewtune sweep without folds")):
        if (key := place.key(part)) in kept.found:
            found.append(race.swept(label, kept.found[key]))
    return found


def _show(name: str, found: Sequence[race.Lane]) -> None:
    if not found:
        return
    print(f"**{name}**")
    report.show(race.HEADINGS, [race.cells(lane, found[0]) for lane in found])
    steps = [(lane, *step) for lane in found for step in lane.curve]
    report.show(
        ("contender", "seconds", "lowest loss so far"),
        [(lane.name, f"{seconds:,.1f}", f"{loss:.3f}") for lane, seconds, loss in steps],
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
