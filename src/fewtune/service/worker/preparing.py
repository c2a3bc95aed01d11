"""The first two steps of a job, beside the loop: is the data good, and what is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fewtune import providers
from fewtune.bases.folder import open_encoder
from fewtune.data.chat import with_rejected
from fewtune.errors import BaseModelError, TrainingError, UsageError
from fewtune.providers.contract import Provider, Trial
from fewtune.service.worker.archive import Archive
from fewtune.service.worker.job import Job, JobError
from fewtune.service.worker.planning import Chosen, choose
from fewtune.service.worker.rows import Rows, first_training_row, first_validation_row
from fewtune.service.worker.sweep_options import KEY, sweep_arguments
from fewtune.service.worker.training_file import Method, TrainingFile, read_training_file
from fewtune.similarity import clusters
from fewtune.types import Example, Plan

_SHOWN_LINES = 20
_COMPARED = 20_000
"""Rows among which near-duplicates are looked for."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """One job on its way to training."""

    archive: Archive
    job: Job
    provider: Provider
    rows: Rows

    def run(self) -> None:
        """Raises JobError where the job is over. Doing it again, after a kill, changes nothing that was told."""
        job, queue = self.job, self.archive.queue
        if sweeps(job):
            sweep_arguments((job.record.metadata or {})[KEY])
        if job.record.stage == "validate":
            self._announce()
        self._read()
        if job.record.stage == "validate":
            self._warn()
            message = "Files validated, moving job to queued state"
            queue.event(job.claim, message, once="validated")
            queue.stage(job.claim, "prepare", state="queued")
        self.rows.put(job.record.number, job.training, job.validation)
        # After a pause, too: its state says `queued` then.
        stage = "train" if job.record.stage in ("validate", "prepare") else job.record.stage
        if sweeps(job):
            queue.stage(job.claim, stage, state="running")
        else:
            job.chosen = self._chosen()
            self.start(job.chosen.plan)
            queue.stage(job.claim, stage, state="running", plan=job.chosen.to_json())
        queue.event(job.claim, "Fine-tuning job started", once="started")

    def _announce(self) -> None:
        record = self.job.record
        for kind, file in (("training", record.training_file), ("validation", record.validation_file)):
            if file:
                self.archive.queue.event(self.job.claim, f"Validating {kind} file: {file}", once=f"validating-{kind}")

    def _read(self) -> None:
        record, fits = self.job.record, _reader(self.archive.settings.provider, self.job.record.base)
        training = self._file(record.training_file, "training_file", first_training_row(record.number), fits)
        self._demand(training, "training_file", self.archive.settings.minimum_examples)
        self.job.training = training.examples
        if record.validation_file:
            first = first_validation_row(record.number)
            validation = self._file(record.validation_file, "validation_file", first, fits)
            self._demand(validation, "validation_file", 1)
            self.job.validation = validation.examples

    def _file(self, id: str, param: str, first_row: int, fits: Callable[[Example], bool] | None) -> TrainingFile:
        record = self.job.record
        found = self.archive.files.get(record.project, id)
        if found is None:
            raise JobError(f"invalid_{param}", f"The file {id} is no longer there.", param)
        method: Method = record.method
        try:
            read = read_training_file(self.archive.files.path(found), id, method, first_row=first_row, fits=fits)
        except FileNotFoundError:
            raise JobError(f"invalid_{param}", f"The file {id} is no longer there.", param) from None
        if read.left_out:
            lines = _lines(read.left_out)
            text = f"{len(read.left_out):,} rows of {id} are longer than the base reads and are left out: {lines}."
            self.archive.queue.event(self.job.claim, text, level="warn", once=f"left-out-{param}")
        return read

    def _demand(self, found: TrainingFile, param: str, fewest: int) -> None:
        kind = param.replace("_", " ")
        if found.problem_count:
            message = f"The job failed due to an invalid {kind}. {found.told}"
            raise JobError(f"invalid_{param}", message, param)
        if len(found.examples) < fewest:
            message = (
                f"The {kind} has {len(found.examples)} usable example{'s' * (len(found.examples) != 1)}, "
                f"but must have at least {fewest}."
            )
            raise JobError("invalid_n_examples", message, param)

    def _warn(self) -> None:
        """A row that was trained on says nothing about others."""
        training, validation = self.job.training, self.job.validation
        lines = overlapping(training, validation)
        if lines:
            text = (
                f"{len(lines):,} of {len(validation):,} rows of the validation file are in the training file too, or "
                f"nearly so ({_lines(lines)}): its loss will look better than it is on new rows."
            )
            data = {"rows": len(lines), "lines": lines[:1000]}
            self.archive.queue.event(self.job.claim, text, level="warn", data=data, once="overlap")

    def _chosen(self) -> Chosen:
        record = self.job.record
        if record.plan is not None:
            return Chosen(plan=Plan(**record.plan["plan"]), hyperparameters=record.plan["hyperparameters"])
        return choose(
            record.hyperparameters,
            base=record.base,
            provider=self.archive.settings.provider,
            rows=len(self.job.training),
            method=record.method,
        )

    def start(self, plan: Plan) -> None:
        """Make the job known to the provider; one that it knows already goes on."""
        record = self.job.record
        trial = Trial(
            id=record.id,
            plan=plan,
            seed=record.seed,
            train_rows=tuple(example.row for example in self.job.training),
            valid_rows=tuple(example.row for example in self.job.validation),
            parent=self._parent(),
        )
        try:
            self.provider.start([trial])
        except BaseModelError as error:
            raise JobError("invalid_base", error.what, "model") from error
        except TrainingError as error:
            raise JobError("insufficient_memory", f"{error.what} {error.fix or ''}".strip()) from error
        except UsageError as error:
            raise JobError("invalid_hyperparameters", error.what, "hyperparameters") from error

    def _parent(self) -> str | None:
        record = self.job.record
        if record.parent is None:
            return None
        kept = self.archive.keep_start(record.id, record.project, record.parent)
        if kept is None:
            raise JobError("model_not_found", f"The model {record.parent} is no longer there.", "model")
        return kept


def sweeps(job: Job) -> bool:
    """Whether the job is a whole sweep."""
    return KEY in (job.record.metadata or {})


def overlapping(training: Sequence[Example], validation: Sequence[Example]) -> list[int]:
    """Lines of the validation rows that are in the training file too, or nearly so where there are not too many."""
    texts = [_text(example) for example in (*training, *validation)]
    if len(texts) > _COMPARED:
        seen = set(texts[: len(training)])
        return [one.source.line for one in validation if _text(one) in seen]
    numbers: Sequence[Any] = clusters(texts) if validation else ()
    seen = set(numbers[: len(training)])
    shared = zip(validation, numbers[len(training) :], strict=True) if validation else ()
    return [one.source.line for one, number in shared if number in seen]


def _text(example: Example) -> str:
    return f"{example.prompt}\n{example.completion}"


def _lines(lines: Sequence[int]) -> str:
    shown = ", ".join(map(str, lines[:_SHOWN_LINES]))
    return f"line{'s' * (len(lines) > 1)} {shown}{' and more' * (len(lines) > _SHOWN_LINES)}"


def _reader(provider: str, base: str) -> Callable[[Example], bool] | None:
    """Whether the base reads a row whole; None where its tokenizer is not here."""
    if not providers.kind(provider).local_base:
        return None
    encoder = open_encoder(base)

    def fits(example: Example) -> bool:
        pair = [example] if example.rejected is None else [example, with_rejected(example)]
        return all(encoder.fit(one) is not None for one in pair)

    return fits
