"""All answers to the held-out rows, and what is measured beside them: copies, forgetting, a judge's view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fewtune.errors import UsageError
from fewtune.experiment.answering import Sampling, System, answer, systems
from fewtune.experiment.asking import Inquiry, Outside, outside, spent
from fewtune.experiment.copying import copying
from fewtune.experiment.forgetting import forgetting
from fewtune.experiment.judging import judged, read_rubric
from fewtune.experiment.label_scoring import score_labels
from fewtune.experiment.outcome import Outcome
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.progress import Note, Stage
from fewtune.experiment.reference import reference_answers
from fewtune.experiment.rivals import RUNNER_UP, SYSTEMS, chosen_rivals, looked_up
from fewtune.experiment.settings import RunSettings
from fewtune.report.evaluation_part import Copying, Forgetting, Judged
from fewtune.store.runs import PredictionRecord


@dataclass(frozen=True, kw_only=True)
class Outsiders:
    """Models outside the run that were named."""

    reference: Outside | None
    judge: Outside | None


def outsiders(settings: RunSettings, usd: float | None) -> Outsiders:
    """Raises, before anything is trained or sent, where one that was named cannot be asked (`asking.outside`)."""
    if settings.judge_rubric is not None and settings.judge is None:
        raise UsageError("--judge-rubric is for a judge, and none is named.", fix="Name it with --judge MODEL.")
    return Outsiders(
        reference=outside("reference", settings.reference, settings.reference_url, usd),
        judge=outside("judge", settings.judge, settings.judge_url, usd),
    )


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    predictions: tuple[PredictionRecord, ...]
    """Of every system, those that write and those that look up."""
    shots: int
    """Worked examples that did fit into the few-shot prompts, at most."""
    copying: Mapping[str, Copying]
    forgetting: Forgetting | None
    judged: tuple[Judged, ...]
    usd: float | None
    """What models outside the run were paid; None where a price is not known."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The held-out rows of one run being answered."""

    settings: RunSettings
    prepared: Prepared
    outcome: Outcome
    outsiders: Outsiders
    sampling: Sampling
    usd: float | None
    """Limit of the whole run."""

    def conduct(self, model: str) -> Evaluated:
        """Answer with the tuned model and everyone else, as far as it was not done before."""
        systems = self._answers(model)
        self._stage("Looking for copies and forgetting")
        predictions = tuple(self.sampling.store.predictions(self.sampling.run_id))
        copied = copying(self._known, predictions, self.sampling.provider, model, self.settings.seed)
        forgot = forgetting(self.sampling.provider, self.prepared.encoder, model)
        verdicts = self._verdicts(predictions)
        return Evaluated(
            predictions=predictions,
            shots=max(len(shots) for system in systems for shots in (*system.shots.values(), ())),
            copying=copied,
            forgetting=forgot,
            judged=verdicts,
            usd=spent(self.sampling.store.replies(self.sampling.run_id)),
        )

    def _answers(self, model: str) -> tuple[System, ...]:
        settings = self.settings
        wanted = chosen_rivals(
            settings.rivals, self.prepared.task.kind, bills=self.sampling.provider.capabilities.bills
        )
        shots, seed = settings.shots, settings.seed
        writers = systems(self._known, wanted, model, runner_up(self.outcome), shots, seed)
        if RUNNER_UP in (settings.rivals or ()) and RUNNER_UP not in {system.name for system in writers}:
            self.sampling.watch(
                Note(text="There is no runner-up: no other plan than the chosen one was trained to its end.")
            )
        for name in set(SYSTEMS) - {system.name for system in writers}:
            self.sampling.store.forget_predictions(self.sampling.run_id, name)
        found = looked_up(
            self._known, wanted, settings.sentence_encoder, self.sampling.watch, named=settings.rivals is not None
        )
        self.sampling.store.put_predictions(self.sampling.run_id, found)
        answer(self.sampling, writers, self.prepared, settings.samples)
        if self.prepared.task.kind == "labels":
            for one in writers:
                score_labels(self.sampling, one, self.prepared)
        if self.outsiders.reference:
            said = reference_answers(self._known, self._inquiry(self.outsiders.reference), shots, seed)
            self.sampling.store.put_predictions(self.sampling.run_id, said)
        return writers

    @property
    def _known(self) -> Prepared:
        """With all rows that the kept model has learnt as training rows: its rivals may look at the same ones."""
        fold = self.outcome.search.afterwards.refit
        if fold is None or self.outcome.kept is self.outcome.winner:
            return self.prepared
        return replace(self.prepared, split=replace(self.prepared.split, train=fold.train))

    def _verdicts(self, predictions: tuple[PredictionRecord, ...]) -> tuple[Judged, ...]:
        if self.outsiders.judge is None:
            return ()
        self._stage(f"Asking {self.outsiders.judge.model.name} which answers it prefers")
        rubric = read_rubric(self.settings.judge_rubric)
        return judged(self.prepared.split.test, predictions, self._inquiry(self.outsiders.judge), rubric)

    def _inquiry(self, one: Outside) -> Inquiry:
        return Inquiry(
            outside=one,
            store=self.sampling.store,
            run_id=self.sampling.run_id,
            left=None if self.usd is None else self.usd - self._spent(),
            watch=self.sampling.watch,
            interruption=self.sampling.interruption,
        )

    def _spent(self) -> float:
        """By training, and by what was asked so far; what has no known price was allowed at any."""
        paid = [*self.sampling.store.trials(self.sampling.run_id), *self.sampling.store.replies(self.sampling.run_id)]
        return sum(one.usd or 0.0 for one in paid)

    def _stage(self, text: str) -> None:
        self.sampling.watch(Stage(name="evaluate", text=text))


def runner_up(outcome: Outcome) -> str | None:
    """The model of the best plan that was not chosen: among those tied with the chosen one, else among all."""
    losses = {
        one.id: (one.point.valid_loss, one.model)
        for one in outcome.readings
        if one.model and one.point and one.point.valid_loss is not None and one.id != outcome.winner.id
    }
    tied = [losses[name][1] for name in outcome.choice.selection.tied if name in losses]
    ranked = sorted(losses.values())
    return tied[0] if tied else ranked[0][1] if ranked else None
