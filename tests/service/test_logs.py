"""What is logged: one line an event, with no key, no prompt and no name in it."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from fewtune.service.logs import JsonLines, PlainLines, log_to_stderr, redacted, telling

KEY = "sk-fewtune-" + "Ab3_" * 10
PROMPT = "Tell nobody of the lamplighter's debt"


@pytest.fixture(params=[True, False], ids=["json", "plain"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """What has been written to stderr; the loggers are as they were afterwards."""
    root, stderr = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    monkeypatch.setattr(sys, "stderr", stderr)
    log_to_stderr("web", as_json=request.param)
    yield stderr.getvalue
    root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
    logging.captureWarnings(False)


def failing() -> None:
    try:
        raise KeyError(PROMPT, KEY)
    except KeyError as error:
        raise ValueError(f"{PROMPT}: Bearer {KEY}") from error


def test_a_key_is_cut_out_of_a_message_an_argument_and_what_is_told(written: Callable[[], str]) -> None:
    logging.getLogger("uvicorn.error").warning("Got %s and Authorization: Bearer abc.def-1", KEY)
    logging.getLogger("any").error(f"Basic dXNlcjpwYXNz and {KEY}", extra=telling(note=f"{KEY}\nsecond"))
    text = written()
    assert "Ab3_" not in text and "abc.def-1" not in text and "dXNlcjpwYXNz" not in text
    assert len(text.splitlines()) == 2


def test_a_traceback_keeps_types_and_places_and_loses_what_the_errors_say(written: Callable[[], str]) -> None:
    try:
        failing()
    except ValueError:
        logging.getLogger("fewtune.requests").exception("Failed.")
    text = written()
    assert "lamplighter" not in text and "sk-" not in text
    assert "builtins.KeyError" in text and "builtins.ValueError" in text
    assert "in failing" in text and "test_logs.py:" in text


def test_an_error_that_nobody_caught_is_logged_as_safely(written: Callable[[], str]) -> None:
    try:
        failing()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    thread = threading.Thread(target=failing)
    thread.start()
    thread.join()
    text = written()
    assert text.count("builtins.ValueError") == 2
    assert "lamplighter" not in text


def test_what_asyncio_tells_of_a_task_has_no_text_of_an_exception(written: Callable[[], str]) -> None:
    told = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{PROMPT}')>"
    logging.getLogger("asyncio").error(told, exc_info=ValueError(PROMPT))
    assert "never retrieved" in written()
    assert "lamplighter" not in written()


def test_a_line_break_cannot_forge_a_second_line(written: Callable[[], str]) -> None:
    logging.getLogger("any").info("one\n12:00:00 web: forged\u2028\x1b[31m", extra=telling(name="a\rb"))
    first, *more = written().splitlines()
    assert "one" in first and all(line.startswith("    ") for line in more)
    assert "\x1b" not in written() and "\r" not in written()


def test_a_json_line_has_its_time_level_process_and_what_is_told() -> None:
    record = logging.makeLogRecord(
        {"msg": "Answered.", "levelno": 20, "levelname": "INFO", "created": 0.25, "msecs": 250}
    )
    record.told = {"status": 200, "route": "/v1/files"}
    line = json.loads(JsonLines("web").format(record))
    assert line == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "process": "web",
        "message": "Answered.",
        "status": 200,
        "route": "/v1/files",
    }


def test_a_person_reads_what_stands_beside_a_message_only_where_something_is_wrong() -> None:
    record = logging.makeLogRecord({"msg": "GET /v1/files: 200", "levelno": 20, "levelname": "INFO", "told": {"ms": 3}})
    assert PlainLines("web").format(record).endswith(" web: GET /v1/files: 200")
    record.levelno, record.levelname = 40, "ERROR"
    assert PlainLines("web").format(record).endswith(" web: error: GET /v1/files: 200 (ms=3)")


def test_the_reason_of_the_operating_system_is_kept(written: Callable[[], str]) -> None:
    logging.getLogger("any").error("Could not write.", exc_info=OSError(28, "No space left on device", PROMPT))
    assert "No space left on device" in written()
    assert "lamplighter" not in written()


def test_words_that_only_look_a_little_like_a_key_stay() -> None:
    assert redacted("the task-force of ask-me") == "the task-force of ask-me"
