"""MLflow: one parent run, and below it one child run for each trial.

Where the runs are kept comes from MLflow's own variables: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from fewtune.trackers.contract import Began, Ended, Event, File, State, Table, TrialBegan, TrialEnded, Values

_KEY, _TRIAL = "fewtune.key", "fewtune.trial"
_MOST_METRICS = 500
_SECONDS_BETWEEN_BATCHES = 1.0
_STATES: Mapping[State, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


class MlflowTracker:
    def __init__(self, began: Began) -> None:
        self._began = began
        self._client = MlflowClient()
        self._experiment = self._find_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "fewtune"))
        self._trials: dict[str, str] = {}
        self._waiting: dict[str, list[Metric]] = {}
        """By run: a request for each step would be most of what MLflow does."""
        self._sent_at = time.monotonic()
        self._run = self._open(began.run, "", {})
        self._log(self._run, params=began.config)
        self.address = f"experiment {self._experiment}, run {self._run} at {self._client.tracking_uri}"

    def take(self, event: Event) -> None:
        if not isinstance(event, Values):
            self._send()
        match event:
            case TrialBegan():
                self._begin_trial(event)
            case Values():
                self._note(event)
            case TrialEnded():
                self._client.set_terminated(self._trials.pop(event.trial), _STATES[event.state])
            case Table():
                self._keep_table(event)
            case File():
                self._keep_file(event)
            case Ended():
                self._end(event)
            case Began():
                pass

    def _begin_trial(self, trial: TrialBegan) -> None:
        if trial.trial not in self._trials:
            run = self._open(trial.trial, trial.trial, {MLFLOW_PARENT_RUN_ID: self._run})
            self._trials[trial.trial] = run
            self._log(run, params=trial.config)

    def _note(self, told: Values) -> None:
        waiting = self._waiting.setdefault(self._trials[told.trial], [])
        waiting += self._metrics(told.values, told.step, told.seconds)
        if len(waiting) > _MOST_METRICS or time.monotonic() - self._sent_at > _SECONDS_BETWEEN_BATCHES:
            self._send()

    def _keep_file(self, file: File) -> None:
        if file.path.is_dir():
            self._client.log_artifacts(self._run, str(file.path), file.name)
        else:
            self._client.log_artifact(self._run, str(file.path))

    def _find_experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    def _open(self, name: str, trial: str, tags: Mapping[str, str]) -> str:
        """The run of this key and trial, the one that is there or a new one."""
        told = f"tags.`{_KEY}` = '{self._began.key}' and tags.`{_TRIAL}` = '{trial}'"
        for found in self._client.search_runs([self._experiment], told):
            self._client.update_run(found.info.run_id, "RUNNING")
            return found.info.run_id
        own = {_KEY: self._began.key, _TRIAL: trial, **tags}
        return self._client.create_run(self._experiment, tags=own, run_name=name).info.run_id

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for run, metrics in waiting.items():
            self._log(run, metrics)
        self._sent_at = time.monotonic()

    def _metrics(self, values: Mapping[str, float], step: int, seconds: float) -> list[Metric]:
        """With the time that was trained in place of the time of day: so a step that is told again is there once."""
        at = round(1000 * (self._began.created + seconds))
        return [Metric(name, value, at, step) for name, value in values.items()]

    def _log(self, run: str, metrics: list[Metric] | None = None, params: Mapping[str, Any] | None = None) -> None:
        """Parameters are texts, and stay what they were first."""
        said = [Param(name, str(value)) for name, value in (params or {}).items()]
        self._client.log_batch(run, metrics=metrics or [], params=said)

    def _keep_table(self, table: Table) -> None:
        """As `mlflow.log_table` keeps one, which needs pandas."""
        path = f"{table.name}.json"
        self._client.log_text(
            run_id=self._run, text=json.dumps({"columns": table.columns, "data": table.rows}), artifact_file=path
        )
        self._client.set_tag(self._run, MLFLOW_LOGGED_ARTIFACTS, json.dumps([{"path": path, "type": "table"}]))

    def _end(self, ended: Ended) -> None:
        for run in self._trials.values():
            self._client.set_terminated(run, _STATES[ended.state])
        tags = [RunTag(MLFLOW_RUN_NOTE, ended.verdict)] if ended.verdict else []
        self._client.log_batch(self._run, metrics=self._metrics(ended.numbers, 0, 0.0), tags=tags)
        self._client.set_terminated(self._run, _STATES[ended.state])
