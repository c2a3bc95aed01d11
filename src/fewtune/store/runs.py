"""Record and read runs: their trials, curves, checkpoints and predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, delete, func, select, text, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import OperationalError

from fewtune.errors import UnfinishedError, UsageError
from fewtune.store.database import agreements, checkpoints, open_database, points, predictions, replies, runs, trials

FILE_NAME = "fewtune.db"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    id: str
    created_at: str
    """ISO 8601, UTC."""
    state: str
    """`running` (or killed while it ran), `stopped`, `failed` or `finished`."""
    folder: str
    data_path: str
    data_sha256: str
    settings: Mapping[str, Any] = field(repr=False)
    summary: Mapping[str, Any] | None = field(repr=False)
    error: str | None


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    id: str
    plan: Mapping[str, Any]
    seed: int
    handle: str
    state: str
    """`waiting`, `running` (or resting where it stands), `failed` or `finished`."""
    failure: str | None
    tokens: int
    seconds: float
    usd: float | None


@dataclass(frozen=True, kw_only=True)
class PointRecord:
    trial_id: str
    step: int
    epoch: float
    train_loss: float | None
    train_token_accuracy: float | None
    learning_rate: float | None
    gradient_norm: float | None
    tokens: int
    seconds: float
    valid_loss: float | None
    valid_token_accuracy: float | None
    valid_sequence_accuracy: float | None
    valid_row_losses: list[float] | None
    valid_row_exact: list[bool] | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    trial_id: str
    epoch: int
    step: int
    model: str
    folder: str | None


@dataclass(frozen=True, kw_only=True)
class PredictionRecord:
    """One system's answer to one row; a part that was not asked for yet is None."""

    system: str
    row: int
    text: str | None = None
    tokens: int | None = None
    stop_reason: str | None = None
    seconds: float | None = None
    log_likelihoods: list[float] | None = None
    greedy: list[bool] | None = None
    more_texts: list[str] | None = None
    """Further answers, drawn with other seeds; nothing measures them."""
    label_log_likelihoods: dict[str, float] | None = None
    """Of each label of a labelling task as the answer, its stop included."""


@dataclass(frozen=True, kw_only=True)
class ReplyRecord:
    """What a model outside the run was asked and said: once paid, never asked again."""

    purpose: str
    """`reference` or `judge`."""
    question: str
    """Digest of the model's name and all that it was sent."""
    text: str
    stop_reason: str
    """`stop` or `length`."""
    prompt_tokens: int
    tokens: int
    """Of the reply, thoughts included."""
    seconds: float
    usd: float | None
    """None where the price is not known."""


@dataclass(frozen=True, kw_only=True)
class AgreementRecord:
    """What a run may take, and how long it has trained."""

    limits: Mapping[str, float | None]
    epoch: Mapping[str, float]
    """What one epoch was estimated to take when the run began, so that a resumed one decides by the same numbers."""
    training_seconds: float = 0.0


class Runs:
    """The truth about what was done. Writing a thing twice leaves it once, so a resumed run may repeat itself."""

    def __init__(self, home: Path) -> None:
        self._engine: Engine = open_database(home / FILE_NAME)

    def begin(self, record: RunRecord) -> None:
        """Make a run known; one of this id that is there becomes `running` again, with these settings."""
        values = {**_values(record), "state": "running", "error": None}
        statement = insert(runs).values(values)
        again = statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"state": "running", "error": None, "folder": record.folder, "settings": record.settings},
        )
        self._write(again)

    def end(self, run_id: str, state: str, summary: Mapping[str, Any] | None = None, error: str | None = None) -> None:
        values: dict[str, Any] = {"state": state, "error": error}
        if summary is not None:
            values["summary"] = summary
        self._write(update(runs).where(runs.c.id == run_id).values(values))

    def find(self, name: str) -> RunRecord:
        """The run of this id, of an id that begins so, or of this folder; `last` is the newest.

        Raises UsageError, naming the runs that come near, when there is none or more than one.
        """
        known = self.all()
        exact = [run for run in known if name in (run.id, run.folder) or str(Path(name).resolve()) == run.folder]
        chosen = exact or ([*known[:1]] if name == "last" else [run for run in known if run.id.startswith(name)])
        if len(chosen) == 1:
            return chosen[0]
        near = ", ".join(run.id for run in (chosen or known)[:5]) or "none yet"
        problem = f"More than one run begins with {name!r}" if chosen else f"There is no run {name!r}"
        raise UsageError(f"{problem}.", fix=f"Runs: {near}. All are listed by: fewtune runs.")

    def get(self, run_id: str) -> RunRecord | None:
        return next((run for run in self.all() if run.id == run_id), None)

    def all(self) -> list[RunRecord]:
        """Every run, the newest first."""
        # Of two runs that began within one second, the one that was written later is the newer.
        newest_first = select(runs).order_by(runs.c.created_at.desc(), text("rowid DESC"))
        return [RunRecord(**row) for row in self._rows(newest_first)]

    def agree(self, run_id: str, limits: Mapping[str, float | None], epoch: Mapping[str, float]) -> None:
        """Keep what the run may take; the time that it has trained stays as it is."""
        values = {"run_id": run_id, "limits": limits, "epoch": epoch}
        statement = insert(agreements).values({**values, "training_seconds": 0.0})
        self._write(statement.on_conflict_do_update(index_elements=["run_id"], set_=values))

    def agreement(self, run_id: str) -> AgreementRecord | None:
        found = self._of(agreements, run_id)
        return AgreementRecord(**_own(found[0])) if found else None

    def add_training_seconds(self, run_id: str, seconds: float) -> None:
        column = agreements.c.training_seconds
        self._write(update(agreements).where(agreements.c.run_id == run_id).values(training_seconds=column + seconds))

    def put_trial(self, run_id: str, trial: TrialRecord) -> None:
        self.put_trials(run_id, [trial])

    def put_trials(self, run_id: str, records: Sequence[TrialRecord]) -> None:
        """All of them or, after a kill, none."""
        self._put(trials, run_id, records)

    def put_points(self, run_id: str, records: Sequence[PointRecord]) -> None:
        self._put(points, run_id, records)

    def put_checkpoint(self, run_id: str, record: CheckpointRecord) -> None:
        self._put(checkpoints, run_id, [record])

    def put_predictions(self, run_id: str, records: Sequence[PredictionRecord]) -> None:
        """Parts that are None leave what is there; so answers and scores may come one after the other."""
        self._put(predictions, run_id, records)

    def put_reply(self, run_id: str, record: ReplyRecord) -> None:
        self._put(replies, run_id, [record])

    def forget(self, run_id: str) -> None:
        """All that was trained and answered, but not the run, nor what other models said and were paid for."""
        for table in (trials, points, checkpoints, predictions, agreements):
            self._write(delete(table).where(table.c.run_id == run_id))

    def forget_predictions(self, run_id: str, system: str) -> None:
        """For a system that is another one from now on."""
        self._write(delete(predictions).where(predictions.c.run_id == run_id, predictions.c.system == system))

    def trials(self, run_id: str) -> list[TrialRecord]:
        return [TrialRecord(**_own(row)) for row in self._of(trials, run_id)]

    def points(self, run_id: str) -> list[PointRecord]:
        """In order of trial and step."""
        return [PointRecord(**_own(row)) for row in self._of(points, run_id)]

    def checkpoints(self, run_id: str) -> list[CheckpointRecord]:
        return [CheckpointRecord(**_own(row)) for row in self._of(checkpoints, run_id)]

    def predictions(self, run_id: str) -> list[PredictionRecord]:
        return [PredictionRecord(**_own(row)) for row in self._of(predictions, run_id)]

    def replies(self, run_id: str) -> list[ReplyRecord]:
        return [ReplyRecord(**_own(row)) for row in self._of(replies, run_id)]

    def _put(self, table: Table, run_id: str, records: Sequence[Any]) -> None:
        if not records:
            return
        rows = [{"run_id": run_id, **_values(record)} for record in records]
        keys = [column.name for column in table.primary_key]
        statement, columns = insert(table), table.columns
        # Row by row: one record may bring an answer where the next brings a score.
        updated = {name: func.coalesce(statement.excluded[name], columns[name]) for name in rows[0] if name not in keys}
        self._write(statement.on_conflict_do_update(index_elements=keys, set_=updated), rows)

    def _write(self, statement: Any, rows: list[dict[str, Any]] | None = None) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(statement, rows)
        except OperationalError as error:
            raise UnfinishedError(
                f"The state file could not be written: {error.orig}.",
                where=str(self._engine.url.database),
                fix="Free some space or stop the other process, then run the same command again: it resumes.",
            ) from error

    def _of(self, table: Table, run_id: str) -> list[dict[str, Any]]:
        return self._rows(select(table).where(table.c.run_id == run_id).order_by(*table.primary_key))

    def _rows(self, statement: Any) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]


def now() -> str:
    """The time as runs record it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _values(record: Any) -> dict[str, Any]:
    # Not `asdict`: JSON columns take the values as they are, without a deep copy of each curve.
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _own(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "run_id"}
