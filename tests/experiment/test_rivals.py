"""Who answers beside the tuned model, through the main job."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import BaseModelError, UsageError
from fewtune.evaluation import classifier
from fewtune.experiment import rivals, sentence_encoder
from fewtune.experiment.progress import Note, Progress, Training
from standin.tiny_encoder import save_encoder

FAKE = {"provider": "fake", "epochs": 2, "learning_rate": 1e-3}


@pytest.fixture
def tickets(tmp_path: Path, examples_folder: Path) -> Path:
    """The first 120 tickets as a file of their own."""
    with (examples_folder / "tickets.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.reader(opened))[:121]
    return write(tmp_path / "tickets.csv", rows)


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return path


def part(run: fewtune.Run, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(run.summary.files[name]).read_text(encoding="utf-8").splitlines()]


def names(run: fewtune.Run) -> list[str]:
    return [system.name for system in run.summary.systems]


def notes(seen: list[Progress]) -> list[str]:
    return [event.text for event in seen if isinstance(event, Note)]


def test_labels_are_answered_by_a_prompt_a_neighbour_a_majority_and_a_classifier_too(tickets: Path) -> None:
    run = fewtune.run(tickets, **FAKE)
    assert names(run) == ["base", "few-shot", "few-shot-nearest", "majority", "nearest-answer", "tf-idf", "tuned"]
    rows = {system.name: system.rows for system in run.summary.systems}
    assert len(set(rows.values())) == 1


def test_a_majority_is_no_rival_where_no_answer_occurs_twice(few_rows: Path) -> None:
    seen: list[Progress] = []
    run = fewtune.run(few_rows, **FAKE, watch=seen.append)
    assert names(run) == ["base", "few-shot", "few-shot-nearest", "nearest-answer", "tuned"]
    assert notes(seen) == []


def test_only_the_rivals_that_are_named_answer(tickets: Path) -> None:
    assert names(fewtune.run(tickets, **FAKE, rivals="base,tf-idf")) == ["base", "tf-idf", "tuned"]


def test_the_runner_up_is_another_plan_than_the_chosen_one(few_rows: Path) -> None:
    run = fewtune.run(few_rows, **{**FAKE, "epochs": (1, 2)}, rivals="all")
    assert names(run)[-2:] == ["runner-up", "tuned"]
    assert "runner-up" not in run.summary.verdict


def test_another_choice_of_rivals_trains_nothing_again_and_leaves_no_other_behind(tickets: Path) -> None:
    first = fewtune.run(tickets, **FAKE)
    seen: list[Progress] = []
    again = fewtune.run(tickets, **FAKE, rivals="nearest-answer", watch=seen.append)
    assert again.id == first.id
    assert not [event for event in seen if isinstance(event, Training)]
    assert names(again) == ["nearest-answer", "tuned"]
    assert all(set(line.answers) == {"nearest-answer", "tuned"} for line in again.summary.predictions)


def test_another_number_of_shots_is_answered_anew(tickets: Path) -> None:
    fewtune.run(tickets, **FAKE)
    run = fewtune.run(tickets, **FAKE, shots=0)
    assert "few-shot" not in names(run) and "few-shot-nearest" not in names(run)
    assert fewtune.run(tickets, **FAKE, shots=1).summary.settings["shots"] == 1


def test_where_there_is_no_second_plan_a_runner_up_that_was_named_is_missed_aloud(few_rows: Path) -> None:
    seen: list[Progress] = []
    run = fewtune.run(few_rows, **FAKE, rivals="base,runner-up", watch=seen.append)
    assert names(run) == ["base", "tuned"]
    assert any("no runner-up" in note for note in notes(seen))


@pytest.mark.parametrize("refit", [True, False])
def test_a_neighbour_is_sought_among_the_rows_that_the_kept_model_has_learnt(
    examples_folder: Path, refit: bool
) -> None:
    run = fewtune.run(examples_folder / "orders.csv", **FAKE, rivals="nearest-answer", refit=refit)
    train, valid = ({row["completion"] for row in part(run, name)} for name in ("train", "valid"))
    said = {line.answers["nearest-answer"] for line in run.summary.predictions}
    assert said <= train | valid
    assert bool(said - train) == refit


def test_every_answer_tells_what_is_known_of_it_and_those_that_write_draw_alike(tickets: Path) -> None:
    for line in fewtune.run(tickets, **FAKE).summary.predictions:
        wanted = [*rivals.chosen_rivals(None, "labels", bills=False), "tuned"]
        assert list(line.details) == list(line.answers) == wanted
        drawn = {one.seed for name, one in line.details.items() if name in rivals.WRITERS}
        assert len(drawn) == 1 and None not in drawn
        for name, one in line.details.items():
            assert one.samples == (line.answers[name],)
            assert {"exact_match", "constrained_accuracy"} <= set(one.metrics or {})
            assert name in rivals.WRITERS or (one.seed, one.tokens, one.seconds, one.stop_reason) == (None,) * 4


def test_an_unknown_rival_is_refused_with_the_names_that_there_are(tickets: Path) -> None:
    with pytest.raises(UsageError, match=r"no rival 'gpt'.*tf-idf"):
        fewtune.run(tickets, **FAKE, rivals="base,gpt")


@pytest.mark.parametrize("does", [fewtune.sweep, fewtune.train])
def test_who_answers_cannot_be_said_where_nobody_is_asked(does: Callable[..., fewtune.Run], tickets: Path) -> None:
    with pytest.raises(UsageError, match="--rivals"):
        does(tickets, provider="fake", learning_rate=1e-3, rivals="base")


def test_without_scikit_learn_its_rival_is_left_out_with_a_note(tickets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "find_spec", lambda _name: None)
    seen: list[Progress] = []
    run = fewtune.run(tickets, **FAKE, watch=seen.append)
    assert "tf-idf" not in names(run)
    assert any("pip install 'fewtune[rivals]'" in note for note in notes(seen))


def test_answers_that_are_all_alike_are_learnt_by_nobody_and_stop_nothing(tmp_path: Path) -> None:
    rows = [["prompt", "completion"], *([f"Is {number} a number, {number * 7}?", "yes"] for number in range(30))]
    seen: list[Progress] = []
    run = fewtune.run(write(tmp_path / "alike.csv", rows), **FAKE, watch=seen.append)
    assert "majority" in names(run) and "tf-idf" not in names(run)
    assert any("only one answer" in note for note in notes(seen))


def test_further_samples_are_asked_once_and_measure_nothing(few_rows: Path) -> None:
    given: dict[str, Any] = {"provider": "fake", "epochs": 1, "rivals": "base"}
    once = fewtune.run(few_rows, **given).summary
    again = fewtune.run(few_rows, **given, samples=3).summary
    assert again.id == once.id
    assert again.systems == once.systems
    for line, before in zip(again.predictions, once.predictions, strict=True):
        assert line.answers == before.answers
        assert {name: len(one.samples) for name, one in line.details.items()} == {"base": 3, "tuned": 3}
        assert all(one.samples[0] == line.answers[name] for name, one in line.details.items())
    assert fewtune.run(few_rows, **given, samples=3).summary == again


def test_less_than_one_sample_is_refused(few_rows: Path) -> None:
    with pytest.raises(UsageError, match="--samples is 0"):
        fewtune.run(few_rows, provider="fake", samples=0)


class TestSentenceEncoder:
    @pytest.fixture
    def encoder(self, tmp_path: Path, tickets: Path) -> str:
        pytest.importorskip("sentence_transformers", reason="sentence encoders need fewtune[encoder]")
        return str(save_encoder(tmp_path / "encoder", [tickets.read_text(encoding="utf-8")]))

    def test_one_that_is_named_is_a_rival_beside_the_others(self, tickets: Path, encoder: str) -> None:
        run = fewtune.run(tickets, **FAKE, rivals="majority,tf-idf", sentence_encoder=encoder)
        assert names(run) == ["majority", "tf-idf", "sentence-encoder", "tuned"]
        said = {line.answers["sentence-encoder"] for line in run.summary.predictions}
        assert len(said) > 1 and said <= {row["completion"].strip() for row in part(run, "train") + part(run, "valid")}
        assert run.summary.evaluation is not None
        assert run.summary.evaluation.labels["sentence-encoder"].calibration_error is not None
        assert "sentence-encoder" in {one.against for one in run.summary.differences}
        assert f"--sentence-encoder {encoder}" in run.summary.command

    def test_naming_one_afterwards_trains_nothing_again_and_leaving_it_out_forgets_it(
        self, tickets: Path, encoder: str
    ) -> None:
        first = fewtune.run(tickets, **FAKE, rivals="base")
        seen: list[Progress] = []
        again = fewtune.run(tickets, **FAKE, rivals="base", sentence_encoder=encoder, watch=seen.append)
        assert again.id == first.id and not [event for event in seen if isinstance(event, Training)]
        assert names(again) == ["base", "sentence-encoder", "tuned"]
        assert names(fewtune.run(tickets, **FAKE, rivals="base")) == ["base", "tuned"]

    def test_one_learns_no_texts_and_says_so(self, few_rows: Path, encoder: str) -> None:
        seen: list[Progress] = []
        run = fewtune.run(few_rows, **FAKE, rivals="base", sentence_encoder=encoder, watch=seen.append)
        assert names(run) == ["base", "tuned"]
        assert any("sentence-encoder was left out: it learns labels" in note for note in notes(seen))

    def test_one_whose_weights_are_damaged_is_left_out_and_what_is_trained_is_kept(
        self, tickets: Path, encoder: str
    ) -> None:
        (Path(encoder) / "model.safetensors").write_bytes(b"damaged")
        seen: list[Progress] = []
        run = fewtune.run(tickets, **FAKE, rivals="base", sentence_encoder=encoder, watch=seen.append)
        assert names(run) == ["base", "tuned"]
        assert any("sentence-encoder was left out: The sentence encoder could not" in note for note in notes(seen))

    def test_a_folder_that_is_none_stops_the_run_before_anything_is_trained(self, tickets: Path) -> None:
        seen: list[Progress] = []
        with pytest.raises(BaseModelError, match=r"No readable modules\.json"):
            fewtune.run(tickets, **FAKE, sentence_encoder=str(tickets.parent), watch=seen.append)
        assert not [event for event in seen if isinstance(event, Training)]

    def test_without_its_package_the_extra_is_named(self, tickets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sentence_encoder, "find_spec", lambda _name: None)
        with pytest.raises(UsageError, match=r"fewtune\[encoder\]"):
            fewtune.run(tickets, **FAKE, sentence_encoder="owner/encoder")

    @pytest.mark.parametrize("name", ["sentence-encoder", "reference"])
    def test_who_needs_a_model_is_not_named_as_a_rival_alone(self, tickets: Path, name: str) -> None:
        with pytest.raises(UsageError, match=f"Name its model with --{name}"):
            fewtune.run(tickets, **FAKE, rivals=f"base,{name}")
