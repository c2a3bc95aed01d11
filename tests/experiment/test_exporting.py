from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import fewtune
from fewtune.engine import export as exports
from fewtune.engine import merging
from fewtune.errors import FewtuneError, TrainingError, UsageError
from fewtune.experiment import run as runner
from fewtune.experiment.exporting import export
from fewtune.experiment.settings import RunSettings
from fewtune.report.summary import Summary
from fewtune.store.runs import Runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Summary, str]:
    """A run of forty orders on the built-in base, and the name of its model."""
    home = tmp_path_factory.mktemp("home")
    with (ROOT / "examples" / "orders.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))[:41]
    with (home / "few.csv").open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    settings = RunSettings(data=str(home / "few.csv"), epochs=(1,), learning_rates=(3e-3,), evaluate=False)
    done = runner.execute(settings, home=home)
    return done, Runs(home).checkpoints(done.id)[-1].model


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("peft", {"adapter_config.json", "adapter_model.safetensors"}),
        ("merged", {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}),
        ("gguf", {"model.gguf", "Modelfile"}),
    ],
)
def test_what_is_exported_answers_as_what_was_trained(
    kind: str, files: set[str], tuned: tuple[Summary, str], tmp_path: Path
) -> None:
    done = export(*tuned, kind, tmp_path / "out")
    assert files <= set(done.files) == {path.name for path in done.folder.iterdir()}
    assert done.rows == tuned[0].data.test_rows
    assert done.tokens > done.rows
    for drift in done.drifts:
        assert drift.mean <= drift.allowed
        # Rounding is far below what tuning did.
        assert drift.mean < done.effect / 50
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_merged_model_is_a_base_like_any_other(tuned: tuple[Summary, str], tmp_path: Path) -> None:
    done = export(*tuned, "merged", tmp_path / "out")
    prepared = fewtune.prepare(tuned[0].data.file, base=str(done.folder))
    assert prepared.encoder is not None


def base_alone(base: Path, adapter: Path, out: Path) -> None:
    shutil.copytree(base, out, dirs_exist_ok=True)


def twice_the_scale(base: Path, adapter: Path, out: Path) -> None:
    merged = merging.open_merged(base, adapter)
    wrong = replace(merged, adapter=replace(merged.adapter, scale=2 * merged.adapter.scale))
    for file, names in wrong.weights.files.items():
        merging.write_weights(out / file.name, {name: wrong.weights.shape(name) for name in names}, wrong.content)
    merging.copy_companions(base, out, with_index=True)


@pytest.mark.parametrize("fault", [base_alone, twice_the_scale])
def test_an_export_that_answers_otherwise_is_an_error_and_leaves_nothing(
    fault: object, tuned: tuple[Summary, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "merge", fault)
    with pytest.raises(TrainingError, match=r"nats a token away from .* are allowed\. Nothing was exported"):
        export(*tuned, "merged", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_damaged_adapter_is_not_exported(name: str, tuned: tuple[Summary, str], tmp_path: Path) -> None:
    summary, model = tuned
    copy = shutil.copytree(summary.files["adapter"], tmp_path / "adapter")
    (copy / name).write_bytes((copy / name).read_bytes()[:-1])
    damaged = replace(summary, files={**summary.files, "adapter": str(copy)})
    with pytest.raises(UsageError, match="damaged or gone"):
        export(damaged, model, "peft", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_held_out_rows_nothing_is_exported(tuned: tuple[Summary, str], tmp_path: Path) -> None:
    summary, model = tuned
    (tmp_path / "test.jsonl").touch()
    bare = replace(summary, files={**summary.files, "test": str(tmp_path / "test.jsonl")})
    with pytest.raises(UsageError, match="no held-out rows"):
        export(bare, model, "peft", tmp_path / "out")


def test_a_taken_folder_is_refused_and_left_as_it_is(tuned: tuple[Summary, str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        export(*tuned, "peft", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_run_that_was_trained_elsewhere_cannot_be_exported(few_rows: Path, tmp_path: Path) -> None:
    run = fewtune.run(few_rows, provider="fake")
    with pytest.raises(UsageError, match=r"not on this machine.*--provider fake"):
        run.export(tmp_path / "out")


def test_a_run_exports_its_chosen_model(few_rows: Path, tmp_path: Path) -> None:
    run = fewtune.train(few_rows, epochs=1, learning_rate=3e-3)
    done = run.export(tmp_path / "out", format="merged")
    assert (done.folder, done.format) == ((tmp_path / "out").resolve(), "merged")
    with pytest.raises(FewtuneError, match="no format 'onnx'"):
        run.export(tmp_path / "other", format="onnx")
