"""The main job: a file in, a judged model and a report out; killed anywhere, it goes on where it was."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewtune import providers
from fewtune.bases.folder import locate, width
from fewtune.bases.shape import shape
from fewtune.errors import FewtuneError, InterruptedByUser, from_os_error
from fewtune.experiment import sweep
from fewtune.experiment.estimating import Estimate, check_dollars, check_minutes, estimate_sweep
from fewtune.experiment.folder import held
from fewtune.experiment.interruption import Interruption, watching
from fewtune.experiment.judgement import Judgement, answer, judge, systems
from fewtune.experiment.preparation import Prepared, prepare_rows
from fewtune.experiment.prepared_folder import write_parts
from fewtune.experiment.progress import Note, Stage, Watch, unwatched
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.summarising import summarise_run
from fewtune.experiment.sweep import Reading, as_trials, read_off
from fewtune.providers.contract import Provider, Workspace
from fewtune.report import html
from fewtune.report.summary import Summary
from fewtune.schedule.branches import Trunk, trunks
from fewtune.search.prior import around, learning_rate_prior
from fewtune.search.selection import Selection, select
from fewtune.search.space import grid
from fewtune.store.runs import RunRecord, Runs, now
from fewtune.types import Plan

_MULTIPLIER = (1.0,)
"""A service that bills is asked for one training by default, at its own rate."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a run may take at most; None is the careful default."""

    minutes: float | None = None
    usd: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A run on its way."""

    id: str
    settings: RunSettings
    folder: Path
    store: Runs
    watch: Watch
    interruption: Interruption


def execute(
    settings: RunSettings,
    *,
    home: Path,
    out: Path | None = None,
    budget: Budget | None = None,
    watch: Watch = unwatched,
) -> Summary:
    """Do, or go on with, the run of these settings; a run that is finished is only shown again.

    Raises any FewtuneError; after InterruptedByUser, UnfinishedError or a kill, the same call resumes.
    """
    providers.check_access(settings.provider)
    with watching() as interruption:
        watch(Stage(name="prepare", text=f"Reading {settings.data}"))
        prepared = prepare_rows(settings)
        plans = plan_grid(settings, len(prepared.split.train))
        run_id = settings.run_id(prepared.dataset.sha256)
        folder = (out or home / "runs" / run_id).expanduser().resolve()
        store = Runs(home)
        finished = _finished(store, run_id, folder)
        if finished:
            watch(Note(text="This run was finished before: shown again, nothing was trained."))
            return finished
        chosen = trunks(plans)
        _check_budget(settings, prepared, chosen, budget or Budget())
        interruption.check()
        with held(folder, run_id, settings, prepared.dataset.sha256):
            job = _Job(id=run_id, settings=settings, folder=folder, store=store, watch=watch, interruption=interruption)
            return _recorded(job, prepared, chosen)


def plan_grid(settings: RunSettings, rows: int) -> tuple[Plan, ...]:
    """Every plan of the run; `rows` is the number of training rows."""
    first = Plan(
        base=settings.base,
        learning_rate=1.0,
        rank=settings.rank,
        alpha=2 * settings.rank,
        prompt_loss_weight=settings.prompt_loss_weight,
        gradient_accumulation=settings.gradient_accumulation,
        adapt_top=settings.adapt_top,
        averaged_checkpoints=settings.averaged_checkpoints,
        cooldown=settings.cooldown,
    )
    default_batch = settings.batch_sizes == RunSettings(data="").batch_sizes
    batch_sizes = (min(settings.batch_sizes[0], rows),) if default_batch else settings.batch_sizes
    rates = settings.learning_rates or default_rates(settings)
    return grid(first, epochs=settings.epochs, batch_sizes=batch_sizes, learning_rates=rates, rows=rows)


def default_rates(settings: RunSettings) -> tuple[float, ...]:
    if not providers.kind(settings.provider).local_base:
        return _MULTIPLIER
    return around(learning_rate_prior(width(settings.base)))


def _finished(store: Runs, run_id: str, folder: Path) -> Summary | None:
    record = store.get(run_id)
    if record is None or record.state != "finished" or record.summary is None or record.folder != str(folder):
        return None
    summary = Summary.from_json(record.summary)
    return summary if all(Path(path).exists() for path in summary.files.values()) else None


def _recorded(job: _Job, prepared: Prepared, chosen: Sequence[Trunk]) -> Summary:
    """Run with the store knowing how it stands, whatever happens."""
    record = RunRecord(
        id=job.id,
        created_at=now(),
        state="running",
        folder=str(job.folder),
        data_path=str(Path(job.settings.data).resolve()),
        data_sha256=prepared.dataset.sha256,
        settings=job.settings.to_json(),
        summary=None,
        error=None,
    )
    job.store.begin(record)
    try:
        summary = _stages(job, prepared, chosen)
    except FewtuneError as error:
        stopped = isinstance(error, InterruptedByUser) or error.exit_code == 7
        job.store.end(job.id, "stopped" if stopped else "failed", error=str(error))
        if stopped:
            error.fix = error.fix or f"Everything is saved. Go on with: fewtune resume {job.id}"
        raise
    job.store.end(job.id, "finished", summary.to_json())
    return summary


def _check_budget(settings: RunSettings, prepared: Prepared, chosen: Sequence[Trunk], budget: Budget) -> None:
    found = estimate(settings, prepared, chosen)
    if providers.kind(settings.provider).bills:
        check_dollars(found, settings.provider, settings.base, budget.usd)
    else:
        check_minutes(found, budget.minutes)


def estimate(settings: RunSettings, prepared: Prepared, chosen: Sequence[Trunk]) -> Estimate:
    today = datetime.datetime.now(datetime.UTC).date()
    return estimate_sweep(prepared, chosen, settings, today)


def _stages(job: _Job, prepared: Prepared, chosen: Sequence[Trunk]) -> Summary:
    files = write_parts(prepared, job.folder, prepared.row_shape)
    job.watch(Stage(name="load", text=f"Loading {job.settings.base}"))
    _tell_of_experts(job)
    provider = connect(job.settings, prepared, job.folder)
    readings = _train(job, provider, prepared, chosen)
    selection = _select(readings)
    winner = next(reading for reading in readings if reading.id == selection.chosen)
    files |= _keep_adapter(winner, job.folder)
    judgement = _judge(job, provider, prepared, winner)
    job.watch(Stage(name="report", text="Writing the report"))
    files["report"] = job.folder / "report.html"
    if prepared.encoder:
        files["base"] = locate(job.settings.base)
    store = job.store
    summary = summarise_run(
        store.find(job.id),
        job.settings,
        prepared,
        readings,
        selection,
        judgement,
        store.trials(job.id),
        store.points(job.id),
        store.predictions(job.id),
        files,
    )
    html.write(summary, files["report"])
    return summary


def connect(settings: RunSettings, prepared: Prepared, folder: Path) -> Provider:
    """The run's provider, with the run's rows and its folder for trials."""
    workspace = Workspace(
        base=settings.base,
        examples={example.row: example for example in prepared.repaired.examples},
        folder=folder / "trials",
        four_bit=settings.four_bit,
        recipe=settings.recipe,
    )
    return providers.connect(settings.provider, workspace)


def _train(job: _Job, provider: Provider, prepared: Prepared, chosen: Sequence[Trunk]) -> tuple[Reading, ...]:
    epochs = sum(trunk.plan.epochs for trunk in chosen)
    job.watch(
        Stage(name="train", text=f"Training {_counted(len(chosen), 'trial')}, {_counted(epochs, 'epoch')} in all")
    )
    trials = as_trials(chosen, prepared.split, job.settings.seed)
    events = sweep.train(provider, trials, job.store, job.id, job.watch)
    try:
        for _ in events:
            job.interruption.check()
    finally:
        events.close()
    return read_off(chosen, job.store, job.id)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _select(readings: Sequence[Reading]) -> Selection:
    measured = [reading for reading in readings if reading.model and reading.point]
    return select(
        {one.id: one.point.valid_row_losses for one in measured if one.point},
        {one.id: one.point.valid_loss for one in measured if one.point and one.point.valid_loss is not None},
        {one.id: float(one.point.tokens) for one in measured if one.point},
    )


def _tell_of_experts(job: _Job) -> None:
    """A base of which only a part is tuned should not surprise anybody."""
    if providers.kind(job.settings.provider).local_base and shape(job.settings.base).is_mixture:
        job.watch(Note(text=f"{job.settings.base} is a mixture of experts: adapters are on its attention only."))


def _keep_adapter(winner: Reading, folder: Path) -> dict[str, Path]:
    """Copy the winner's adapter to `adapter/`, whole or not at all."""
    if winner.folder is None:
        return {}
    target, temporary = folder / "adapter", folder / "adapter.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(winner.folder, temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except OSError as error:
        raise from_os_error(error, "keep the chosen adapter", target) from error
    return {"adapter": target}


def _judge(job: _Job, provider: Provider, prepared: Prepared, winner: Reading) -> Judgement:
    if not job.settings.evaluate or winner.model is None:
        return Judgement(measured={}, compared={}, shots=0, sentence=_best_sentence(winner))
    rows = prepared.split.test
    job.watch(Stage(name="evaluate", text=f"Answering {_counted(len(rows), 'held-out row')}"))
    chosen = systems(prepared, winner.model, job.settings.shots, job.settings.seed)
    answer(provider, chosen, prepared, job.store, job.id, job.watch, job.interruption)
    shots = max(len(system.shots) for system in chosen)
    return judge(rows, prepared.task.kind, job.store.predictions(job.id), shots)


def _best_sentence(winner: Reading) -> str:
    plan, loss = winner.plan, winner.point.valid_loss if winner.point else None
    told = f"validation loss {loss:.3f}" if loss is not None else "validation loss not told"
    return (
        f"Best: {_counted(plan.epochs, 'epoch')}, batch {plan.batch_size}, rate {plan.learning_rate:g} ({told}). "
        "Nothing was compared with the base: fewtune run does that."
    )


def rerun(record: RunRecord) -> RunSettings:
    """The settings of a stored run."""
    values: dict[str, Any] = dict(record.settings)
    return replace(RunSettings.from_json(values), data=record.data_path)
