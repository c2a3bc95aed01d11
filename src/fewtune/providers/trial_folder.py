"""What is kept of the trials that are trained into a folder: what was asked, how it ended, and what it left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from fewtune.engine import checkpoint
from fewtune.errors import UsageError
from fewtune.providers.contract import Checkpoint, Failure, Finished, Trial
from fewtune.providers.states import States
from fewtune.schedule.order import steps_per_epoch
from fewtune.types import Plan, Usage


class TrialFolder:
    """A folder with one for each trial; whoever opens it next, also on another machine, can go on from there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, handle: str) -> Path:
        return States(self._folder).path(handle, "")

    def states(self, handle: str) -> States:
        return States(self.path(handle))

    def enlist(self, trials: Sequence[Trial]) -> None:
        """Write down what is asked for; a trial that is known already is left as it is."""
        for trial in trials:
            states = self.states(trial.id)
            if not states.known("trial"):
                if trial.branches:
                    self._branch(trial)
                states.save("trial", asdict(trial))

    def _branch(self, trial: Trial) -> None:
        """Give the new trial its parent's whole state, optimizer and all."""
        handle, _, step = (trial.parent or "").rpartition("@")
        if not (handle and step.isdecimal()):
            raise UsageError(f"Trial {trial.id!r} branches, but its parent {trial.parent!r} is no checkpoint.")
        if not checkpoint.copy_point(self.path(handle), int(step), self.path(trial.id)):
            raise UsageError(
                f"Trial {handle!r} does not stand at step {step}, so {trial.id!r} cannot branch off there.",
                fix="Advance it to that step, then branch.",
            )

    def trial(self, handle: str) -> Trial:
        """Raises UsageError for one that was never started here."""
        states = self.states(handle)
        if not states.known("trial"):
            raise UsageError(f"No trial {handle!r} was started here.", where=str(self._folder))
        stored = states.load("trial")
        stored["plan"] = Plan(**stored["plan"])
        stored["train_rows"], stored["valid_rows"] = tuple(stored["train_rows"]), tuple(stored["valid_rows"])
        return Trial(**stored)

    def checkpoints(self, handle: str) -> Iterator[Checkpoint]:
        """Those that are whole on the disk, in order."""
        trial = self.trial(handle)
        steps = steps_per_epoch(len(trial.train_rows), trial.plan.rows_per_step)
        for folder in sorted(self.path(handle).glob("step-????????")):
            yield self.checkpoint(handle, int(folder.name.rpartition("-")[2]), steps)

    def checkpoint(self, handle: str, step: int, steps: int) -> Checkpoint:
        """With `steps` to an epoch."""
        folder = self.adapter(handle, step)
        return Checkpoint(handle=handle, step=step, epoch=step // steps, model=f"{handle}@{step}", folder=folder)

    def adapter(self, handle: str, step: int) -> Path:
        return self.path(handle) / f"step-{step:08d}"

    def stood(self, handle: str) -> int:
        """The step that was saved last."""
        return max((int(point.name[-8:]) for point in self.path(handle).glob("resume-????????")), default=0)

    def ended(self, handle: str) -> Failure | Finished | None:
        """How it ended; None where it has not."""
        states = self.states(handle)
        if not states.known("ended"):
            return None
        stored = states.load("ended")
        if "failure" in stored:
            return Failure(**stored["failure"])
        finished = stored["finished"]
        return Finished(handle=handle, model=finished["model"], usage=Usage(**finished["usage"]))

    def end(self, ending: Failure | Finished) -> None:
        name = "failure" if isinstance(ending, Failure) else "finished"
        self.states(ending.handle).save("ended", {name: asdict(ending)})

    def cancel(self, handles: Sequence[str]) -> None:
        """End for good those that have not ended."""
        for handle in handles:
            self.trial(handle)
            if self.ended(handle) is None:
                self.end(Failure(handle=handle, code="cancelled", text="Cancelled."))
