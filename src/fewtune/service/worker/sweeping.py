"""A job that is a whole sweep: `fewtune sweep` in a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fewtune.errors import from_os_error
from fewtune.report.summary import Summary, TrialLine
from fewtune.service.settings import VARIABLE
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.job import Job, JobError
from fewtune.service.worker.planning import Chosen, usual_rate
from fewtune.service.worker.sweep_options import KEY, sweep_arguments
from fewtune.store.runs import FILE_NAME, PointRecord, Runs
from fewtune.types import Plan

_UNFINISHED = (7, 130, -signal.SIGINT)
_OCCUPIED = "Another process is working on this run."
_SECONDS_TO_SAVE = 30.0
_CODES = {3: "invalid_training_file", 4: "training_failed", 6: "budget_exceeded"}


@dataclass(frozen=True, kw_only=True)
class Winner:
    """What the sweep chose."""

    chosen: Chosen
    adapter: Path | None
    """None where its provider leaves no files."""
    tokens: int


class Sweep:
    def __init__(self, archive: Archive, job: Job) -> None:
        """Begin it, or go on with it; raises JobError for options that it does not take."""
        self._archive, self._job = archive, job
        self._folder = archive.job_folder(job.id)
        self._told = 0
        self._process = self._started()

    def follow(self) -> Winner | None:
        """Tell what is new; the winner once there is one. Raises JobError where the sweep failed."""
        self._tell()
        code = self._process.poll()
        if code is None:
            return None
        if code in _UNFINISHED or (code == 2 and _OCCUPIED in self._said()):
            # Stopped from outside, or the process of a killed worker is not quite gone.
            self._process = self._started()
            return None
        if code != 0:
            raise JobError(_CODES.get(code, "server_error"), f"The sweep failed. {self._said()}".strip())
        summary = self._summary()
        self._archive.queue.event(self._job.claim, summary.verdict, data={"chosen": summary.chosen}, once="verdict")
        return _winner(summary, self._archive.settings.provider)

    def stop(self) -> None:
        """It saves and ends; nobody waits for that."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            threading.Thread(target=_see_it_end, args=(self._process,), daemon=True).start()

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        environment["FEWTUNE_HOME"] = str(self._folder / "home")
        try:
            arguments = self._arguments()
            with self._path("summary").open("wb") as out, self._path("log").open("wb") as log:
                return subprocess.Popen(
                    arguments, stdin=subprocess.PIPE, stdout=out, stderr=log, env=environment, cwd=self._folder
                )
        except OSError as error:
            raise from_os_error(error, "begin the sweep", self._folder) from error

    def _arguments(self) -> Sequence[str]:
        record, settings = self._job.record, self._archive.settings
        data = self._data("training", record.training_file)
        valid = record.validation_file and self._data("validation", record.validation_file)
        return [
            *(sys.executable, "-m", "fewtune.service.worker.leashed", "sweep", str(data)),
            *(f"--base={record.base}", f"--provider={settings.provider}", f"--seed={record.seed}"),
            *(f"--out={self._folder / 'run'}", "--json", "--quiet"),
            *([f"--valid-file={valid}"] if valid else []),
            *sweep_arguments((record.metadata or {})[KEY]),
        ]

    def _data(self, kind: str, id: str) -> Path:
        """A copy under a name that says what it is; made once."""
        place = self._folder / f"{kind}.jsonl"
        found = self._archive.files.get(self._job.record.project, id)
        if not place.exists():
            if found is None:
                raise JobError(f"invalid_{kind}_file", f"The file {id} is no longer there.", f"{kind}_file")
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copyfile(self._archive.files.path(found), place.with_suffix(".partial"))
            place.with_suffix(".partial").rename(place)
        return place

    def _path(self, name: str) -> Path:
        return self._folder / f"sweep.{name}"

    def _tell(self) -> None:
        home = self._folder / "home"
        if not (home / FILE_NAME).exists():
            return
        runs = Runs(home)
        points = [point for run in runs.all() for point in runs.points(run.id) if point.valid_loss is not None]
        for point in points if len(points) > self._told else []:
            message, data = _line(point)
            once = f"sweep-{point.trial_id}-{point.step}"
            self._archive.queue.event(self._job.claim, message, type="metrics", data=data, once=once)
        self._told = len(points)

    def _summary(self) -> Summary:
        return Summary.from_json(json.loads(self._path("summary").read_text(encoding="utf-8")))

    def _said(self) -> str:
        """Its last line, without this machine's folders."""
        with suppress(OSError):
            lines = self._path("log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = lines[-1].removeprefix("fewtune: ") if lines else ""
            return said.replace(f"{self._folder}{os.sep}", "").replace(str(self._folder), "")
        return ""


def _see_it_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_SECONDS_TO_SAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _line(point: PointRecord) -> tuple[str, dict[str, float | str | None]]:
    message = f"Trial {point.trial_id}, step {point.step}: validation loss={point.valid_loss:.2f}"
    return message, {
        "trial": point.trial_id,
        "step": point.step,
        "train_loss": point.train_loss,
        "train_mean_token_accuracy": point.train_token_accuracy,
        "valid_loss": point.valid_loss,
        "valid_mean_token_accuracy": point.valid_token_accuracy,
        "full_valid_loss": point.valid_loss,
        "full_valid_mean_token_accuracy": point.valid_token_accuracy,
    }


def _winner(summary: Summary, provider: str) -> Winner:
    best: TrialLine = next(trial for trial in summary.trials if trial.id == summary.chosen)
    plan = Plan(**best.plan)
    adapter = summary.files.get("adapter")
    multiplier = plan.learning_rate / usual_rate(plan.base, provider)
    told = {"n_epochs": plan.epochs, "batch_size": plan.batch_size, "learning_rate_multiplier": multiplier}
    return Winner(
        chosen=Chosen(plan=plan, hyperparameters=told), adapter=Path(adapter) if adapter else None, tokens=best.tokens
    )
