"""TensorBoard: event files in `tensorboard/` of the run's folder, one folder for each trial, and `run` for the rest.

They are written with TensorBoard's own protocol buffers: neither torch nor TensorFlow is needed.
TENSORBOARD_LOGGING_DIR names another folder, in which each run has its own.
"""

# Protocol buffers make their classes when they are imported, unseen by pyright.
# pyright: reportAttributeAccessIssue=false, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as Record
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from fewtune.trackers.contract import Began, Ended, Event, File, Table, TrialBegan, TrialEnded, Values


class TensorboardTracker:
    def __init__(self, began: Began) -> None:
        given = os.environ.get("TENSORBOARD_LOGGING_DIR")
        self._folder = Path(given) / began.run if given else began.folder / "tensorboard"
        self._trials: dict[str, _Writer] = {}
        self._run = _Writer(self._folder / "run")
        self._run.text("settings", _markdown(("setting", "value"), [(k, str(v)) for k, v in began.config.items()]))
        self.address = f"tensorboard --logdir {self._folder}"

    def take(self, event: Event) -> None:
        match event:
            case TrialBegan():
                if event.trial not in self._trials:
                    writer = _Writer(self._folder / event.trial)
                    writer.plan(event.trial, event.config)
                    self._trials[event.trial] = writer
            case Values():
                self._trials[event.trial].scalars(event.values, event.step)
            case TrialEnded():
                self._trials.pop(event.trial).close()
            case Table():
                self._run.text(event.name, _markdown(event.columns, event.rows))
            case File():
                self._run.text(f"files/{event.name}", str(event.path))
            case Ended():
                self._end(event)
            case Began():
                pass

    def _end(self, ended: Ended) -> None:
        for writer in self._trials.values():
            writer.close()
        self._run.scalars(ended.numbers, 0)
        if ended.verdict:
            self._run.text("verdict", ended.verdict)
        self._run.close()


class _Writer:
    """One event file; it is seen by TensorBoard within seconds."""

    def __init__(self, folder: Path) -> None:
        self._file = EventFileWriter(str(folder), flush_secs=5)
        self._begun = False

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        if not self._begun:
            # What an earlier file has from this step on was told by a process that was killed, and is told again.
            self._file.add_event(
                Record(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))
            )
            self._begun = True
        self._add(Summary(value=[Summary.Value(tag=name, simple_value=one) for name, one in values.items()]), step)

    def text(self, name: str, text: str) -> None:
        tensor = TensorProto(
            dtype=DT_STRING,
            string_val=[text.encode()],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata: SummaryMetadata = create_summary_metadata(name, None)
        self._add(Summary(value=[Summary.Value(tag=name, tensor=tensor, metadata=metadata)]), 0)

    def plan(self, trial: str, config: Mapping[str, Any]) -> None:
        """A row of the page HParams."""
        self._add(hparams_pb(dict(config), trial_id=trial), 0)

    def close(self) -> None:
        self._file.close()

    def _add(self, summary: Any, step: int) -> None:
        self._file.add_event(Record(wall_time=time.time(), step=step, summary=summary))


def _markdown(columns: Any, rows: Any) -> str:
    """A table of plain texts."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
