"""The process that a tracker lives in: events come in on stdin, what became of them goes out on stdout.

    python -m fewtune.trackers.courier FACTORY SECONDS

FACTORY makes the tracker; SECONDS is how long it may still be sending after the run has said its last word.

Events are pickled one after the other; answers are lines of JSON. Whatever the tracker's library prints goes to
stderr, which `delivery` keeps in the run's folder.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import sys
import threading
from queue import SimpleQueue
from typing import IO, Any

from fewtune import trackers
from fewtune.trackers.contract import Began, Ended, Event, Tracker


def main() -> None:
    given, answers = _apart()
    factory, seconds = sys.argv[1:]
    events: SimpleQueue[Event | None] = SimpleQueue()
    threading.Thread(target=_read, args=(given, events, float(seconds)), daemon=True).start()
    _serve(factory, events, answers)


def _apart() -> tuple[IO[bytes], IO[str]]:
    """The pipes to the run, out of reach of the library, which finds an empty stdin and its stdout in the log."""
    given, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return os.fdopen(given, "rb"), os.fdopen(answers, "w")


def _read(given: IO[bytes], events: SimpleQueue[Event | None], seconds: float) -> None:
    """Take what comes at once, however slow the tracker is; the run bounds how much it leaves unanswered."""
    try:
        while True:
            events.put(pickle.load(given))
    except (EOFError, pickle.UnpicklingError):
        # The end, or the run was killed in the middle of a word.
        faulthandler.dump_traceback_later(seconds, exit=True)
        events.put(None)


def _serve(factory: str, events: SimpleQueue[Event | None], answers: IO[str]) -> None:
    began = events.get()
    if not isinstance(began, Began):
        return
    try:
        tracker = trackers.connect(factory, began)
    except Exception as error:
        _answer(answers, broken=_told(error))
        return
    _answer(answers, address=tracker.address, taken=1)
    ended = False
    while (event := events.get()) is not None:
        _take(tracker, event, answers)
        ended = isinstance(event, Ended)
    if not ended:
        tracker.take(Ended(state="stopped", numbers={}))


def _take(tracker: Tracker, event: Event, answers: IO[str]) -> None:
    try:
        tracker.take(event)
    except Exception as error:
        _answer(answers, failed=_told(error), taken=1)
    else:
        _answer(answers, taken=1)


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _answer(answers: IO[str], **told: Any) -> None:
    try:
        answers.write(json.dumps(told) + "\n")
        answers.flush()
    except BrokenPipeError:
        # Nobody listens any more; what was given is still kept.
        pass


if __name__ == "__main__":
    main()
