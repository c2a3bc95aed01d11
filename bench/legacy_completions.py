"""`--recipe openai-2022` beside the tool that it stands for, on the same rows: `python -m bench.legacy_completions`.

A CSV file of drawn sentences is made once; each contender reads, checks and writes it in a process of its own, in
turn. Two clocks run: one from the start of the process to its end, one inside it, when everything is imported. The
outputs must be the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import prepare_data_2022, report
from bench.child import measure

_WORDS = ("harbour", "lantern", "quiet", "seven", "market", "violet", "kettle", "bridge", "cold", "summer", "ticket")
_SEED = 2022


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.legacy_completions", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(arguments)
    prepare_data_2022.installed()
    contenders = {"openai 0.25.0": _theirs, "--recipe openai-2022": _ours}
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        _make(file, asked.rows)
        for _ in range(asked.repeats):
            for name, contender in contenders.items():
                measured[name].append(_timed(contender, file))
    _tell(measured, asked.rows)


def _make(file: Path, rows: int) -> None:
    drawn = random.Random(_SEED)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "prompt", "completion"])
        for number in range(rows):
            writer.writerow([number, _sentence(drawn, 8), _sentence(drawn, 30)])


def _sentence(drawn: random.Random, longest: int) -> str:
    separator = drawn.choice([" ", " ", ", ", ' "', "\n"])
    return separator.join(drawn.choices(_WORDS, k=drawn.randint(3, longest))).capitalize()


def _timed(contender: Callable[[Path], dict[str, Any]], file: Path) -> dict[str, Any]:
    started = time.perf_counter()
    result = contender(file)
    seconds = time.perf_counter() - started
    written = file.with_name("rows_prepared.jsonl")
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    written.unlink()
    return {**result, "process_seconds": seconds, "sha256": digest}


def _theirs(file: Path) -> dict[str, Any]:
    (ended,) = prepare_data_2022.prepare_all([file])
    if ended.error:
        raise SystemExit(f"The old tool broke off: {ended.error}")
    return {"seconds": ended.seconds, "peak_rss_bytes": ended.peak_rss_bytes}


def _ours(file: Path) -> dict[str, Any]:
    return measure("bench.legacy_completions:prepare", {"file": str(file)})


def prepare(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a child: the recipe."""
    from fewtune.data.legacy_completions.preparation import prepare_2022

    started = time.perf_counter()
    file = Path(job["file"])
    prepare_2022(file).write(file.parent)
    return {"seconds": time.perf_counter() - started}


def _tell(measured: Mapping[str, Sequence[Mapping[str, Any]]], rows: int) -> None:
    if len({run["sha256"] for runs in measured.values() for run in runs}) != 1:
        raise SystemExit("The two wrote different files.")
    clocks = {"seconds": "when imported", "process_seconds": "the whole process"}
    medians = {n: {c: statistics.median(run[c] for run in runs) for c in clocks} for n, runs in measured.items()}
    peaks = {n: max(run["peak_rss_bytes"] for run in runs) / 2**20 for n, runs in measured.items()}
    old, new = medians.values()
    ratios = {clock: old[clock] / new[clock] for clock in clocks}
    lines = [(n, *(f"{m[clock]:.2f} s" for clock in clocks), f"{peaks[n]:,.0f} MiB") for n, m in medians.items()]
    report.show((f"{rows:,} rows", *clocks.values(), "peak memory"), lines)
    print(f"{ratios['seconds']:.1f} times as fast when imported, {ratios['process_seconds']:.1f} with the start.")
    report.write("legacy_completions", {"rows": rows, "runs": measured, "ratios": ratios})


if __name__ == "__main__":
    main()
