"""Hand a run's events to its trackers without ever waiting for one.

Each tracker has a process (`courier`) and a thread that writes to it. A process rather than a thread alone: a library
that hangs, eats the interpreter's lock, changes signals or crashes does so elsewhere, and does not hold up the end.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewtune.trackers import KINDS
from fewtune.trackers.contract import Began, Event, Track, Values, untracked


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How much is borne."""

    waiting: int = 20_000
    """Events that a tracker may be behind; values beyond are dropped."""
    silence: float = 90.0
    """Seconds that a tracker may spend on one event before it is given up."""
    end: float = 5.0
    """Seconds that the run waits at its end."""
    alone: float = 120.0
    """Seconds after the run's last word in which a tracker has to end, by itself if need be."""
    drops: bool = True
    """Whether values are dropped for which there is no room; if not, whoever tells them waits."""


MEANWHILE = Patience()
"""For a run that trains."""
AFTERWARDS = Patience(end=120.0, alone=180.0, drops=False)
"""For a run that is over, whose trackers are all that there is to wait for."""

_ENVIRONMENT = {
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_HOST": "",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB__DISABLE_META": "true",
    "WANDB__DISABLE_STATS": "true",
    "WANDB__DISABLE_MACHINE_INFO": "true",
    "WANDB__SAVE_REQUIREMENTS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "true",
}
"""What the libraries would tell of their own accord: their own use, the machine, the user's code and packages."""
_SECRETS = ("OPENAI_API_KEY", "FEWTUNE_REFERENCE_KEY", "FEWTUNE_JUDGE_KEY")
"""Keys for others than the tracker."""


@contextmanager
def delivered(names: Sequence[str], began: Began, tell: Callable[[str], None], patience: Patience) -> Generator[Track]:
    """A Track that hands events to all these trackers, for the length of the block; `tell` hears what goes wrong."""
    if not names:
        yield untracked
        return
    deliveries = [Delivery(name, began, tell, patience) for name in dict.fromkeys(names)]

    def track(event: Event) -> None:
        for delivery in deliveries:
            delivery.take(event)

    try:
        yield track
    finally:
        until = time.monotonic() + patience.end
        for delivery in deliveries:
            delivery.say_end()
        for delivery in deliveries:
            delivery.close(until)


class Delivery:
    """One tracker at work. `take` and `close` belong to the run's thread, and only they call `tell`."""

    def __init__(self, name: str, began: Began, tell: Callable[[str], None], patience: Patience) -> None:
        self._label = KINDS[name].label
        self._tell, self._patience = tell, patience
        self._log = began.folder / "trackers" / f"{name}.log"
        self._changed = threading.Condition()
        self._unsent: deque[Event | None] = deque()
        self._given = self._unanswered = self._lost = 0
        """Events that were told, that the tracker has not answered yet, and that it will never have."""
        self._failed = self._over = self._closing = False
        """It has failed at an event before; nothing is given to it any more; it has been told the end."""
        self._news: list[str] = []
        self._heard_at = time.monotonic()
        self._process = _start(KINDS[name].factory, self._log, patience.alone)
        self._listener = threading.Thread(target=self._listen, daemon=True, name=f"fewtune-from-{name}")
        self._listener.start()
        threading.Thread(target=self._write, daemon=True, name=f"fewtune-to-{name}").start()
        self.take(began)

    def take(self, event: Event) -> None:
        """Note the event down to be sent."""
        with self._changed:
            self._give_up_if_silent()
            while not self._patience.drops and not self._has_room():
                self._changed.wait(1.0)
                self._give_up_if_silent()
            self._given += 1
            if self._over or (isinstance(event, Values) and not self._has_room()):
                self._lost += 1
            else:
                self._append(event)
        self._tell_news()

    def say_end(self) -> None:
        """Nothing more will be told."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._unsent.append(None)
                self._changed.notify_all()

    def close(self, until: float) -> None:
        """Wait till then (a time of `monotonic`) for what is on its way, and say what is lost or late."""
        self.say_end()
        with self._changed:
            self._changed.wait_for(lambda: not self._unanswered, timeout=max(0.1, until - time.monotonic()))
            if self._unanswered:
                self._leave_behind()
            if self._lost:
                self._news.append(f"{self._label}: {self._lost:,} of {self._given:,} events did not arrive.")
        self._tell_news()

    def _append(self, event: Event) -> None:
        if not self._unanswered:
            self._heard_at = time.monotonic()
        self._unanswered += 1
        self._unsent.append(event)
        self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._over or self._unanswered < self._patience.waiting

    def _give_up_if_silent(self) -> None:
        silent = time.monotonic() - self._heard_at
        if self._over or not self._unanswered or silent < self._patience.silence:
            return
        self._news.append(f"{self._label} has not answered for {silent:.0f} s. The run goes on without it.")
        self._process.kill()
        self._end()

    def _leave_behind(self) -> None:
        """The run does not wait any longer. What the tracker has got it may still send; a stuck one is ended."""
        if self._unsent:
            self._process.kill()
            self._end()
        else:
            self._news.append(
                f"{self._label} is still busy with {self._unanswered:,} of {self._given:,} events, and goes on by "
                f"itself for at most {self._patience.alone:.0f} s. Its log: {self._log}"
            )

    def _end(self) -> None:
        """Everything without an answer is lost."""
        self._over = True
        self._lost += self._unanswered
        self._unanswered = 0
        self._unsent.clear()
        self._changed.notify_all()

    def _tell_news(self) -> None:
        """Outside the lock: whoever hears it may take its time."""
        with self._changed:
            news, self._news = self._news, []
        for text in news:
            self._tell(text)

    def _write(self) -> None:
        given = self._process.stdin
        assert given is not None
        # A tracker that has ended by itself is noticed by the other thread.
        with suppress(BrokenPipeError), given:
            while (event := self._next()) is not None:
                pickle.dump(event, given)
                given.flush()

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._unsent or self._over)
            return None if self._over else self._unsent.popleft()

    def _listen(self) -> None:
        answers = self._process.stdout
        assert answers is not None
        with answers:
            for line in answers:
                with self._changed:
                    self._hear(json.loads(line))
        self._process.wait()
        with self._changed:
            if not self._over and not self._closing:
                self._news.append(f"{self._label} has ended. The run goes on without it. Its log: {self._log}")
            self._end()

    def _hear(self, answer: dict[str, Any]) -> None:
        self._heard_at = time.monotonic()
        if "taken" in answer and not self._over:
            self._unanswered -= 1
            self._changed.notify_all()
        if "address" in answer:
            self._news.append(f"{self._label}: {answer['address']}")
        if "broken" in answer:
            self._news.append(f"{self._label} cannot be used: {answer['broken']}. The run goes on without it.")
            self._end()
        if "failed" in answer:
            self._lost += 1
            if not self._failed:
                self._news.append(f"{self._label} has failed: {answer['failed']}. The run goes on.")
            self._failed = True


def _start(factory: str, log: Path, alone: float) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    # Not the folder that the user stands in, where a `wandb/` or a `random.py` may lie, but wherever this package is.
    places = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))
    kept = {variable: value for variable, value in os.environ.items() if variable not in _SECRETS}
    with log.open("ab") as told:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "fewtune.trackers.courier", factory, str(alone)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            env={**kept, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, places))},
            # Ctrl-C is the run's: it tells its trackers how it ended.
            start_new_session=True,
        )
