"""Gather what a run prepared, trained and measured into one Summary."""

from __future__ import annotations

import os
import platform
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fewtune.evaluation.comparison import Compared, Measured
from fewtune.experiment.data_reporting import data_part
from fewtune.experiment.judgement import SYSTEMS, Judgement
from fewtune.experiment.preparation import Prepared
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.sweep import Reading
from fewtune.report.summary import (
    CurvePoint,
    Difference,
    Interval,
    MetricValue,
    PredictionLine,
    Summary,
    SystemLine,
    TrialLine,
)
from fewtune.search.selection import Selection
from fewtune.statistics import Interval as Measure
from fewtune.store.runs import PointRecord, PredictionRecord, RunRecord, TrialRecord

_PACKAGES = ("fewtune", "torch", "transformers", "tokenizers", "safetensors", "openai")


_REPAIR_OPTIONS = {"refused_repairs": "--no-repair", "accepted_repairs": "--repair"}


def summarise_run(
    record: RunRecord,
    settings: RunSettings,
    prepared: Prepared,
    readings: Sequence[Reading],
    selection: Selection,
    judgement: Judgement,
    trials: Sequence[TrialRecord],
    points: Sequence[PointRecord],
    predictions: Sequence[PredictionRecord],
    files: Mapping[str, Path],
) -> Summary:
    bills = [trial.usd for trial in trials]
    return Summary(
        id=record.id,
        created=record.created_at,
        state="finished",
        verdict=judgement.sentence,
        base=settings.base,
        provider=settings.provider,
        seed=settings.seed,
        command=command(settings),
        settings={**settings.to_json(), "shots": judgement.shots},
        versions=_versions(),
        machine=f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        seconds=sum(trial.seconds for trial in trials) + sum(one.seconds or 0 for one in _last_of(predictions)),
        usd=None if None in bills else sum(bill or 0.0 for bill in bills),
        data=data_part(prepared),
        trials=tuple(_trial_line(reading, trials) for reading in readings),
        chosen=selection.chosen,
        tied=selection.tied,
        curves=_curves(points),
        systems=_systems(judgement.measured),
        differences=_differences(judgement.compared),
        predictions=_prediction_lines(prepared, predictions),
        files={name: str(path) for name, path in files.items()},
    )


def command(settings: RunSettings) -> str:
    """The command line that makes this run again, with every option that is not at its default."""
    default = RunSettings(data=settings.data)
    lists = {"epochs": "--epochs", "batch_sizes": "--batch-size", "learning_rates": "--learning-rate"}
    words = ["fewtune", "run" if settings.evaluate else "sweep", settings.data]
    for name, value in settings.to_json().items():
        if name in ("data", "evaluate") or value == getattr(default, name):
            continue
        if name in _REPAIR_OPTIONS:
            words += [word for code in value for word in (_REPAIR_OPTIONS[name], code)]
        elif isinstance(value, tuple | list):
            numbers: tuple[float, ...] = getattr(settings, name)
            words += [lists[name], ",".join(f"{number:g}" for number in numbers)]
        else:
            words += ["--" + name.replace("_", "-"), str(value)]
    return shlex.join(words)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _last_of(predictions: Sequence[PredictionRecord]) -> list[PredictionRecord]:
    """The slowest answer of each system: answers are written side by side, so their times overlap."""
    by_system: dict[str, PredictionRecord] = {}
    for one in predictions:
        if (one.seconds and one.seconds > (by_system.get(one.system, one).seconds or 0)) or one.system not in by_system:
            by_system[one.system] = one
    return list(by_system.values())


def _trial_line(reading: Reading, trials: Sequence[TrialRecord]) -> TrialLine:
    """A trunk is billed once, so a plan read off it has a price of its own only where everything is free."""
    point = reading.point
    free = any(trial.id == reading.trunk and trial.usd == 0 for trial in trials)
    return TrialLine(
        id=reading.id,
        trunk=reading.trunk,
        plan=asdict(reading.plan),
        state=reading.state,
        failure=reading.failure,
        valid_loss=point.valid_loss if point else None,
        valid_token_accuracy=point.valid_token_accuracy if point else None,
        valid_sequence_accuracy=point.valid_sequence_accuracy if point else None,
        tokens=point.tokens if point else 0,
        seconds=point.seconds if point else 0.0,
        usd=0.0 if free else None,
    )


def _curves(points: Sequence[PointRecord]) -> dict[str, tuple[CurvePoint, ...]]:
    curves: dict[str, list[CurvePoint]] = defaultdict(list)
    for point in points:
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


def _systems(measured: Mapping[str, Mapping[str, Measured]]) -> tuple[SystemLine, ...]:
    return tuple(
        SystemLine(
            name=name,
            metrics={metric: _metric_value(one.value, one.interval) for metric, one in measured[name].items()},
            rows=max((one.n for one in measured[name].values()), default=0),
        )
        for name in SYSTEMS
        if name in measured
    )


def _differences(compared: Mapping[str, Mapping[str, Compared]]) -> tuple[Difference, ...]:
    return tuple(
        Difference(against=rival, metric=metric, value=_metric_value(one.value, one.interval), verdict=one.verdict)
        for rival, metrics in compared.items()
        for metric, one in metrics.items()
    )


def _metric_value(value: float, interval: Measure | None) -> MetricValue:
    shown = Interval(low=interval.low, high=interval.high) if interval else None
    return MetricValue(value=value, interval=shown)


def _prediction_lines(prepared: Prepared, predictions: Sequence[PredictionRecord]) -> tuple[PredictionLine, ...]:
    answers: dict[int, dict[str, str]] = defaultdict(dict)
    for one in predictions:
        if one.text is not None:
            answers[one.row][one.system] = one.text
    return tuple(
        PredictionLine(
            source=str(example.source),
            prompt=example.prompt,
            expected=example.completion,
            answers={name: answers[example.row][name] for name in SYSTEMS if name in answers[example.row]},
        )
        for example in prepared.split.test
        if example.row in answers
    )
