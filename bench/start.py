"""Seconds from the command to the first training step: `python -m bench.start`.

`fewtune train examples/episodes.csv` is started as a user would, with a FEWTUNE_HOME of its own. The first point of a
trial's curve is written to the run's SQLite file as soon as the step is done; that file is read, read-only, every
20 ms, and the command is ended when the point is there. Nothing in the command knows that it is watched.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import report
from bench.child import ROOT, environment

_DATA = ROOT / "examples" / "episodes.csv"
_SECONDS_BETWEEN_LOOKS = 0.02
_PATIENCE_SECONDS = 300.0


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(arguments).repeats
    measured = _in_turn(
        {
            "bare Python": lambda: _to_the_end("pass"),
            "import torch": lambda: _to_the_end("import torch"),
            "first training step": _to_the_first_step,
        },
        repeats,
    )
    lines = [(name, f"{statistics.median(s):.2f}", f"{min(s):.2f} to {max(s):.2f}") for name, s in measured.items()]
    report.show(("from the command to", "seconds", "smallest to largest"), lines)
    report.write("start", {"seconds": measured})


def _in_turn(contenders: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            measured[name].append(run())
    return measured


def _to_the_end(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), cwd=ROOT)
    return time.perf_counter() - started


def _to_the_first_step() -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [sys.executable, "-m", "fewtune", "train", str(_DATA), "--json", "--quiet"]
        settings = {**environment(), "FEWTUNE_HOME": home}
        started = time.perf_counter()
        with subprocess.Popen(
            command, env=settings, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as child:
            try:
                _wait_for_a_point(child, Path(home), started)
                return time.perf_counter() - started
            finally:
                child.terminate()


def _wait_for_a_point(child: subprocess.Popen[str], home: Path, started: float) -> None:
    while not _has_a_point(home):
        if child.poll() is not None:
            said = child.stderr.read() if child.stderr else ""
            raise SystemExit(f"The command ended with {child.returncode} before its first step:\n{said}")
        if time.perf_counter() - started > _PATIENCE_SECONDS:
            raise SystemExit(f"No training step within {_PATIENCE_SECONDS:.0f} seconds.")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _has_a_point(home: Path) -> bool:
    from fewtune.store.runs import FILE_NAME

    try:
        connection = sqlite3.connect(f"file:{home / FILE_NAME}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT 1 FROM points LIMIT 1").fetchone() is not None
        finally:
            connection.close()
    except sqlite3.OperationalError:
        # The file or its tables are not there yet.
        return False


if __name__ == "__main__":
    main()
