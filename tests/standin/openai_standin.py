"""A fine-tuning service on this machine that answers in OpenAI's shapes; each look at a job moves it on."""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "sk-standin-0123456789"
BASE_MODEL = "standin-mini"
OUTSIDE_MODEL = "outside"
CREATED = 1_700_000_000
METRICS = ("train_loss", "train_mean_token_accuracy", "valid_loss", "valid_mean_token_accuracy")


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "standin_error", "param": None, "code": code}}
        self.headers = headers or {}


@dataclass
class Fault:
    """What to answer instead, the next `times` times that the method and the path's end match."""

    method: str
    path_end: str
    refusal: Refused
    times: int = 1
    after_commit: bool = False


@dataclass
class Job:
    id: str
    request: dict[str, Any]
    rows: int
    status: str = "validating_files"
    step: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    result_files: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=lambda: ["step,train_loss,train_accuracy,valid_loss"])

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return self.request["method"]["supervised"]["hyperparameters"]

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.rows / self.hyperparameters["batch_size"])

    @property
    def steps(self) -> int:
        return self.steps_per_epoch * self.hyperparameters["n_epochs"]

    @property
    def model(self) -> str:
        return f"ft:{self.request['model']}:acme:{self.request.get('suffix', '')}:{self.id[-4:]}"


class Standin:
    """The service; `url` is what OPENAI_BASE_URL should be. Close it when done."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes]] = {}
        self.jobs: dict[str, Job] = {}
        self.requests: list[tuple[str, str, Any]] = []
        """Method, path and JSON body of everything that was asked, in order."""
        self.faults: list[Fault] = []
        self.steps_per_look = 2
        self.page_size = 3
        self.results_in_base64 = False
        self.ignores_metadata_filter = False
        self.failing: tuple[str, str] | None = None
        """Code and message with which jobs fail after their first step."""
        self.says: Callable[[dict[str, Any]], str | None] = lambda given: given["messages"][-1]["content"]
        """What a model named `outside` answers to a request; None is a refusal."""
        self.refused_parameters: set[str] = set()
        self.read, self.written = 10, 2
        """Tokens that it tells for each such answer."""
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.standin = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def refuse(
        self,
        method: str,
        path_end: str,
        status: int,
        message: str = "No.",
        *,
        code: str | None = None,
        times: int = 1,
        after_commit: bool = False,
    ) -> None:
        headers = {"retry-after-ms": "1", "x-request-id": "req_standin"}
        refusal = Refused(status, message, code, headers)
        self.faults.append(Fault(method, path_end, refusal, times, after_commit))

    def asked(self, method: str, path_end: str) -> list[Any]:
        """The bodies of such requests."""
        return [body for m, path, body in self.requests if m == method and path.endswith(path_end)]

    def answer(self, method: str, target: str, key: str, kind: str, body: bytes) -> Any:
        with self._lock:
            parts = urlsplit(target)
            path = unquote(parts.path).removeprefix("/v1")
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            given = json.loads(body) if kind.startswith("application/json") and body else None
            self.requests.append((method, path, given))
            if key != f"Bearer {KEY}":
                raise Refused(401, f"Incorrect API key provided: {key.removeprefix('Bearer ')}.", "invalid_api_key")
            fault = self._fault(method, path)
            if fault and not fault.after_commit:
                raise fault.refusal
            answer = self._route(method, path.strip("/").split("/"), query, given, kind, body)
            if fault:
                raise fault.refusal
            return answer

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and path.endswith(fault.path_end):
                fault.times -= 1
                return fault
        return None

    def _route(self, method: str, path: list[str], query: dict[str, str], given: Any, kind: str, body: bytes) -> Any:
        match method, *path:
            case "POST", "files":
                return self._upload(kind, body)
            case "GET", "files", name, "content":
                return self._content(name)
            case "POST", "fine_tuning", "jobs":
                return self._create(given)
            case "GET", "fine_tuning", "jobs":
                return self._page([self._shown(job) for job in self._filtered(query)], query)
            case "GET", "fine_tuning", "jobs", name:
                return self._shown(self._look(name))
            case "POST", "fine_tuning", "jobs", name, "cancel":
                return self._cancel(self._job(name))
            case "GET", "fine_tuning", "jobs", name, "events":
                return self._page(self._job(name).events[::-1], query)
            case "GET", "fine_tuning", "jobs", name, "checkpoints":
                return self._page(self._job(name).checkpoints[::-1], query)
            case "POST", "chat", "completions":
                return self._chat(given)
            case _:
                raise Refused(404, f"Unknown path {'/'.join(path)}.")

    def _upload(self, kind: str, body: bytes) -> dict[str, Any]:
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        parts = {
            str(part.get_param("name", header="content-disposition")): part
            for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()  # type: ignore[attr-defined]
        }
        content: bytes = parts["file"].get_payload(decode=True)
        name = f"file-{len(self.files) + 1:04d}"
        self.files[name] = (str(parts["file"].get_filename()), content)
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": CREATED,
            "filename": parts["file"].get_filename(),
            "purpose": parts["purpose"].get_payload(decode=True).decode(),
            "status": "processed",
        }

    def _content(self, name: str) -> bytes:
        if name not in self.files:
            raise Refused(404, f"No such file: {name}.")
        content = self.files[name][1]
        return base64.b64encode(content) if self.results_in_base64 else content

    def _create(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["model"] != BASE_MODEL:
            raise Refused(404, f"The model {given['model']} does not exist.", "model_not_found")
        job = Job(f"ftjob-{len(self.jobs) + 1:04d}", given, rows=len(self._rows(given["training_file"])))
        self.jobs[job.id] = job
        self._tell(job, f"Created fine-tuning job: {job.id}")
        return self._shown(job)

    def _rows(self, file: str) -> list[tuple[str, str]]:
        rows = [json.loads(line)["messages"] for line in self.files[file][1].decode().splitlines()]
        return [(turns[0]["content"], turns[-1]["content"]) for turns in rows]

    def _job(self, name: str) -> Job:
        if name not in self.jobs:
            raise Refused(404, f"Could not find fine tune: {name}.", "fine_tune_not_found")
        return self.jobs[name]

    def _filtered(self, query: dict[str, str]) -> Iterator[Job]:
        wanted = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
        for job in reversed(self.jobs.values()):
            if self.ignores_metadata_filter or wanted.items() <= job.request.get("metadata", {}).items():
                yield job

    def _look(self, name: str) -> Job:
        job = self._job(name)
        if job.status == "validating_files":
            job.status = "running"
            self._tell(job, "Fine-tuning job started")
        elif job.status == "running":
            for _ in range(min(self.steps_per_look, job.steps - job.step)):
                self._step(job)
            if self.failing:
                job.status = "failed"
            elif job.step == job.steps:
                self._finish(job)
        return job

    def _step(self, job: Job) -> None:
        job.step += 1
        loss = 2.0 * math.exp(-job.hyperparameters["learning_rate_multiplier"] * job.step) + 0.5
        metrics = dict(zip(METRICS, (loss, math.exp(-loss), loss + 0.1, math.exp(-loss - 0.1)), strict=True))
        epoch_ends = job.step % job.steps_per_epoch == 0
        if epoch_ends:
            metrics |= {"full_valid_loss": loss + 0.2, "full_valid_mean_token_accuracy": math.exp(-loss - 0.2)}
        data = {"step": job.step, "total_steps": job.steps, **metrics}
        self._tell(job, f"Step {job.step}/{job.steps}: training loss={loss:.2f}", data)
        job.table.append(f"{job.step},{loss},{math.exp(-loss)},{loss + 0.1}")
        if epoch_ends:
            job.checkpoints.append(
                {
                    "id": f"ftckpt_{job.id}_{job.step}",
                    "object": "fine_tuning.job.checkpoint",
                    "created_at": CREATED + job.step,
                    "fine_tuned_model_checkpoint": f"{job.model}:ckpt-step-{job.step}",
                    "fine_tuning_job_id": job.id,
                    "step_number": job.step,
                    "metrics": {"step": job.step, **metrics},
                }
            )

    def _finish(self, job: Job) -> None:
        name = f"file-results-{job.id}"
        self.files[name] = ("step_metrics.csv", ("\n".join(job.table) + "\n").encode())
        job.result_files, job.status = [name], "succeeded"
        self._tell(job, "The job has successfully completed")

    def _tell(self, job: Job, message: str, data: dict[str, Any] | None = None) -> None:
        job.events.append(
            {
                "id": f"ftevent-{job.id}-{len(job.events)}",
                "object": "fine_tuning.job.event",
                "created_at": CREATED,
                "level": "info",
                "message": message,
                "type": "metrics" if data else "message",
                "data": data,
            }
        )

    def _cancel(self, job: Job) -> dict[str, Any]:
        if job.status in ("succeeded", "failed", "cancelled"):
            raise Refused(400, f"Job has already {job.status}.", "invalid_request_error")
        job.status = "cancelled"
        return self._shown(job)

    def _shown(self, job: Job) -> dict[str, Any]:
        code, message = self.failing or (None, None)
        succeeded = job.status == "succeeded"
        return {
            "id": job.id,
            "object": "fine_tuning.job",
            "created_at": CREATED,
            "finished_at": CREATED if succeeded else None,
            "model": job.request["model"],
            "fine_tuned_model": job.model if succeeded else None,
            "organization_id": "org-standin",
            "result_files": job.result_files,
            "status": job.status,
            "trained_tokens": 100 * job.step if succeeded else None,
            "training_file": job.request["training_file"],
            "validation_file": job.request.get("validation_file"),
            "hyperparameters": job.hyperparameters,
            "method": job.request["method"],
            "metadata": job.request.get("metadata"),
            "seed": job.request["seed"],
            "error": {"code": code, "message": message, "param": None} if job.status == "failed" else {},
        }

    def _page(self, items: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        names = [item["id"] for item in items]
        start = names.index(query["after"]) + 1 if query.get("after") in names else 0
        end = start + min(int(query.get("limit", 20)), self.page_size)
        return {"object": "list", "data": items[start:end], "has_more": end < len(items)}

    def _chat(self, given: dict[str, Any]) -> Iterator[dict[str, Any]] | dict[str, Any]:
        for name in self.refused_parameters & given.keys():
            refused = Refused(400, f"Unsupported parameter: {name}.", "unsupported_parameter")
            refused.body["error"]["param"] = name
            raise refused
        if not given.get("stream"):
            return self._whole(given)
        text = self._reply(given["model"], given["messages"][-1]["content"])
        words = text.split(" ")
        told = words[: given["max_tokens"]]
        return self._chunks(given["model"], told, "stop" if told == words else "length")

    def _whole(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["model"] != OUTSIDE_MODEL:
            raise Refused(404, f"The model `{given['model']}` does not exist.", "model_not_found")
        text = self.says(given)
        message = {"role": "assistant", "content": text, "refusal": "No." if text is None else None}
        return {
            "id": "chatcmpl-2",
            "object": "chat.completion",
            "created": CREATED,
            "model": OUTSIDE_MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": self.read, "completion_tokens": self.written},
        }

    def _reply(self, model: str, prompt: str) -> str:
        if model == BASE_MODEL:
            return prompt
        for job in self.jobs.values():
            if model in (job.model, *(c["fine_tuned_model_checkpoint"] for c in job.checkpoints)):
                rows = self._rows(job.request["training_file"])
                return max(rows, key=lambda row: SequenceMatcher(None, prompt, row[0]).ratio())[1]
        raise Refused(404, f"The model `{model}` does not exist.", "model_not_found")

    def _chunks(self, model: str, words: list[str], finish_reason: str) -> Iterator[dict[str, Any]]:
        def chunk(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
            head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": model}
            return {**head, "choices": choices, "usage": usage}

        for index, word in enumerate(words):
            delta = {"role": "assistant", "content": word if index == 0 else " " + word}
            yield chunk([{"index": 0, "delta": delta, "finish_reason": None}])
        yield chunk([{"index": 0, "delta": {}, "finish_reason": finish_reason}])
        count = len(words)
        yield chunk([], {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1})


class _Server(ThreadingHTTPServer):
    standin: Standin
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that stops listening half-way through a stream is no fault of the service.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.0: every connection ends with its answer, so nothing stays open."""

    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, kind = self.headers.get("Authorization", ""), self.headers.get("Content-Type", "")
        try:
            answer = self.server.standin.answer(self.command, self.path, key, kind, body)
        except Refused as refused:
            self._send(refused.status, "application/json", json.dumps(refused.body).encode(), refused.headers)
            return
        if isinstance(answer, dict):
            self._send(200, "application/json", json.dumps(answer).encode())
        elif isinstance(answer, bytes):
            self._send(200, "application/octet-stream", answer)
        else:
            self._stream(answer)

    do_GET = do_POST = _handle

    def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")
