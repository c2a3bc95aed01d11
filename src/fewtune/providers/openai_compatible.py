"""OpenAI's fine-tuning and chat API, at OpenAI or wherever `OPENAI_BASE_URL` points.

A job costs money from the moment it exists, so it is made once: a marker is kept on this disk before the
request and sent inside the job's metadata, and whoever does not know how the request ended looks for it.
"""

from __future__ import annotations

import json
import re
import sys
import time
from base64 import b64decode
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any, cast

import openai
from openai import omit
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from fewtune.errors import ProviderError, UsageError
from fewtune.providers import admission
from fewtune.providers.contract import (
    BASE,
    Answer,
    Ask,
    Capabilities,
    Chunk,
    Event,
    Message,
    Reply,
    Request,
    Trial,
    Workspace,
)
from fewtune.providers.openai_access import check_access, connect, translated
from fewtune.providers.openai_chat import chat_messages, chat_row, chat_tools
from fewtune.providers.openai_job import Progress, end, ending, has_ended, planned, told
from fewtune.providers.refusal import unable
from fewtune.providers.states import States
from fewtune.types import Example, Plan

__all__ = ["OpenAIProvider", "check_access"]

_CAPABILITIES = Capabilities(
    can_pause=False,
    can_fork=False,
    can_branch=False,
    can_join=True,
    can_score=False,
    returns_checkpoints=False,
    returns_row_losses=False,
    bills=True,
    learning_rate="multiplier",
    ranges={"epochs": (1, 50), "batch_size": (1, 256), "learning_rate": (sys.float_info.min, sys.float_info.max)},
)
_MARKER = "fewtune_marker"
_LONGEST_SUFFIX = 40
_PAGE = 100
_LARGEST_SEED = 2**31 - 1


class OpenAIProvider:
    """Handles are trial ids; a model name is the service's own. Raises ProviderError where there is no key."""

    def __init__(self, workspace: Workspace, *, poll_seconds: float = 1.0) -> None:
        self._workspace = workspace
        self._states = States(workspace.folder)
        self._client = connect()
        self._poll_seconds = poll_seconds
        self._uploads: dict[str, str] = {}

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    def start(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        for trial in trials:
            admission.check(trial, _CAPABILITIES)
            self._states.path(trial.id, ".json")
        return tuple(self._begin(trial) for trial in trials)

    def advance(self, targets: Mapping[str, int | None]) -> Generator[Event, None, None]:
        """Watch the jobs to their end, whatever the targets: a job cannot be held at a step."""
        waiting = list(targets)
        while waiting:
            for handle in waiting:
                yield from self._news(handle)
            waiting = [handle for handle in waiting if not self._load(handle).ended]
            if waiting:
                time.sleep(self._poll_seconds)

    def cancel(self, handles: Sequence[str]) -> None:
        for handle in handles:
            progress = self._load(handle)
            if progress.job is None or progress.ended:
                continue
            with translated(self._client):
                self._cancel(progress.job)

    def sample(self, model: str, requests: Iterable[Ask]) -> Iterator[Reply]:
        """One after another: a withdrawal comes when there is nothing left to withdraw."""
        name = self._workspace.base if model == BASE else model
        for request in requests:
            if not isinstance(request, Request):
                continue
            if request.score is not None:
                raise ProviderError("A chat API cannot score a given answer.", where=self._client.base_url.host)
            if refused := unable(request, _CAPABILITIES):
                yield refused
                continue
            with translated(self._client):
                yield from self._answer(name, request)

    def _begin(self, trial: Trial) -> str:
        known = self._states.known(trial.id)
        progress = self._load(trial.id) if known else planned(trial)
        if progress.job is None:
            with translated(self._client):
                job = self._find(progress.marker) if known else None
                job = job or self._create(trial, progress)
            self._save(trial.id, replace(progress, job=job))
        return trial.id

    def _cancel(self, job: str) -> None:
        jobs = self._client.fine_tuning.jobs
        try:
            jobs.cancel(job)
        except openai.APIStatusError:
            if not has_ended(jobs.retrieve(job)):
                raise

    def _create(self, trial: Trial, progress: Progress) -> str:
        training_file = self._upload("train", trial.train_rows)
        validation_file = self._upload("valid", trial.valid_rows) if trial.valid_rows else omit
        self._save(trial.id, progress)
        # The client's own retry would make a second job after an answer that was lost.
        jobs = self._client.with_options(max_retries=0).fine_tuning.jobs
        try:
            job = jobs.create(
                model=self._workspace.base,
                training_file=training_file,
                validation_file=validation_file,
                method={"type": "supervised", "supervised": {"hyperparameters": _hyperparameters(trial.plan)}},
                seed=trial.seed % (_LARGEST_SEED + 1),
                suffix=_suffix(trial.id),
                metadata={"fewtune_trial": trial.id, _MARKER: progress.marker},
                extra_headers={"Idempotency-Key": progress.marker},
            )
        except openai.APIError:
            found = self._find(progress.marker)
            if found is None:
                raise
            return found
        return self._identity(job)

    def _find(self, marker: str) -> str | None:
        # Some services ignore the filter, so each job's metadata is read as well.
        for job in self._client.fine_tuning.jobs.list(metadata={_MARKER: marker}, limit=_PAGE):
            if (job.metadata or {}).get(_MARKER) == marker:
                return job.id
        return None

    def _upload(self, name: str, rows: Sequence[int]) -> str:
        content = _jsonl(self._workspace.examples[row] for row in rows)
        digest = sha256(content).hexdigest()
        if digest not in self._uploads:
            file = (f"{name}-{digest[:12]}.jsonl", content)
            self._uploads[digest] = self._identity(self._client.files.create(file=file, purpose="fine-tune"))
        return self._uploads[digest]

    def _identity(self, answer: object) -> str:
        """The client hands on a web page as a plain string, where JSON was asked for."""
        identity = getattr(answer, "id", None)
        if not isinstance(identity, str):
            fix = "Check that OPENAI_BASE_URL leads to OpenAI's API; it usually ends in /v1."
            where = self._client.base_url.host
            raise ProviderError("The answer is not one of OpenAI's API.", where=where, fix=fix)
        return identity

    def _news(self, handle: str) -> Iterator[Event]:
        """All that happened since the last look, oldest first; what was told is kept even when closed half-way."""
        progress = self._load(handle)
        if progress.ended:
            yield ending(handle, progress)
            return
        job, events, checkpoints = self._look(progress)
        try:
            for after, event in told(handle, progress, events, checkpoints):
                progress = after
                yield event
            if has_ended(job):
                progress = end(progress, job)
                yield from self._fetch_results(handle, job)
                yield ending(handle, progress)
        finally:
            self._save(handle, progress)

    def _look(
        self, progress: Progress
    ) -> tuple[FineTuningJob, list[FineTuningJobEvent], list[FineTuningJobCheckpoint]]:
        if progress.job is None:
            raise UsageError("The trial has no job yet.", fix="Start it again: a job that was made is found.")
        jobs = self._client.fine_tuning.jobs
        with translated(self._client):
            # The state is asked for first: what is listed afterwards is then complete if it says "ended".
            job = jobs.retrieve(progress.job)
            self._identity(job)
            events: list[FineTuningJobEvent] = []
            for event in jobs.list_events(progress.job, limit=_PAGE):
                if event.id == progress.last_event:
                    break
                events.append(event)
            checkpoints = list(jobs.checkpoints.list(progress.job, limit=_PAGE)) if events or has_ended(job) else []
        return job, events[::-1], sorted(checkpoints, key=lambda checkpoint: checkpoint.step_number)

    def _fetch_results(self, handle: str, job: FineTuningJob) -> Iterator[Message]:
        """Losing the table does not lose the model, so it is told and not raised."""
        for file in (job.result_files or [])[:1]:
            try:
                with translated(self._client):
                    content = self._client.files.content(file).read()
                self._states.write(handle, ".results.csv", _plain(content))
            except (ProviderError, ValueError) as error:
                yield Message(handle=handle, text=f"The table of results was not fetched: {error}")

    def _answer(self, model: str, request: Request) -> Iterator[Reply]:
        began, pieces, stop_reason, usage = time.monotonic(), list[str](), None, None
        with self._client.chat.completions.create(
            model=model,
            messages=cast(list[ChatCompletionMessageParam], chat_messages(request)),
            tools=cast(list[ChatCompletionToolParam], chat_tools(request.tools)) or omit,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=omit if request.top_p == 1 else request.top_p,
            seed=request.seed,
            stop=list(request.stop) or omit,
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    stop_reason = choice.finish_reason or stop_reason
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        yield Chunk(id=request.id, text=choice.delta.content)
        if stop_reason is None:
            fix = "Run the same command again: it resumes."
            raise ProviderError("The answer broke off before its end.", where=self._client.base_url.host, fix=fix)
        yield Answer(
            id=request.id,
            text="".join(pieces),
            tokens=usage.completion_tokens if usage else len(pieces),
            stop_reason="length" if stop_reason == "length" else "stop",
            seconds=time.monotonic() - began,
            prompt_tokens=usage.prompt_tokens if usage else None,
        )

    def _load(self, handle: str) -> Progress:
        state = self._states.load(handle)
        state["failure"] = state["failure"] and tuple(state["failure"])
        return Progress(**state)

    def _save(self, handle: str, progress: Progress) -> None:
        self._states.save(handle, asdict(progress))


def _hyperparameters(plan: Plan) -> Any:
    return {"n_epochs": plan.epochs, "batch_size": plan.batch_size, "learning_rate_multiplier": plan.learning_rate}


def _suffix(trial: str) -> str:
    """It ends up in the model's name, where it helps a reader and identifies nothing."""
    return re.sub(r"[^a-z0-9]+", "-", f"fewtune-{trial}".lower())[:_LONGEST_SUFFIX].strip("-")


def _jsonl(examples: Iterable[Example]) -> bytes:
    return "".join(json.dumps(chat_row(example), ensure_ascii=False) + "\n" for example in examples).encode()


def _plain(content: bytes) -> bytes:
    """Some services send the table as it is, some in base64, whose alphabet has no comma."""
    return content if b"," in content else b64decode(content, validate=False)
