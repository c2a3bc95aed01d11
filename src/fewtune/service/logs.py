"""What the service's processes log: one line an event, as JSON or for a person, and never a key, a prompt or a name.

A message is a sentence of ours; what varies stands in `told` (see `telling`), and only values that the server made
itself belong there: ids, counts, states, routes. A traceback keeps its types and places and loses its texts, because
the text of an exception may quote what a request said.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

_SECRETS = (
    (re.compile(r"\bsk-[A-Za-z0-9_\-]{4,}"), "sk-***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]+"), r"\1 ***"),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TOLD = "told"


def telling(**told: Any) -> dict[str, Any]:
    """The `extra` of a log call: `log.info("Took a job.", extra=telling(job=job.id))`."""
    return {_TOLD: told}


def redacted(text: str) -> str:
    """The text without what looks like a key or an authorization header."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def log_to_stderr(process: str, *, as_json: bool | None = None) -> None:
    """Let everything that this process logs go through one handler; JSON lines unless stderr is a terminal."""
    wanted = not sys.stderr.isatty() if as_json is None else as_json
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if wanted else PlainLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # It tells of every start and stop; ours are told once, by the supervisor.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    for chatty in ("httpx", "httpcore", "openai", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, process, message, what is told, and an exception's places."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "message": redacted(_message(record)),
            **{name: _clean(value) for name, value in _told(record).items()},
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = places(record.exc_info[1])
        return json.dumps(line)


class PlainLines(logging.Formatter):
    """`12:30:07 web: GET /v1/files: 200`; local time. What is told beside it only where something is wrong."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        told = " ".join(f"{name}={_clean(value)}" for name, value in _told(record).items() if value is not None)
        told = told if record.levelno > logging.INFO else ""
        # Set in, so that no line of a message looks like one of its own.
        message = "\n    ".join(_clean(part) for part in _message(record).split("\n"))
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {self._process}: {level}{message}"
        line += f" ({told})" if told else ""
        if record.exc_info and record.exc_info[1]:
            line += "".join(f"\n    {place}" for place in places(record.exc_info[1]))
        return line


def places(error: BaseException) -> list[str]:
    """An exception's type and where it passed, and before it those that it came from; not what they say."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    # An operating system's reason is its own fixed text.
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    frames = traceback.extract_tb(error.__traceback__)
    return [
        *(places(before) if before else ()),
        *(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames),
        f"{type(error).__module__}.{type(error).__qualname__}{reason}",
    ]


def _message(record: logging.LogRecord) -> str:
    """Of asyncio only the first line: those below it hold what an exception says, and whole objects."""
    text = record.getMessage()
    return text.partition("\n")[0] if record.name == "asyncio" else text


def _told(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, _TOLD, {})


def _clean(value: Any) -> Any:
    return _CONTROLS.sub(_escaped, redacted(value)) if isinstance(value, str) else value


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("fewtune").error("The process ended by an error.", exc_info=(kind, error, trace))


def _log_uncaught_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        told = (ended.exc_type, ended.exc_value, ended.exc_traceback)
        logging.getLogger("fewtune").error("A thread ended by an error.", exc_info=told)
