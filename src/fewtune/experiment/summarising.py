"""Gather what a run prepared, trained and measured into one Summary."""

from __future__ import annotations

import os
import platform
import shlex
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from fewtune.experiment.afterwards_reporting import more_data_part, refit_line
from fewtune.experiment.data_reporting import data_part
from fewtune.experiment.evaluating import Evaluated
from fewtune.experiment.evaluation_reporting import (
    difference_lines,
    evaluation_part,
    prediction_lines,
    system_lines,
)
from fewtune.experiment.judgement import Judgement
from fewtune.experiment.outcome import Outcome, Proxied
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.search_reporting import saved_against_grid, search_part, search_sentence, trial_lines
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.weighing import Weighed
from fewtune.report.summary import (
    CurvePoint,
    ProxyPart,
    SentPlan,
    Summary,
)
from fewtune.search.proxy import risk
from fewtune.store.runs import PointRecord, PredictionRecord, RunRecord, Runs, TrialRecord
from fewtune.types import Usage

_PACKAGES = ("fewtune", "torch", "transformers", "tokenizers", "safetensors", "sentence-transformers", "openai")


_OPTIONS = {"batch_sizes": "--batch-size", "learning_rates": "--learning-rate"}
_REPEATED = {
    "refused_repairs": "--no-repair",
    "accepted_repairs": "--repair",
    "metrics": "--metric",
    "reference_columns": "--reference-column",
}
_OF_THE_MACHINE = ("four_bit", "precision")
"""Settings without an option: they come from the environment or from fewtune.toml."""


def summarise_run(
    store: Runs,
    record: RunRecord,
    settings: RunSettings,
    prepared: Prepared,
    outcome: Outcome,
    judgement: Judgement | None,
    evaluated: Evaluated | None,
    weighed: Weighed | None,
    files: Mapping[str, Path],
) -> Summary:
    trials, points, predictions = store.trials(record.id), store.points(record.id), store.predictions(record.id)
    usages = [_usage(trial, points) for trial in trials]
    proxy = _proxy(store, outcome.proxied, settings.base) if outcome.proxied else None
    searched = Usage(tokens=proxy.tokens, seconds=proxy.seconds, usd=0.0) if proxy else Usage(usd=0.0)
    total = sum(usages, searched) + Usage(usd=evaluated.usd if evaluated else 0.0)
    saved = saved_against_grid(outcome)
    return Summary(
        id=record.id,
        created=record.created_at,
        state="finished",
        verdict=judgement.sentence if judgement else search_sentence(outcome, weighed, saved, total.usd),
        base=settings.base,
        provider=settings.provider,
        seed=settings.seed,
        command=command(settings, _limits(store, record.id)),
        settings={**settings.to_json(), "shots": judgement.shots if judgement else 0},
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        seconds=total.seconds + sum(one.seconds or 0 for one in _slowest_of(predictions)),
        usd=total.usd,
        data=data_part(prepared),
        trials=trial_lines(outcome, trials),
        chosen=outcome.choice.selection.chosen,
        tied=outcome.choice.selection.tied,
        curves=_curves(points, {reading.trunk for reading in outcome.readings}),
        systems=system_lines(judgement) if judgement else (),
        differences=difference_lines(judgement) if judgement else (),
        predictions=prediction_lines(prepared, judgement, predictions) if judgement else (),
        files={name: str(path) for name, path in files.items()},
        search=search_part(outcome, weighed),
        saved_against_grid=saved,
        evaluation=evaluation_part(judgement, evaluated) if judgement and evaluated else None,
        refit=refit_line(outcome, trials),
        more_data=more_data_part(outcome),
        proxy=proxy,
    )


def _proxy(store: Runs, proxied: Proxied, base: str) -> ProxyPart:
    trials, points, cheap = store.trials(proxied.run_id), store.points(proxied.run_id), proxied.outcome
    total = sum((_usage(trial, points) for trial in trials), Usage(usd=0.0))
    return ProxyPart(
        base=cheap.winner.plan.base,
        search=search_part(cheap, None),
        trials=trial_lines(cheap, trials),
        chosen=cheap.choice.selection.chosen,
        sent=tuple(
            SentPlan(trial=reading.id, plan=asdict(found.plan), rate=found.kind) for reading, found in proxied.sent
        ),
        risk=risk(cheap.winner.plan.base, base, proxied.sent[0][1].kind),
        tokens=total.tokens,
        seconds=total.seconds,
    )


def _usage(trial: TrialRecord, points: Sequence[PointRecord]) -> Usage:
    """Of one that rests or failed, what its last point told."""
    last = next((point for point in reversed(points) if point.trial_id == trial.id), None)
    return Usage(
        tokens=max(trial.tokens, last.tokens if last else 0),
        seconds=max(trial.seconds, last.seconds if last else 0.0),
        usd=trial.usd if trial.state != "waiting" else 0.0,
    )


def _limits(store: Runs, run_id: str) -> Mapping[str, float]:
    """The budgets that were given, by what they limit."""
    agreed = store.agreement(run_id)
    return {name: limit for name, limit in agreed.limits.items() if limit is not None} if agreed else {}


def command(settings: RunSettings, limits: Mapping[str, float]) -> str:
    """The command line that makes this run again, with every option that is not at its default.

    Budgets belong to it: elsewhere the run might not be begun without them, or try more than it did.
    """
    kind = "run" if settings.evaluate else "train" if settings.cooldown else "sweep"
    default = RunSettings(data=settings.data)
    if kind == "sweep" or settings.search_on is not None:
        default = replace(default, halving=None, folds=None)
    if kind != "train":
        default = replace(default, refit=None)
    changed = {name: value for name, value in settings.to_json().items() if value != getattr(default, name)}
    words = [f"FEWTUNE_{name.upper()}={changed[name]}" for name in _OF_THE_MACHINE if name in changed]
    words += ["fewtune", kind, settings.data]
    for name, value in changed.items():
        if name not in ("data", "evaluate", "cooldown", "judge_rubric_sha256", *_OF_THE_MACHINE):
            words += _words(name, value)
    for name, limit in limits.items():
        words += [f"--budget-{name}", f"{limit:.12g}"]
    return shlex.join(words)


def _words(name: str, value: Any) -> list[str]:
    if name in _REPEATED:
        return [word for one in value for word in (_REPEATED[name], one)]
    option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
    if isinstance(value, bool):
        return [option if value else option.replace("--", "--no-", 1)]
    if isinstance(value, tuple):
        items = cast("tuple[float | str, ...]", value)
        return [option, ",".join(item if isinstance(item, str) else f"{item:g}" for item in items)]
    return [option, str(value)]


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _slowest_of(predictions: Sequence[PredictionRecord]) -> list[PredictionRecord]:
    """The slowest answer of each system: answers are written side by side, so their times overlap."""
    by_system: dict[str, PredictionRecord] = {}
    for one in predictions:
        if (one.seconds and one.seconds > (by_system.get(one.system, one).seconds or 0)) or one.system not in by_system:
            by_system[one.system] = one
    return list(by_system.values())


def _curves(points: Sequence[PointRecord], trunks: Collection[str]) -> dict[str, tuple[CurvePoint, ...]]:
    curves: dict[str, list[CurvePoint]] = defaultdict(list)
    for point in points:
        if point.trial_id not in trunks:
            continue
        curves[point.trial_id].append(
            CurvePoint(
                step=point.step,
                epoch=point.epoch,
                train_loss=point.train_loss,
                valid_loss=point.valid_loss,
                valid_token_accuracy=point.valid_token_accuracy,
                valid_sequence_accuracy=point.valid_sequence_accuracy,
            )
        )
    return {name: tuple(curve) for name, curve in curves.items()}
