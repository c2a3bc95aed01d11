"""trackio: one group for a run; in it one trackio run for each trial, and one for what the run came to.

The project comes from TRACKIO_PROJECT, the folder or the Space from trackio's own variables: TRACKIO_DIR,
TRACKIO_SPACE_ID, TRACKIO_SERVER_URL.
"""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import Context
from typing import Any

import trackio

from fewtune.trackers.contract import Began, Ended, Event, File, Table, TrialBegan, TrialEnded, Values


class TrackioTracker:
    def __init__(self, began: Began) -> None:
        self._began = began
        self._project = os.environ.get("TRACKIO_PROJECT", "fewtune")
        self._trials: dict[str, Any] = {}
        self._run = self._open("run", began.config)
        self.address = f"trackio show --project {self._project}"

    def take(self, event: Event) -> None:
        match event:
            case TrialBegan():
                if event.trial not in self._trials:
                    self._trials[event.trial] = self._open(event.trial, event.config)
            case Values():
                self._note(event)
            case TrialEnded():
                self._trials.pop(event.trial).finish()
            case Table():
                rows = [list(row) for row in event.rows]
                self._run.log({event.name: trackio.Table(columns=list(event.columns), data=rows)})
            case File():
                self._run.log_artifact(event.path, name=f"{self._began.run}-{event.name}", type=event.kind)
            case Ended():
                self._end(event)
            case Began():
                pass

    def _note(self, told: Values) -> None:
        """A step that is told again would be there twice; only a private name says how far the run is."""
        run = self._trials[told.trial]
        if told.step >= getattr(run, "_next_step", 0):
            run.log(dict(told.values), step=told.step)

    def _open(self, name: str, config: Mapping[str, Any]) -> Any:
        # trackio ends the run that the context knows when another begins; each has a context of its own here.
        return Context().run(
            trackio.init,
            self._project,
            name=f"{self._began.key}-{name}",
            group=self._began.run,
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def _end(self, ended: Ended) -> None:
        for run in self._trials.values():
            run.finish()
        said = {"verdict": trackio.Markdown(ended.verdict)} if ended.verdict else {}
        self._run.log({**ended.numbers, **said})
        self._run.finish()
