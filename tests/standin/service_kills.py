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
    while not until_done or jobs.waiting():
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


def fork(play: Callable[[Engine, Path], None], where: str, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        play(open_service_database(where), folder)
    except BaseException as error:
        print(f"{play.__name__}: {error!r}", file=sys.stderr)
    finally:
        # Nobody ends by himself.
        os._exit(1)


def main(where: str, folder: Path, kills: int) -> None:
    chance = random.Random(kills)
    (folder / LOG).touch()
    roles = [make_jobs, work, work]
    children = [fork(role, where, folder) for role in roles]
    done = 0
    # On a busy machine processes may be killed before they get anywhere; then there are more kills.
    while done < kills or acknowledged(folder) < kills // 2:
        done += 1
        time.sleep(chance.uniform(0.03, 0.12))
        chosen = chance.randrange(len(children))
        if chance.random() < 0.2:
            # It comes back when another one holds its job.
            os.kill(children[chosen], signal.SIGSTOP)
            time.sleep(LEASE_SECONDS + 0.1)
            os.kill(children[chosen], signal.SIGCONT)
            time.sleep(0.02)
        os.kill(children[chosen], signal.SIGKILL)
        _, status = os.waitpid(children[chosen], 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit("a process ended by itself")
        children[chosen] = fork(roles[chosen], where, folder)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    engine = open_service_database(where)
    work(engine, folder, until_done=True)
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
