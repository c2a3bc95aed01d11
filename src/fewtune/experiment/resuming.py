"""Whether a run was done before, how far it came, and what of it cannot be gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

from fewtune import providers
from fewtune.experiment.proxying import FOLDER as PROXY_FOLDER
from fewtune.experiment.proxying import trials_key
from fewtune.experiment.rivals import FEW_SHOT, FEW_SHOT_NEAREST
from fewtune.experiment.settings import RunSettings
from fewtune.report.summary import Summary
from fewtune.search.budget import Budget
from fewtune.store.runs import AgreementRecord, Runs


def finished_before(store: Runs, run_id: str, folder: Path, settings: RunSettings, given: Budget) -> Summary | None:
    """What the run has come to, unless it is not finished or more is asked of it now."""
    record = store.get(run_id)
    if record is None or record.state != "finished" or record.summary is None or record.folder != str(folder):
        return None
    before = RunSettings.from_json(record.settings)
    if settings.judges_anew or (before.judging, before.answering) != (settings.judging, settings.answering):
        return None
    summary = Summary.from_json(record.summary)
    if _is_extended(summary, settings, given, store.agreement(run_id)):
        return None
    return summary if all(Path(path).exists() for path in summary.files.values()) else None


def is_here(store: Runs, run_id: str, folder: Path) -> bool:
    """Whether what the store knows of the run lies in this folder; in another one it is trained anew."""
    record = store.get(run_id)
    begun = (folder / "trials").exists() or (folder / PROXY_FOLDER).exists()
    return record is not None and record.folder == str(folder) and begun


def begin_anew(store: Runs, run_id: str, settings: RunSettings, folder: Path) -> None:
    """What was told before is not in the store any more, so it has to be told again; jobs that are paid are kept."""
    store.forget(run_id)
    store.forget(trials_key(run_id))
    shutil.rmtree(folder / PROXY_FOLDER, ignore_errors=True)
    if not providers.kind(settings.provider).bills:
        shutil.rmtree(folder / "trials", ignore_errors=True)


def forget_other_shots(store: Runs, run_id: str, settings: RunSettings) -> None:
    """Answers to prompts with another number of worked examples than are asked for now."""
    record = store.get(run_id)
    if record and record.settings.get("shots") != settings.shots:
        for name in (FEW_SHOT, FEW_SHOT_NEAREST):
            store.forget_predictions(run_id, name)


def _is_extended(summary: Summary, settings: RunSettings, given: Budget, agreed: AgreementRecord | None) -> bool:
    """Whether more trials are asked for, or what more data would bring, or a limit that has cut some is raised."""
    if summary.search is None:
        return False
    if settings.more_data and summary.more_data is None:
        return True
    limits = agreed.limits if agreed else dict[str, float | None]()
    raised = any(value > (limits.get(name) or value) for name, value in given.limits().items())
    searched = summary.proxy.search if summary.proxy else summary.search
    return (settings.trials or 0) > searched.asked or (raised and bool((*searched.cut, *summary.search.cut)))
