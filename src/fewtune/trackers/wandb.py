"""Weights & Biases: one group for a run; in it one W&B run for each trial, and one for what the run came to.

A W&B run for each trial is what W&B is made to compare: its curves lie over each other, its plan is a row of the
runs' table and a line of the parallel coordinates. The table of predictions, the files and the verdict belong to no
trial, so they have a W&B run of their own. Project, entity, folder, mode and key come from W&B's own variables:
WANDB_PROJECT, WANDB_ENTITY, WANDB_DIR, WANDB_MODE, WANDB_API_KEY.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from fewtune.trackers.contract import Began, Ended, Event, File, State, Table, TrialBegan, TrialEnded, Values

_EXIT_CODES: Mapping[State, int] = {"finished": 0, "failed": 1, "stopped": 255}
"""W&B calls a run that ends with 255 killed."""


class WandbTracker:
    def __init__(self, began: Began) -> None:
        self._began = began
        self._trials: dict[str, Any] = {}
        self._run = self._open("run", "summary", began.config)
        self.address = self._run.url or f"wandb sync {Path(self._run.dir).parents[1]}/offline-run-*-{began.key}-*"

    def take(self, event: Event) -> None:
        match event:
            case TrialBegan():
                if event.trial not in self._trials:
                    self._trials[event.trial] = self._open(event.trial, "trial", event.config)
            case Values():
                # W&B passes over steps that it has, so a step that is told again is there once.
                self._trials[event.trial].log(dict(event.values), step=event.step)
            case TrialEnded():
                self._trials.pop(event.trial).finish(exit_code=_EXIT_CODES[event.state])
            case Table():
                table = wandb.Table(columns=list(event.columns), data=[list(row) for row in event.rows])
                self._run.log({event.name: table})
            case File():
                self._keep(event)
            case Ended():
                self._end(event)
            case Began():
                pass

    def _open(self, name: str, kind: str, config: Mapping[str, Any]) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "fewtune"),
            id=f"{self._began.key}-{name}",
            name=self._began.run if kind == "summary" else name,
            group=self._began.run,
            job_type=kind,
            config=dict(config),
            resume="allow",
            reinit="create_new",
        )

    def _keep(self, file: File) -> None:
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", f"{self._began.run}-{file.name}"), type=file.kind)
        if file.path.is_dir():
            artifact.add_dir(str(file.path))
        else:
            artifact.add_file(str(file.path))
        self._run.log_artifact(artifact)

    def _end(self, ended: Ended) -> None:
        for run in self._trials.values():
            run.finish(exit_code=_EXIT_CODES[ended.state])
        self._run.summary.update({"state": ended.state, "verdict": ended.verdict, **ended.numbers})
        self._run.finish(exit_code=_EXIT_CODES[ended.state])
