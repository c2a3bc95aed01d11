"""A store with jobs in it, and worker processes that really run; what the tests of the service's inside share."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from fewtune.service.settings import ServiceSettings
from fewtune.service.worker.address import worker_socket
from fewtune.service.worker.archive import Archive, open_archive
from fewtune.service.worker.process import run
from fewtune.store.job_records import EventRecord, JobRecord, NewJob
from standin.processes import forkserver

PROJECT = "default"
ENDED = ("succeeded", "failed", "cancelled")


def fake_settings(folder: Path, **changed: Any) -> ServiceSettings:
    """Jobs that train at once, leases that end soon."""
    settings = ServiceSettings(folder=folder, provider="fake", lease_seconds=0.5, renewal_seconds=0.1)
    return replace(settings, **changed)


def chat_lines(count: int, *, first: int = 0, padding: int = 0) -> bytes:
    """Distinct chats, so that none is nearly another; `padding` is how many characters their answers are longer."""
    return b"".join(_chat(number, padding) for number in range(first, first + count))


def _chat(number: int, padding: int) -> bytes:
    word = hashlib.sha256(str(number).encode()).hexdigest()
    answer = f"It is {word}{'x' * padding}"
    turns = [{"role": "user", "content": f"What does {word} say?"}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns}).encode() + b"\n"


@dataclass(kw_only=True)
class Service:
    """The worker's side of a service, without the web."""

    settings: ServiceSettings
    archive: Archive
    workers: dict[int, BaseProcess] = field(default_factory=dict[int, BaseProcess])
    before: Callable[[], None] | None = None
    """Done in the worker's process before it begins."""

    def start(self, number: int = 0) -> None:
        log = str(self.settings.folder / f"worker-{number}.log")
        arguments = (self.settings.to_json(), number, log, self.before)
        self.workers[number] = forkserver().Process(target=_be_worker, args=arguments)
        self.workers[number].start()

    def log(self, number: int = 0) -> str:
        return (self.settings.folder / f"worker-{number}.log").read_text()

    def kill(self, number: int = 0) -> None:
        self.workers[number].kill()
        self.workers[number].join()

    def stop(self) -> None:
        for process in self.workers.values():
            process.terminate()
        for process in self.workers.values():
            process.join(60)

    def file(self, content: bytes) -> str:
        with self.archive.files.begin() as writing:
            writing.write(content)
            return writing.commit(project=PROJECT, filename="data.jsonl", purpose="fine-tune").id

    def job(
        self,
        training: bytes | str,
        validation: bytes | None = None,
        *,
        hyperparameters: Mapping[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """Its id; the worker, where there is one, looks at once."""
        new = NewJob(
            project=PROJECT,
            key_id="key",
            model=changed.pop("model", "pocket"),
            base="pocket",
            method="supervised",
            training_file=training if isinstance(training, str) else self.file(training),
            validation_file=None if validation is None else self.file(validation),
            hyperparameters=hyperparameters or {},
            seed=1,
        )
        job = self.archive.jobs.create(
            replace(new, **changed), idempotency_key=None, body_sha256=os.urandom(8).hex(), retried=False
        )
        self.wake()
        return job.id

    def wake(self) -> None:
        try:
            with Asking(self) as asking:
                asking.tell({"wake": True})
        except OSError:
            # It looks by itself, within a second.
            return

    def record(self, job: str) -> JobRecord:
        found = self.archive.jobs.get(PROJECT, job)
        assert found is not None
        return found

    def events(self, job: str) -> list[EventRecord]:
        """The oldest first."""
        return self.archive.jobs.events(PROJECT, job, limit=10_000).items[::-1]

    def messages(self, job: str) -> list[str]:
        return [event.message for event in self.events(job)]

    def wait(self, job: str, until: Callable[[JobRecord], bool] | None = None, *, seconds: float = 60) -> JobRecord:
        """Until the job has ended, or this is so of it."""

        def there() -> JobRecord | None:
            record = self.record(job)
            return record if (until(record) if until else record.state in ENDED) else None

        return wait_for(there, seconds=seconds)

    def wait_for_message(self, job: str, part: str, *, seconds: float = 60) -> None:
        wait_for(lambda: any(part in message for message in self.messages(job)) or None, seconds=seconds)


class Asking:
    """The web's end of a worker's socket."""

    def __init__(self, service: Service, number: int = 0) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        try:
            self._connection.connect(str(worker_socket(service.settings.folder, number)))
        except OSError:
            self._connection.close()
            raise
        self._file = self._connection.makefile("rb")

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._connection.close()

    def tell(self, message: Mapping[str, Any]) -> None:
        self.write(json.dumps(message).encode() + b"\n")

    def write(self, line: bytes) -> None:
        self._connection.sendall(line)

    def hear(self) -> dict[str, Any]:
        line = self._file.readline()
        assert line, "the worker has closed the connection"
        return json.loads(line)

    def ask(self, id: int, prompt: str, *, name: str = "base", **request: Any) -> None:
        self.tell({"ask": id, "model": {"name": name, "base": "pocket"}, "request": {"prompt": prompt, **request}})

    def end(self, id: int) -> dict[str, Any]:
        """The answer or refusal of a question; what comes before it is dropped."""
        while True:
            heard = self.hear()
            for kind in ("answers", "refusals", "scores"):
                for one in heard.get(kind, []):
                    if one["id"] == id:
                        return {"kind": kind, **one}


def _be_worker(settings: str, number: int, log: str, before: Callable[[], None] | None) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 2)
    if before is not None:
        before()
    run(ServiceSettings.from_json(settings), number)


def open_service(settings: ServiceSettings) -> Service:
    settings.folder.mkdir(parents=True, exist_ok=True)
    return Service(settings=settings, archive=open_archive(settings))


def wait_for(found: Callable[[], Any], *, seconds: float = 60) -> Any:
    """What it gives once that is not None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value is not None:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def counted(messages: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for message in messages:
        found[message] = found.get(message, 0) + 1
    return found
