"""Makers and workers of jobs, killed and stopped at random moments: `python -m standin.service_kills WHERE FOLDER N`.

They write down what was acknowledged, outside of the store; the test compares. At the end nobody is killed any more and
what is left is worked off.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from fewtune.errors import LostLease
from fewtune.store.files import Files
from fewtune.store.job_records import ENDED
from fewtune.store.jobs import Jobs
from fewtune.store.models import Models
from fewtune.store.queue import Claim, Queue
from fewtune.store.service_database import open_service_database
from standin.service_jobs import create

STEPS = 4
LEASE_SECONDS = 0.4
LOG = "acknowledged.txt"


def make_jobs(engine: Engine, folder: Path) -> None:
    """One wish after the other; after a kill the one that was not acknowledged is sent again."""
    jobs, files = Jobs(engine), Files(engine, folder)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND)
    wish, retried = acknowledged(folder), True
    while True:
        with files.begin() as file:
            file.write(f"rows of {wish}".encode())
            training = file.commit(project="red", filename="rows.jsonl", purpose="fine-tune")
        job = create(jobs, str(wish), retried=retried, metadata={"wish": str(wish)}, training_file=training.id)
        # What a client has read: from here on the job may never be lost.
        os.write(log, f"{wish} {job.id} {job.training_file}\n".encode())
        wish, retried = wish + 1, False
        time.sleep(0.02)


def acknowledged(folder: Path) -> int:
    return (folder / LOG).read_bytes().count(b"\n")


def work(engine: Engine, folder: Path, *, until_done: bool = False) -> None:
    queue, jobs = Queue(engine), Jobs(engine)
    # Not `waiting`: a job that a killed worker holds does not wait before its lease is over.
    while not until_done or any(job.state not in ENDED for job in jobs.list("red", limit=10_000).items):
        for claim in queue.claim(str(os.getpid()), seconds=LEASE_SECONDS):
            try:
                do(queue, engine, folder, claim)
            except LostLease:
                continue
        time.sleep(0.005)


def do(queue: Queue, engine: Engine, folder: Path, claim: Claim) -> None:
    queue.stage(claim, "train", state="running")
    for step in range(1, STEPS + 1):
        queue.event(claim, f"Step {step}", once=f"step-{step}")
        queue.checkpoint(claim, step, f"{claim.job}:{step}", {"step": step})
        time.sleep(0.002)
        queue.renew([claim], seconds=LEASE_SECONDS)
    with Files(engine, folder).begin() as file:
        file.write(claim.job.encode())
        results = file.commit(project="red", filename="results.csv", purpose="fine-tune-results")
    Models(engine, folder).add(name=f"ft:{claim.job}", project="red", base="pocket", kind="tuned", job=claim.job)
    queue.end(claim, "succeeded", fine_tuned_model=f"ft:{claim.job}", result_files=[results.id])


class Child:
    """A process that plays one of the roles for ever."""

    def __init__(self, play: Callable[[Engine, Path], None], where: str, folder: Path) -> None:
        self._ready, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                engine = open_service_database(where)
                os.write(told, b".")
                play(engine, folder)
            except BaseException as error:
                print(f"{play.__name__}: {error!r}", file=sys.stderr)
            finally:
                # Nobody ends by himself.
                os._exit(1)
        os.close(told)

    def wait_until_it_works(self) -> None:
        os.read(self._ready, 1)
        os.close(self._ready)

    def stop_until_its_lease_is_over(self) -> None:
        """It comes back when another one holds its job."""
        os.kill(self.pid, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 0.1)
        os.kill(self.pid, signal.SIGCONT)
        time.sleep(0.02)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSIGNALED(status):
            sys.exit("a process ended by itself")


def main(where: str, folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    (folder / LOG).touch()
    roles = [make_jobs, work, work]
    children = [Child(role, where, folder) for role in roles]
    while acknowledged(folder) < 5:
        time.sleep(0.01)
    for _ in range(kills):
        chosen = chance.randrange(len(roles))
        children[chosen].wait_until_it_works()
        time.sleep(chance.uniform(0, 0.1))
        if chance.random() < 0.1:
            children[chosen].stop_until_its_lease_is_over()
        children[chosen].kill()
        children[chosen] = Child(roles[chosen], where, folder)
    for child in children:
        child.kill()
    engine = open_service_database(where)
    work(engine, folder, until_done=True)
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
