"""The machine's fp32 matrix rate: `python -m bench.rate`.

One process a core, single-threaded, all at the same time, each multiplying (1024 x 896) by (896 x 4864) with numpy.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

from bench import report
from bench.child import ROOT, cores, environment

_ROWS, _INNER, _COLUMNS = 1024, 896, 4864
_SECONDS = 1.0
_SAMPLES = 5


class MatrixRate:
    """A process for each core that sleeps between samples; a context manager, since they end with it."""

    def __enter__(self) -> MatrixRate:
        command = [sys.executable, "-m", "bench.rate", "--worker"]
        pipe, settings = subprocess.PIPE, environment(threads=1)
        self._workers = [
            subprocess.Popen(command, cwd=ROOT, env=settings, stdin=pipe, stdout=pipe, text=True)
            for _ in range(cores())
        ]
        self.sample()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.communicate()

    def sample(self) -> float:
        """FLOP/s of all cores together, over about a second."""
        for worker in self._workers:
            print("go", file=worker.stdin, flush=True)
        return sum(float(worker.stdout.readline()) for worker in self._workers if worker.stdout)


def described(samples: list[float]) -> dict[str, Any]:
    """Median, smallest and largest, in FLOP/s."""
    return {
        "median": statistics.median(samples),
        "smallest": min(samples),
        "largest": max(samples),
        "samples": len(samples),
    }


def sentence(rate: dict[str, Any]) -> str:
    billions = {name: f"{value / 1e9:,.0f}" for name, value in rate.items()}
    return (
        f"Matrix rate of the machine: {billions['median']} GFLOP/s"
        f" ({billions['smallest']} to {billions['largest']} in {rate['samples']} samples)."
    )


def _work() -> None:
    """Answer each line on stdin with the FLOP/s of this process; ends where stdin does."""
    import numpy as np

    draw = np.random.default_rng(0)
    left, right = (draw.standard_normal(shape, dtype=np.float32) for shape in ((_ROWS, _INNER), (_INNER, _COLUMNS)))
    product = left @ right
    for _ in sys.stdin:
        started, times = time.perf_counter(), 0
        while (seconds := time.perf_counter() - started) < _SECONDS:
            np.matmul(left, right, out=product)
            times += 1
        print(2 * _ROWS * _INNER * _COLUMNS * times / seconds, flush=True)


def main() -> None:
    with MatrixRate() as rate:
        measured = described([rate.sample() for _ in range(_SAMPLES)])
    print(sentence(measured))
    report.write("rate", {"matrix_rate": measured})


if __name__ == "__main__":
    _work() if "--worker" in sys.argv else main()
