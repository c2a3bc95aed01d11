"""Peak memory of 1 trial and of 16 together at the same tokens a step: `python -m bench.memory`.

The child and its own children are looked at ten times a second; their proportional set sizes are added up, so that a
page that several of them share counts once (resident sizes where the system has no proportional ones).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil

from bench import bases, report
from bench.child import measure
from bench.job import Job
from bench.rows import add_data_option, require

TRIALS = 16
_ROWS_A_STEP = 32
_SECONDS_BETWEEN_LOOKS = 0.1
_BASES = ("pocket", "smollm2-135m")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    results = [_compare(base, str(options.data.resolve()), options.steps) for base in options.bases]
    lines = [_cells(result, name) for result in results for name in result["peak_bytes"]]
    report.show(("base", "contender", "peak MB", "of one trial's"), lines)
    report.write("memory", {"rows_a_step": _ROWS_A_STEP, "results": results})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--bases", nargs="+", default=list(_BASES), choices=_BASES)
    parser.add_argument("--steps", type=int, default=2, help="of each trial")
    return parser


def _compare(base: str, data: str, steps: int) -> dict[str, Any]:
    """Both read the same 32 rows in every step; TRL's one trial stands beside them, in both its layouts."""
    one = Job(
        base=bases.base(base), data=data, batch_size=_ROWS_A_STEP, steps=steps, dealt_rows=_ROWS_A_STEP, warm_up=False
    )
    sixteen = replace(one, trials=TRIALS, batch_size=_ROWS_A_STEP // TRIALS)
    contenders = {
        "one trial": ("bench.ours:together", one),
        f"{TRIALS} trials together": ("bench.ours:together", sixteen),
        "TRL + PEFT, one trial (padding-free)": ("bench.trl_sft:one_trial", one),
        "TRL + PEFT, one trial (padded)": ("bench.trl_sft:one_trial", replace(one, grouped=True)),
    }
    return {"base": base, "peak_bytes": {name: _peak(*contender) for name, contender in contenders.items()}}


def _peak(function: str, job: Job) -> int:
    print(f"{Path(job.base).name}: {function}, trials: {job.trials}", file=sys.stderr, flush=True)
    return measure(function, asdict(job), watch=_watch)["peak_bytes"]


def _watch(child: subprocess.Popen[str]) -> dict[str, int]:
    """The most that was seen until the child ended; what it prints is little enough to wait in the pipe."""
    peak = 0
    while child.poll() is None:
        peak = max(peak, _held(child.pid))
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return {"peak_bytes": peak}


def _held(pid: int) -> int:
    try:
        process = psutil.Process(pid)
        return sum(_size(one) for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def _size(process: psutil.Process) -> int:
    sizes = process.memory_full_info()
    return getattr(sizes, "pss", sizes.rss)


def _cells(result: dict[str, Any], name: str) -> tuple[str, ...]:
    peak, one = result["peak_bytes"][name], result["peak_bytes"]["one trial"]
    return (result["base"], name, f"{peak / 1e6:,.0f}", f"{peak / one:.2f}")


if __name__ == "__main__":
    main()
