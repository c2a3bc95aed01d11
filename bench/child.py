"""One measurement, one fresh process: a function is named, called there with a job, and its JSON comes back.

Also the child's side: `python -m bench.child MODULE:FUNCTION JOB` prints the result as its last line.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


class ChildFailed(RuntimeError):
    """A measurement ended without a result; the message holds the end of what the child said."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(
    function: str,
    job: Mapping[str, Any],
    threads: int | None = None,
    watch: Callable[[subprocess.Popen[str]], Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Call `module:function` with the job in a new interpreter; what it returns, with `peak_rss_bytes`.

    Without `threads` the function decides. `watch` looks at the child while it runs and adds what it saw.
    Raises ChildFailed.
    """
    command = [sys.executable, "-m", "bench.child", function, json.dumps(job)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(threads), stdout=pipe, stderr=subprocess.STDOUT, text=True
    ) as child:
        seen = watch(child) if watch else {}
        said = child.communicate()[0].strip()
    if child.returncode:
        raise ChildFailed(f"{function} ended with {child.returncode}:\n{said[-3000:]}")
    return {**json.loads(said.splitlines()[-1]), **seen}


def environment(threads: int | None = None) -> dict[str, str]:
    """This process's environment without its thread settings, or with the given one; the hub stays shut."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), str(ROOT), kept.get("PYTHONPATH"))))
    chosen = dict.fromkeys(names, str(threads)) if threads else {}
    return {**kept, **chosen, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def peak_rss_bytes() -> int:
    """The most memory that this process ever held in RAM; its own children are not in it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_OF_MAXRSS


def _main(function: str, job: str) -> None:
    module, name = function.split(":")
    result = getattr(importlib.import_module(module), name)(json.loads(job))
    print(json.dumps({**result, "peak_rss_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
