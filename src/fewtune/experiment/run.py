"""The main job: a file in, a judged model and a report out; killed anywhere, it goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fewtune import providers, trackers
from fewtune.bases.folder import locate
from fewtune.bases.shape import shape
from fewtune.errors import FewtuneError, InterruptedByUser, from_os_error
from fewtune.experiment.agreeing import Agreement, agree
from fewtune.experiment.answering import Sampling
from fewtune.experiment.evaluating import Evaluated, Evaluation, Outsiders, outsiders
from fewtune.experiment.folder import held
from fewtune.experiment.interruption import Interruption, watching
from fewtune.experiment.judgement import judge
from fewtune.experiment.measures import Measures, measures
from fewtune.experiment.measuring import PlanReading
from fewtune.experiment.more_data import PART
from fewtune.experiment.outcome import Outcome, Proxied, search_through
from fewtune.experiment.preparation import Prepared, prepare_rows
from fewtune.experiment.prepared_folder import write_parts
from fewtune.experiment.progress import Note, Progress, Stage, Training, Watch, unwatched
from fewtune.experiment.proxying import FOLDER as PROXY_FOLDER
from fewtune.experiment.proxying import Ahead, given, proxy_of, share, translated, trials_key, without
from fewtune.experiment.resuming import begin_anew, finished_before, forget_other_shots, is_here
from fewtune.experiment.rivals import FEW_SHOT, FEW_SHOT_NEAREST, RUNNER_UP, SYSTEMS, TUNED
from fewtune.experiment.rounds import enlisted
from fewtune.experiment.searching import SearchPlan, search_plan
from fewtune.experiment.sentence_encoder import check_encoder
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.summarising import summarise_run
from fewtune.experiment.sweep import Sweep
from fewtune.experiment.tracking import ended_early, results, tell_again, tracked
from fewtune.experiment.weighing import Weighed, weigh
from fewtune.providers.contract import Provider, Workspace
from fewtune.report import html
from fewtune.report.summary import Summary
from fewtune.report.words import counted
from fewtune.search.budget import Budget
from fewtune.search.proxy import risk
from fewtune.store.runs import RunRecord, Runs, now
from fewtune.trackers.contract import Track, untracked


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A run on its way."""

    id: str
    settings: RunSettings
    folder: Path
    store: Runs
    watch: Watch
    interruption: Interruption
    outsiders: Outsiders
    measures: Measures
    address: str | None
    trackers: Sequence[str] = ()
    """Names of those that are told."""
    track: Track = untracked


def execute(
    settings: RunSettings,
    *,
    home: Path,
    out: Path | None = None,
    budget: Budget | None = None,
    address: str | None = None,
    track: Sequence[str] = (),
    watch: Watch = unwatched,
    metrics: Mapping[str, object] | None = None,
) -> Summary:
    """Do, or go on with, the run of these settings; a run that is finished is only shown again, and told to `track`.

    `metrics` holds those of the settings that were given as functions, by what they are called there.

    Raises any FewtuneError; after InterruptedByUser, UnfinishedError or a kill, the same call resumes.
    """
    providers.check_access(settings.provider)
    trackers.check(track)
    with watching() as interruption:
        watch(Stage(name="prepare", text=f"Reading {settings.data}"))
        prepared = prepare_rows(settings)
        search, proxy = search_plan(settings, prepared), proxy_of(settings, prepared)
        measured_by = measures(settings, prepared, metrics or {})
        run_id = settings.run_id(prepared.dataset.sha256)
        folder = (out or home / "runs" / run_id).expanduser().resolve()
        store, given = Runs(home), budget or Budget()
        finished = finished_before(store, run_id, folder, settings, given)
        if finished:
            watch(Note(text="This run was finished before: shown again, nothing was trained."))
            tell_again(track, store.find(run_id), settings, prepared, watch, store, finished)
            return finished
        here = is_here(store, run_id, folder)
        agreement = agree(settings, prepared, search, given, store.agreement(run_id) if here else None)
        beside = outsiders(settings, agreement.budget.usd)
        if settings.sentence_encoder:
            check_encoder(settings.sentence_encoder)
        known = store.agreement(trials_key(run_id)) if here else None
        ahead = Ahead(proxy=proxy, agreement=share(proxy, search, agreement, known)) if proxy else None
        interruption.check()
        with held(folder, run_id, settings, prepared.dataset.sha256):
            if not here:
                begin_anew(store, run_id, settings, folder)
            forget_other_shots(store, run_id, settings)
            job = _Job(
                id=run_id,
                settings=settings,
                folder=folder,
                store=store,
                watch=watch,
                interruption=interruption,
                outsiders=beside,
                measures=measured_by,
                address=address,
                trackers=track,
            )
            return _recorded(job, prepared, search, agreement, ahead)


def _recorded(job: _Job, prepared: Prepared, search: SearchPlan, agreement: Agreement, ahead: Ahead | None) -> Summary:
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
    job.store.agree(job.id, asdict(agreement.budget), asdict(agreement.epoch))
    with tracked(job.trackers, job.store.find(job.id), job.settings, prepared, job.watch) as track:
        try:
            summary = _stages(replace(job, track=track), prepared, search, agreement, ahead)
        except FewtuneError as error:
            stopped = isinstance(error, InterruptedByUser) or error.exit_code == 7
            job.store.end(job.id, "stopped" if stopped else "failed", error=str(error))
            track(ended_early("stopped" if stopped else "failed"))
            if stopped:
                error.fix = error.fix or f"Everything is saved. Go on with: {_resuming(job)}"
            raise
        job.store.end(job.id, "finished", summary.to_json())
        for event in results(summary):
            track(event)
    return summary


def _resuming(job: _Job) -> str:
    return " ".join(("fewtune resume", job.id, *(f"--track {name}" for name in job.trackers)))


def _stages(job: _Job, prepared: Prepared, search: SearchPlan, agreement: Agreement, ahead: Ahead | None) -> Summary:
    files = write_parts(prepared, job.folder, prepared.row_shape)
    proxied = _search_ahead(job, ahead, search.wanted) if ahead else None
    if proxied:
        plans = [found.plan for _, found in proxied.sent]
        search = given(search, plans, list(enlisted(job.store, job.id).values()))
        agreement = replace(agreement, budget=without(agreement.budget, proxied.spent))
    job.watch(Stage(name="load", text=f"Loading {job.settings.base}"))
    _tell_of_experts(job)
    provider = connect(job.settings, prepared, job.folder, job.address)
    outcome = replace(_search(job, provider, prepared, search, agreement), proxied=proxied)
    files |= _keep_adapter(outcome.kept, job.folder)
    evaluated = _evaluate(job, provider, prepared, outcome, agreement)
    judgement = evaluated and judge(
        prepared.split.test, job.measures, evaluated.predictions, evaluated.shots, order=SYSTEMS
    )
    weighed = None if job.settings.evaluate else _weigh(job, provider, prepared, outcome)
    job.watch(Stage(name="report", text="Writing the report"))
    files["report"] = job.folder / "report.html"
    if prepared.encoder:
        files["base"] = locate(job.settings.base)
    summary = summarise_run(
        job.store, job.store.find(job.id), job.settings, prepared, outcome, judgement, evaluated, weighed, files
    )
    html.write(summary, files["report"])
    return summary


def connect(settings: RunSettings, prepared: Prepared, folder: Path, address: str | None = None) -> Provider:
    """The run's provider, with the run's rows and its folder for trials; `address` is a cluster's."""
    workspace = Workspace(
        base=settings.base,
        examples={example.row: example for example in prepared.repaired.examples},
        folder=folder / "trials",
        precision=settings.base_precision,
        recipe=settings.recipe,
        address=address,
    )
    return providers.connect(settings.provider, workspace)


def _search_ahead(job: _Job, ahead: Ahead, most: int) -> Proxied:
    """Search on the cheap base, in a folder of its own."""
    proxy, run_id = ahead.proxy, trials_key(job.id)
    search, base = proxy.search, proxy.settings.base
    job.store.agree(run_id, asdict(ahead.agreement.budget), asdict(ahead.agreement.epoch))
    job.watch(Stage(name="train", text=f"Searching on {base}: {counted(search.wanted, 'trial')}"))
    sweep = Sweep(
        provider=connect(proxy.settings, proxy.prepared, job.folder / PROXY_FOLDER),
        store=job.store,
        run_id=run_id,
        agreement=ahead.agreement,
        watch=job.watch,
        interruption=job.interruption,
    )
    outcome = search_through(sweep, search, proxy.prepared)
    sent = translated(job.settings, outcome, most)
    job.watch(Note(text=risk(base, job.settings.base, sent[0][1].kind)))
    return Proxied(outcome=outcome, run_id=run_id, sent=sent, spent=sweep.spent())


def _search(job: _Job, provider: Provider, prepared: Prepared, search: SearchPlan, agreement: Agreement) -> Outcome:
    epochs = counted(search.epochs(search.wanted), "epoch")
    most = "at most " if search.stops_early or search.repeats or search.afterwards.refit else ""
    job.watch(Stage(name="train", text=f"Training {counted(search.wanted, 'trial')}, {most}{epochs} in all"))
    if search.note:
        job.watch(Note(text=search.note))
    sweep = Sweep(
        provider=provider,
        store=job.store,
        run_id=job.id,
        agreement=agreement,
        watch=_forgetting(job),
        interruption=job.interruption,
        track=job.track,
    )
    return search_through(sweep, search, prepared)


def _forgetting(job: _Job) -> Watch:
    """Answers of a tuned model that may not be the kept one any more go as soon as something is trained again that
    might be, and with them those to prompts with examples of the rows that the kept one has learnt."""
    trained = False

    def watch(event: Progress) -> None:
        nonlocal trained
        if isinstance(event, Training) and not trained and not event.trial.startswith(PART):
            trained = True
            for name in (TUNED, RUNNER_UP, FEW_SHOT, FEW_SHOT_NEAREST):
                job.store.forget_predictions(job.id, name)
        job.watch(event)

    return watch


def _tell_of_experts(job: _Job) -> None:
    """A base of which only a part is tuned should not surprise anybody."""
    if providers.kind(job.settings.provider).local_base and shape(job.settings.base).is_mixture:
        job.watch(Note(text=f"{job.settings.base} is a mixture of experts: adapters are on its attention only."))


def _keep_adapter(kept: PlanReading, folder: Path) -> dict[str, Path]:
    """Copy the kept model's adapter to `adapter/`, whole or not at all."""
    if kept.folder is None:
        return {}
    target, temporary = folder / "adapter", folder / "adapter.partial"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(kept.folder, temporary)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except OSError as error:
        raise from_os_error(error, "keep the chosen adapter", target) from error
    return {"adapter": target}


def _evaluate(
    job: _Job, provider: Provider, prepared: Prepared, outcome: Outcome, agreement: Agreement
) -> Evaluated | None:
    if not job.settings.evaluate or outcome.kept.model is None:
        return None
    job.watch(Stage(name="evaluate", text=f"Answering {counted(len(prepared.split.test), 'held-out row')}"))
    evaluation = Evaluation(
        settings=job.settings,
        prepared=prepared,
        outcome=outcome,
        outsiders=job.outsiders,
        sampling=_sampling(job, provider),
        usd=agreement.budget.usd,
    )
    return evaluation.conduct(outcome.kept.model)


def _weigh(job: _Job, provider: Provider, prepared: Prepared, outcome: Outcome) -> Weighed:
    """What a sweep says of tuning itself, by rows that chose nothing; the test rows stay untouched."""
    estimate = outcome.choice.estimate
    if estimate and provider.capabilities.can_score:
        rows = counted(len(estimate.rows), "row")
        job.watch(Stage(name="evaluate", text=f"Scoring base, few-shot prompt and chosen trials on {rows}"))
    return weigh(_sampling(job, provider), prepared, outcome, job.settings.shots, job.settings.seed)


def _sampling(job: _Job, provider: Provider) -> Sampling:
    return Sampling(provider=provider, store=job.store, run_id=job.id, watch=job.watch, interruption=job.interruption)


def rerun(record: RunRecord) -> RunSettings:
    """The settings of a stored run."""
    values: dict[str, Any] = dict(record.settings)
    return replace(RunSettings.from_json(values), data=record.data_path)
