"""Train trials through a provider as far as they are wanted; all that is known of them is in the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from fewtune.experiment.agreeing import Agreement
from fewtune.experiment.interruption import Interruption
from fewtune.experiment.progress import Watch
from fewtune.experiment.recording import Recorder, trial_record
from fewtune.experiment.tracking import trial_began
from fewtune.providers.contract import Provider, Trial
from fewtune.schedule.order import steps_per_epoch
from fewtune.search.budget import Admission, Cost, Cut, Start, admit
from fewtune.store.runs import PointRecord, Runs, TrialRecord
from fewtune.trackers.contract import Track, untracked
from fewtune.types import Usage


@dataclass(kw_only=True)
class Sweep:
    provider: Provider
    store: Runs
    run_id: str
    agreement: Agreement
    watch: Watch
    interruption: Interruption
    track: Track = untracked
    epochs_in_all: float = field(default=0.0)
    """The most that the search takes, for those who watch."""

    @cached_property
    def pauses(self) -> bool:
        return self.provider.capabilities.can_pause

    def admit(
        self, wanted: Sequence[tuple[int, Trial, int]], efforts: Mapping[str, float] = MappingProxyType({})
    ) -> Admission:
        """Who may train on, by the budget: candidates, their trials, and the epochs to train to, in order.

        `efforts` says of trials, by id, how much more an epoch of theirs takes than was agreed for one.
        """
        stood = self.stood()
        begun = {record.id for record in self.store.trials(self.run_id) if record.state != "waiting"}
        starts = [
            Start(
                candidate=candidate,
                epochs=epochs,
                cost=self._cost(epochs, stood.get(trial.id, 0.0), trial.id in begun).times(efforts.get(trial.id, 1.0)),
            )
            for candidate, trial, epochs in wanted
        ]
        return admit(self.agreement.budget, self.spent(), starts)

    def finish(
        self, wanted: Sequence[tuple[int, Trial]], efforts: Mapping[str, float] = MappingProxyType({})
    ) -> tuple[Cut, ...]:
        """Train what does not compete all to its end, or no further where the budget does not take all; what it cut."""
        while True:
            ended = {one.id for one in self.store.trials(self.run_id) if one.state in ("failed", "finished")}
            missing = [(number, trial, trial.plan.epochs) for number, trial in wanted if trial.id not in ended]
            admission = self.admit(missing, efforts)
            if admission.cut or not missing:
                return admission.cut
            if self.train([(trial, epochs) for _, trial, epochs in missing], competing=False):
                return ()

    def train(self, targets: Sequence[tuple[Trial, int]], weight: float = 1.0, *, competing: bool = True) -> bool:
        """Train each trial to so many epochs, recording each event before it is told; whether there was time for it.

        When it is left early, by an interruption too, the provider pauses, and what was told is in the store.
        """
        trials = [trial for trial, _ in targets]
        handles = self.provider.start(trials)
        by_handle = dict(zip(handles, trials, strict=True))
        self._begin(by_handle)
        recorder = Recorder(
            store=self.store,
            run_id=self.run_id,
            trials=by_handle,
            watch=self.watch,
            epochs_in_all=self.epochs_in_all or 1.0,
            epochs_before=sum(self.stood().values()),
            usd_per_epoch=self._usd_per_epoch(),
            track=self.track,
            weight=weight,
            competing=competing,
        )
        events = self.provider.advance(
            {handle: _step(trial, until) for handle, (trial, until) in zip(handles, targets, strict=True)}
        )
        late = self._end_of_time()
        try:
            for event in events:
                recorder.take(event)
                self.interruption.check()
                if time.monotonic() > late:
                    return False
            return True
        finally:
            recorder.flush()
            events.close()

    def spent(self) -> Cost:
        """What was used, with the estimates of what cannot be stopped any more."""
        points, agreed = last_points(self.store, self.run_id), self.store.agreement(self.run_id)
        total = Cost(minutes=agreed.training_seconds / 60 if agreed else 0.0)
        for record in self.store.trials(self.run_id):
            if record.state != "waiting":
                total += self._used(record, points.get(record.id))
        return total

    def stood(self) -> Mapping[str, float]:
        """Epochs done, by trial."""
        return {name: point.epoch for name, point in last_points(self.store, self.run_id).items()}

    def _used(self, record: TrialRecord, point: PointRecord | None) -> Cost:
        ended = record.state in ("failed", "finished")
        whole = self.agreement.epoch.times(int(record.plan["epochs"]))
        if not ended and not self.pauses:
            return Cost(tokens=whole.tokens, usd=whole.usd)
        tokens = max(record.tokens, point.tokens if point else 0)
        return Cost(tokens=tokens, usd=whole.usd if record.usd is None else record.usd)

    def _usd_per_epoch(self) -> float | None:
        """A price that nobody knows counts as nothing in a budget; to the user it is unknown."""
        usd = self.agreement.epoch.usd
        return None if self.provider.capabilities.bills and not usd else usd

    def _cost(self, epochs: int, stood: float, begun: bool) -> Cost:
        """Nothing for what a service has begun: it goes on by itself, and is counted as spent."""
        if begun and not self.pauses:
            return Cost()
        return self.agreement.epoch.times(max(0.0, epochs - stood))

    def _begin(self, by_handle: Mapping[str, Trial]) -> None:
        ended = {one.id for one in self.store.trials(self.run_id) if one.state in ("failed", "finished")}
        usage = Usage(usd=None if self.provider.capabilities.bills else 0.0)
        begun = {handle: trial for handle, trial in by_handle.items() if trial.id not in ended}
        records = [trial_record(trial, handle, "running", None, usage) for handle, trial in begun.items()]
        self.store.put_trials(self.run_id, records)
        for trial in begun.values():
            self.track(trial_began(trial))

    def _end_of_time(self) -> float:
        limit, agreed = self.agreement.budget.minutes, self.store.agreement(self.run_id)
        if limit is None:
            return float("inf")
        return time.monotonic() + 60 * limit - (agreed.training_seconds if agreed else 0.0)


def last_points(store: Runs, run_id: str) -> dict[str, PointRecord]:
    """The newest point of each trial."""
    return {point.trial_id: point for point in store.points(run_id)}


def _step(trial: Trial, epochs: int) -> int | None:
    if epochs >= trial.plan.epochs:
        return None
    return epochs * steps_per_epoch(len(trial.train_rows), trial.plan.rows_per_step)
