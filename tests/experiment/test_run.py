"""The main job, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fewtune
from fewtune.errors import BudgetError, DataError, InterruptedByUser, OccupiedError, UsageError
from fewtune.experiment.progress import Note, Progress, Training
from standin.tiny_models import MIXTURES, save_model

SMALL = {"epochs": (1, 2), "batch_size": 8, "learning_rate": 3e-3}


def test_the_main_job_tunes_the_built_in_base_without_opening_a_socket(few_rows: Path, shut_sockets: list[str]) -> None:
    run = fewtune.run(few_rows, **SMALL)
    assert run.report_path.exists()
    assert run.best.valid_loss is not None
    assert run.summary.data.rows_read == run.summary.data.rows_kept + sum(run.summary.data.dropped.values())
    assert {system.name for system in run.summary.systems} == {
        "base",
        "few-shot",
        "few-shot-nearest",
        "nearest-answer",
        "tuned",
    }
    assert shut_sockets == []


def test_tuning_lowers_the_loss_of_rows_that_were_not_trained_on(examples_folder: Path) -> None:
    run = fewtune.run(examples_folder / "episodes.csv", **{**SMALL, "epochs": 1, "batch_size": 4})
    losses = {one.name: one.metrics["loss"].value for one in run.summary.systems if "loss" in one.metrics}
    assert losses["tuned"] < losses["base"] - 0.3


def test_the_tuned_model_answers_and_streams_the_same_text(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **SMALL)
    pieces = list(run.stream("Two rye loaves for Friday, please.", max_tokens=20))
    assert "".join(pieces) == run.generate("Two rye loaves for Friday, please.", max_tokens=20)
    assert run.generate("Two rye loaves", max_tokens=5, tuned=False) != ""


def test_the_kept_adapter_is_the_one_of_the_chosen_plan(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **SMALL, refit=False)
    kept = (Path(run.summary.files["adapter"]) / "adapter_model.safetensors").read_bytes()
    trunk = Path(run.summary.files["adapter"]).parent / "trials" / run.best.trunk
    steps = {folder.name: folder for folder in trunk.glob("step-*")}
    stored = [(folder / "adapter_model.safetensors").read_bytes() for folder in steps.values()]
    assert stored.count(kept) == 1


def test_who_tunes_a_mixture_of_experts_is_told_that_only_its_attention_is_adapted(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,completion\n" + "".join(f"n {n},{n * n}\n" for n in range(40)), encoding="utf-8")
    base = str(save_model(tmp_path / "base", MIXTURES["mixtral"]))
    seen: list[Progress] = []
    fewtune.train(rows, epochs=1, base=base, watch=seen.append)
    notes = [event.text for event in seen if isinstance(event, Note)]
    assert notes == [f"{base} is a mixture of experts: adapters are on its attention only."]


def test_the_same_command_shows_a_finished_run_again_without_training(few_rows: Path) -> None:
    first = fewtune.run(few_rows, **SMALL, provider="fake")
    seen: list[Progress] = []
    again = fewtune.run(few_rows, **SMALL, provider="fake", watch=seen.append)
    assert again.summary == first.summary
    assert not [event for event in seen if isinstance(event, Training)]


def test_a_stopped_run_resumes_to_the_same_adapter_as_one_that_was_not_stopped(few_rows: Path, tmp_path: Path) -> None:
    whole = fewtune.run(few_rows, **SMALL, out=tmp_path / "whole")

    steps = 0

    def stop(event: Progress) -> None:
        nonlocal steps
        steps += isinstance(event, Training)
        if steps == 4:
            raise InterruptedByUser("Stopped.")

    with pytest.raises(InterruptedByUser):
        fewtune.run(few_rows, **SMALL, out=tmp_path / "stopped", watch=stop)
    record = fewtune.find_run(str(tmp_path / "stopped"))
    assert record.state == "stopped"
    resumed = fewtune.resume(record.folder)
    assert _adapter(resumed) == _adapter(whole)
    assert resumed.best.valid_loss == whole.best.valid_loss


def _adapter(run: fewtune.Run) -> bytes:
    return (Path(run.summary.files["adapter"]) / "adapter_model.safetensors").read_bytes()


def test_data_that_changed_between_stop_and_resume_is_refused(few_rows: Path, tmp_path: Path) -> None:
    def stop(event: Progress) -> None:
        if isinstance(event, Training):
            raise InterruptedByUser("Stopped.")

    out = tmp_path / "out"
    with pytest.raises(InterruptedByUser):
        fewtune.run(few_rows, **SMALL, out=out, watch=stop)
    few_rows.write_text(few_rows.read_text(encoding="utf-8").replace("please", "pretty please"), encoding="utf-8")
    with pytest.raises(DataError, match="changed since"):
        fewtune.run(few_rows, **SMALL, out=out)
    with pytest.raises(DataError, match="changed since"):
        fewtune.resume(str(out))


def test_a_folder_that_holds_something_else_is_left_alone(few_rows: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OccupiedError, match=r"letter\.txt"):
        fewtune.run(few_rows, **SMALL, provider="fake", out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_a_budget_that_is_too_small_stops_before_anything_is_written(few_rows: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="budget") as refused:
        fewtune.run(few_rows, **SMALL, budget_minutes=1e-6, out=tmp_path / "out")
    assert refused.value.exit_code == 6
    assert "--budget-minutes" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_hosted_service_is_never_paid_without_a_budget(few_rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    with pytest.raises(BudgetError, match="no budget was given"):
        fewtune.run(few_rows, **{**SMALL, "learning_rate": 1}, provider="openai", base="gpt-4o-mini")


def test_findings_are_repaired_without_asking_and_listed(examples_folder: Path) -> None:
    run = fewtune.run(examples_folder / "tickets.csv", **SMALL, provider="fake")
    codes = {finding.code for finding in run.summary.data.findings}
    assert {"duplicate_row", "empty_completion", "label_variant", "placeholder_completion"} <= codes
    changes = [json.loads(line) for line in Path(run.summary.files["repairs"]).read_text().splitlines()]
    assert len([change for change in changes if change["after"] is None]) == sum(run.summary.data.dropped.values())


def test_a_row_longer_than_the_context_is_dropped_and_counted(few_rows: Path) -> None:
    with few_rows.open("a", encoding="utf-8") as opened:
        opened.write('"' + "word " * 3000 + '","{""item"": ""rye""}"\n')
    prepared = fewtune.prepare(few_rows)
    assert prepared.repaired.dropped["too_long"] == 1


def test_an_unknown_finding_cannot_be_refused(few_rows: Path) -> None:
    with pytest.raises(UsageError, match="no finding"):
        fewtune.prepare(few_rows, no_repair=["nonsense"])


def test_the_sweep_reads_every_plan_of_the_grid_off_its_trunk(few_rows: Path) -> None:
    grid = {"epochs": "1,2,4", "batch_size": "2,8", "learning_rate": "1e-3,3e-3"}
    swept = fewtune.sweep(few_rows, provider="fake", **grid, halving=False)
    plans = {(t.plan["epochs"], t.plan["batch_size"], t.plan["learning_rate"]) for t in swept.summary.trials}
    assert len(plans) == 12
    assert len({trial.trunk for trial in swept.summary.trials}) == 4
    assert all(trial.valid_loss is not None for trial in swept.summary.trials)
    best = min(swept.summary.trials, key=lambda trial: trial.valid_loss or float("inf"))
    assert swept.best.valid_loss == best.valid_loss


def test_train_makes_one_plan_with_a_cooldown(few_rows: Path) -> None:
    trained = fewtune.train(few_rows, provider="fake", epochs=2, learning_rate=1e-3)
    assert len(trained.summary.trials) == 1
    assert trained.best.plan["cooldown"] == 0.1


def test_the_command_in_the_report_makes_the_same_run_again(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **SMALL, provider="fake", seed=3)
    assert run.summary.command.startswith("fewtune run ")
    for word in ("--provider fake", "--seed 3", "--epochs 1,2", "--batch-size 8", "--learning-rate 0.003"):
        assert word in run.summary.command


def test_the_estimate_covers_this_machine_and_six_services_each_with_its_source(few_rows: Path) -> None:
    found = fewtune.estimate(few_rows)
    assert found.here is not None
    hosted = [offer for offer in found.offers if offer.date is not None]
    assert len({offer.service for offer in hosted}) >= 6
    assert all(offer.source for offer in hosted)


@pytest.mark.slow
def test_the_doctor_who_data_works_as_it_comes(doctor_who: Path) -> None:
    run = fewtune.run(doctor_who)
    found = {finding.code: finding.count for finding in run.summary.data.findings}
    assert found["placeholder_completion"] == 6
