"""Seconds and memory of data preparation by the number of rows: `python -m bench.prepare`.

CSV files of 10,000 to 1,000,000 rows of about 250 bytes, made from the words of the example data, go through
`fewtune.prepare` with all checks and the written parts, each in a process of its own. Memory is the peak of the
process and of its children.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import report
from bench.child import ROOT, environment

_WORDS_OF_A_PROMPT, _WORDS_OF_AN_ANSWER = 10, 38


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prepare", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(_measured(given.child)))
        return
    found = {rows: _in_a_child(rows) for rows in given.rows}
    lines = [
        (
            f"{rows:,}",
            f"{one['megabytes']:.0f}",
            f"{one['read']:.1f}",
            f"{one['prepare']:.1f}",
            f"{one['write']:.1f}",
            f"{1e6 * (one['prepare'] + one['write']) / rows:.0f}",
            f"{one['peak'] / 2**30:.2f}",
        )
        for rows, one in found.items()
    ]
    report.show(("rows", "MB", "reading alone, s", "prepare, s", "write, s", "µs a row", "peak, GiB"), lines)
    report.write("prepare", {str(rows): one for rows, one in found.items()})


def _in_a_child(rows: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        _make(path, rows)
        command = [sys.executable, "-m", "bench.prepare", "--child", str(path)]
        done = subprocess.run(command, check=True, env=environment(), cwd=ROOT, capture_output=True, text=True)
        return {"megabytes": path.stat().st_size / 1e6, **json.loads(done.stdout.splitlines()[-1])}


def _measured(path: Path) -> dict[str, float]:
    import fewtune
    from fewtune.data.read import read

    started = time.perf_counter()
    read(str(path))
    read_in = time.perf_counter()
    prepared = fewtune.prepare(path)
    prepared_in = time.perf_counter()
    prepared.write(path.with_name("prepared"))
    written_in = time.perf_counter()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "read": read_in - started,
        "prepare": prepared_in - read_in,
        "write": written_in - prepared_in,
        "peak": 1024 * peak,
    }


def _make(path: Path, rows: int) -> None:
    """Rows of words drawn by how often they occur in the example data, so that few texts are alike."""
    chance = random.Random(0)
    words = (ROOT / "examples" / "episodes.csv").read_text(encoding="utf-8").replace('"', " ").split()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("prompt", "completion"))
        for _ in range(rows):
            drawn = chance.choices(words, k=_WORDS_OF_A_PROMPT + _WORDS_OF_AN_ANSWER)
            prompt, answer = drawn[:_WORDS_OF_A_PROMPT], drawn[_WORDS_OF_A_PROMPT:]
            writer.writerow((" ".join(prompt) + "?", " ".join(answer).capitalize() + "."))


if __name__ == "__main__":
    main()
