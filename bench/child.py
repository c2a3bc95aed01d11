"""One measurement, one fresh process: a function is named, called there with a job, and its JSON comes back.

Also the child's side: `python -m bench.child MODULE:FUNCTION JOB` prints the result as its last line; without a job
it reads one a line from stdin and answers each with a line.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
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


class Standing:
    """A child that stays for several measurements of one function, so that it imports once; a context manager.

    It is started at once and imports while others are measured.
    """

    def __init__(self, function: str, threads: int | None = None) -> None:
        self._function = function
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        command, pipe = [sys.executable, "-m", "bench.child", function], subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment(threads), stdin=pipe, stdout=pipe, stderr=self._log, text=True
        )

    def measure(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """What the function returns for the job; raises ChildFailed."""
        try:
            print(json.dumps(job), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline() if self._process.stdout else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._log.seek(0)
            raise ChildFailed(f"{self._function} ended with {self._process.wait()}:\n{self._log.read()[-3000:]}")
        return json.loads(answer)

    def __enter__(self) -> Standing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file:
                file.close()


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


def _main(named: str, job: str | None = None) -> None:
    module, name = named.split(":")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    if job is None:
        # What libraries print must not stand between the answers.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    function = getattr(importlib.import_module(module), name)
    for given in sys.stdin if job is None else [job]:
        print(json.dumps({**function(json.loads(given)), "peak_rss_bytes": peak_rss_bytes()}), file=answers, flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
