"""A worker as a process of its own."""

from __future__ import annotations

import argparse
import logging
import os
import signal

from fewtune.service.leash import end_at_once, hold
from fewtune.service.logs import log_to_stderr
from fewtune.service.settings import ServiceSettings
from fewtune.service.worker.archive import open_archive
from fewtune.service.worker.loop import Worker


def main() -> None:
    """`--number` is the worker's own, from 0; `--leash` the descriptor of a pipe that ends with the supervisor."""
    parser = argparse.ArgumentParser(prog="fewtune.service.worker")
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--leash", type=int)
    given = parser.parse_args()
    run(ServiceSettings.from_environment(), given.number, given.leash)


def run(settings: ServiceSettings, number: int, leash: int | None = None) -> None:
    """Until SIGTERM or SIGINT, after which jobs are saved and given back, or a second one; ends the process."""
    os.umask(0o077)
    log_to_stderr(f"worker {number}")
    if leash is not None:
        hold(leash, end_at_once)
    worker = Worker(open_archive(settings), number)
    stopping = [False]

    def stop(_number: int, _frame: object) -> None:
        if stopping[0]:
            end_at_once()
        stopping[0] = True
        worker.stop()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    worker.run()
    # Not the interpreter's own end, which would wait for threads that prepare a job.
    logging.shutdown()
    os._exit(0)
