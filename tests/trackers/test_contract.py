"""What every tracker has to do, on the real libraries, offline, and read back with their own readers."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fewtune.trackers.contract import Began, Ended, Event, File, Table, TrialBegan, TrialEnded, Values
from fewtune.trackers.delivery import Delivery, Patience

KEY = "sk-this-must-not-be-anywhere"
VERDICT = "Use the tuned model: it is better."
TRIALS = ("t1", "t2")
STEPS = range(1, 41)
KILLED_AT = 25
"""Steps that a first process told; the second one begins again five steps before."""


@dataclass
class Seen:
    """What a tracker shows of one run and its trials."""

    curves: dict[str, dict[str, dict[int, list[float]]]]
    """By trial, name and step: every value that is shown there."""
    plans: dict[str, dict[str, Any]]
    numbers: dict[str, float]
    tables: dict[str, list[list[str]]]
    files: set[str]
    said: str
    """Everything that is text."""
    bytes_kept: bytes = field(repr=False, default=b"")


def loss(trial: str, step: int) -> float:
    return round(math.exp(-step / 10) + TRIALS.index(trial), 4)


def part(trial: str, steps: range) -> Iterator[Event]:
    yield TrialBegan(
        trial=trial, config={"base": "pocket", "learning_rate": 0.001 * (1 + TRIALS.index(trial)), "rank": 8}
    )
    for step in steps:
        values = {"train/loss": loss(trial, step), "optimizer/learning_rate": 0.001}
        if step % 10 == 0:
            values["valid/loss"] = 2 * loss(trial, step)
        yield Values(trial=trial, step=step, seconds=step / 10, values=values)


def results(folder: Path) -> Iterator[Event]:
    yield Table(name="predictions", columns=("prompt", "tuned"), rows=(("What | is\nit?", "a pipe"), ("Say", "é")))
    yield File(name="train", kind="dataset", path=folder / "train.jsonl")
    yield File(name="adapter", kind="model", path=folder / "adapter")
    yield Ended(state="finished", verdict=VERDICT, numbers={"test/tuned/loss": 1.5, "usd": 0.25})


def tell(name: str, began: Began, events: Iterator[Event]) -> list[str]:
    """Through the process that a tracker has in a run; what it had to say."""
    told: list[str] = []
    delivery = Delivery(name, began, told.append, Patience(alone=240.0))
    for event in events:
        delivery.take(event)
    delivery.close(time.monotonic() + 240.0)
    delivery._process.wait(60)
    return told


def first_half() -> Iterator[Event]:
    """Of a run that is killed: no word of its end."""
    for trial in TRIALS:
        yield from part(trial, range(1, KILLED_AT + 1))


def second_half(folder: Path) -> Iterator[Event]:
    for trial in TRIALS:
        yield from part(trial, range(KILLED_AT - 4, STEPS.stop))
    yield TrialEnded(trial="t1", state="finished")
    yield from results(folder)


def read_wandb(folder: Path, began: Began) -> Seen:
    from wandb.proto.wandb_internal_pb2 import Record

    seen = Seen(curves={}, plans={}, numbers={}, tables={}, files=set(), said="")
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        trial = path.stem.removeprefix(f"run-{began.key}-")
        for data in log_records(path.read_bytes()):
            read_wandb_record(Record.FromString(data), trial, seen)
        seen.bytes_kept += path.read_bytes()
    for path in folder.glob("wandb/offline-run-*/files/media/table/*.table.json"):
        seen.tables[path.name.split("_")[0]] = json.loads(path.read_text())["data"]
    return seen


def log_records(content: bytes) -> Iterator[bytes]:
    """Of a LevelDB log behind a header of 7 bytes: blocks of 32 KiB; parts with checksum, length and kind."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


def read_wandb_record(record: Any, trial: str, seen: Seen) -> None:
    # Of the machine, its packages and the code that lies around W&B hears nothing.
    assert not record.run.host and not record.run.git.remote_url and not record.HasField("environment")
    if record.HasField("run") and record.run.job_type == "trial":
        assert record.run.run_group == "orders-1" and record.run.project == "fewtune"
        seen.plans[trial] = {one.key: json.loads(one.value_json) for one in record.run.config.update}
    if record.HasField("history") and trial != "run":
        values = {"".join(one.nested_key) or one.key: json.loads(one.value_json) for one in record.history.item}
        for name, value in values.items():
            at = seen.curves.setdefault(trial, {}).setdefault(name, {})
            # As the service does with a step that it has.
            at.setdefault(record.history.step.num, [value])
    if record.HasField("summary") and trial == "run":
        for one in record.summary.update:
            value = json.loads(one.value_json)
            seen.said += f"{value}\n"
            if isinstance(value, float):
                seen.numbers["".join(one.nested_key) or one.key] = value
    if record.HasField("artifact"):
        seen.files.add(record.artifact.name.removeprefix("orders-1-"))


def read_mlflow(folder: Path, began: Began) -> Seen:
    # MLflow's own code, on a SQLAlchemy that is newer than it knows.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return read_mlflow_runs(folder)


def read_mlflow_runs(folder: Path) -> Seen:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'runs.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == "fewtune")
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    parent = runs.pop("orders-1")
    assert all(one.data.tags["mlflow.parentRunId"] == parent.info.run_id for one in runs.values())
    assert {one.info.status for one in (parent, *runs.values())} == {"FINISHED"}
    curves: dict[str, dict[str, dict[int, list[float]]]] = {}
    for trial, run in runs.items():
        for name in run.data.metrics:
            at = curves.setdefault(trial, {}).setdefault(name, {})
            for one in client.get_metric_history(run.info.run_id, name):
                at.setdefault(one.step, []).append(one.value)
    kept = Path(parent.info.artifact_uri)
    return Seen(
        curves=curves,
        plans={trial: {name: as_number(text) for name, text in run.data.params.items()} for trial, run in runs.items()},
        numbers=dict(parent.data.metrics),
        tables={"predictions": json.loads((kept / "predictions.json").read_text())["data"]},
        files={path.name.removesuffix(".jsonl") for path in kept.iterdir()} - {"predictions.json"},
        said=str(parent.data.tags),
        bytes_kept=(folder / "runs.db").read_bytes(),
    )


def as_number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def read_trackio(folder: Path, began: Began) -> Seen:
    import sqlite3

    database = sqlite3.connect(folder / "trackio" / "fewtune.db")
    rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    plans = dict(database.execute("SELECT run_name, config FROM configs").fetchall())
    files = {name.removeprefix("orders-1-") for (name,) in database.execute("SELECT name FROM artifacts")}
    database.close()
    seen = Seen(curves={}, plans={}, numbers={}, tables={}, files=files, said="")
    for name, step, metrics in rows:
        trial, values = name.removeprefix(f"{began.key}-"), json.loads(metrics)
        if trial == "run":
            read_trackio_results(values, seen)
            continue
        for metric, value in values.items():
            seen.curves.setdefault(trial, {}).setdefault(metric, {}).setdefault(step, []).append(value)
    for name, config in plans.items():
        # trackio's own names, such as when it last saw the run, begin so.
        told = {key: value for key, value in json.loads(config).items() if not key.startswith("_")}
        seen.plans[name.removeprefix(f"{began.key}-")] = told
    seen.bytes_kept = (folder / "trackio" / "fewtune.db").read_bytes()
    return seen


def read_trackio_results(values: dict[str, Any], seen: Seen) -> None:
    for name, value in values.items():
        if isinstance(value, float):
            seen.numbers[name] = value
        elif name == "predictions":
            seen.tables[name] = [list(row.values()) for row in value["_value"]]
        else:
            seen.said += str(value)


def read_tensorboard(folder: Path, began: Began) -> Seen:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    seen = Seen(curves={}, plans={}, numbers={}, tables={}, files=set(), said="")
    runs = EventMultiplexer(size_guidance={"scalars": 0}).AddRunsFromDirectory(str(folder / "tensorboard")).Reload()
    for name in runs.Runs():
        run: EventAccumulator = runs.GetAccumulator(name)
        if name == "run":
            seen.numbers = {tag: run.Scalars(tag)[-1].value for tag in run.Tags()["scalars"]}
            texts = {tag: run.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in run.Tags()["tensors"]}
            seen.said = "\n".join(texts.values())
            seen.tables["predictions"] = [
                [cell.strip().replace("\\|", "|") for cell in line.strip("| ").split(" | ")]
                for line in texts["predictions"].splitlines()[2:]
            ]
            seen.files = {tag.removeprefix("files/") for tag in texts if tag.startswith("files/")}
            continue
        for tag in run.Tags()["scalars"]:
            for one in run.Scalars(tag):
                seen.curves.setdefault(name, {}).setdefault(tag, {}).setdefault(one.step, []).append(one.value)
        seen.plans[name] = read_plan(run)
    seen.bytes_kept = b"".join(path.read_bytes() for path in folder.rglob("*tfevents*"))
    return seen


def read_plan(run: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data

    content = run.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    plan = parse_session_start_info_plugin_data(content).hparams
    return {name: value.string_value or value.number_value for name, value in plan.items()}


READERS: dict[str, Callable[[Path, Began], Seen]] = {
    "wandb": read_wandb,
    "mlflow": read_mlflow,
    "trackio": read_trackio,
    "tensorboard": read_tensorboard,
}


def settings(name: str, folder: Path) -> dict[str, str]:
    return {
        "wandb": {"WANDB_MODE": "offline", "WANDB_DIR": str(folder)},
        "mlflow": {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'runs.db'}"},
        "trackio": {"TRACKIO_DIR": str(folder / "trackio")},
        "tensorboard": {},
    }[name]


@dataclass
class Told:
    name: str
    began: Began
    folder: Path
    said: list[str]
    seen: Seen


@pytest.fixture(scope="class", params=READERS)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A run that was killed, went on, and was told to its end."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    (folder / "train.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "adapter").mkdir()
    (folder / "adapter" / "weights.bin").write_bytes(b"weights")
    began = Began(
        run="orders-1", key="ab12cd34", created=time.time(), folder=folder, config={"seed": 0, "rank": (4, 8)}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.chdir(folder)
        for variable, value in settings(name, folder).items():
            patch.setenv(variable, value)
        said = tell(name, began, first_half())
        said += tell(name, began, second_half(folder))
        return Told(name=name, began=began, folder=folder, said=said, seen=READERS[name](folder, began))


class TestEveryTracker:
    def test_it_says_where_to_look_and_nothing_else(self, told: Told) -> None:
        assert len(told.said) == 2 and all("orders-1" in text or told.name in text.lower() for text in told.said)

    def test_every_value_is_at_its_step_once_though_a_killed_run_told_some_twice(self, told: Told) -> None:
        for trial in TRIALS:
            curves = told.seen.curves[trial]
            assert sorted(curves["train/loss"]) == list(STEPS)
            assert sorted(curves["valid/loss"]) == [10, 20, 30, 40]
            for step in STEPS:
                assert curves["train/loss"][step] == pytest.approx([loss(trial, step)], rel=1e-6)

    def test_a_trial_is_one_run_with_its_plan(self, told: Told) -> None:
        assert set(told.seen.curves) == set(TRIALS)
        for place, trial in enumerate(TRIALS, start=1):
            plan = told.seen.plans[trial]
            assert plan["base"] == "pocket" and plan["rank"] == 8
            assert plan["learning_rate"] == pytest.approx(0.001 * place)

    def test_the_predictions_are_a_table(self, told: Told) -> None:
        (first, second) = told.seen.tables["predictions"]
        assert " ".join(first[0].split()) == "What | is it?" and first[1] == "a pipe"
        assert second == ["Say", "é"]

    def test_data_and_adapter_are_kept(self, told: Told) -> None:
        assert {"train", "adapter"} <= told.seen.files

    def test_verdict_and_numbers_are_there(self, told: Told) -> None:
        assert VERDICT in told.seen.said
        assert told.seen.numbers["test/tuned/loss"] == 1.5 and told.seen.numbers["usd"] == 0.25

    def test_no_key_is_kept(self, told: Told) -> None:
        assert told.seen.bytes_kept and KEY.encode() not in told.seen.bytes_kept

    def test_one_that_is_told_again_when_it_is_over_shows_the_same(self, told: Told) -> None:
        if told.name == "wandb":
            pytest.skip("what W&B holds is known to its service alone; offline each process has a folder of its own")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(told.folder)
            for variable, value in settings(told.name, told.folder).items():
                patch.setenv(variable, value)
            tell(told.name, told.began, second_half(told.folder))
        seen = READERS[told.name](told.folder, told.began)
        assert seen.curves == told.seen.curves and seen.plans == told.seen.plans
