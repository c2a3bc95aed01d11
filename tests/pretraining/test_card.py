"""The card says what the records say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from fewtune.bases.folder import locate
from pretraining.card import SAMPLE_PROMPTS, samples

ROOT = Path(__file__).parents[2]
FOLDERS = {"pocket": locate("pocket"), "satchel": ROOT / "bases" / "satchel"}


@pytest.fixture(scope="module", params=list(FOLDERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def records(name: str) -> Path:
    return ROOT / "pretraining" / name


@pytest.fixture(scope="module")
def card(name: str) -> str:
    return (FOLDERS[name] / "README.md").read_text(encoding="utf-8")


def test_the_weights_that_come_with_the_card_are_those_it_speaks_of(card: str, name: str) -> None:
    digest = hashlib.sha256((FOLDERS[name] / "model.safetensors").read_bytes()).hexdigest()
    assert f"`{digest}`" in card


def test_every_held_out_book_stands_in_the_card(card: str, records: Path) -> None:
    measured = json.loads((records / "measured.json").read_text())
    assert len(measured) == 8
    for book in measured:
        assert f"| {book['title']} | {book['author']} | {book['bits_per_byte']:.3f} |" in card


def test_each_look_along_the_training_and_what_came_out_stand_in_the_card(card: str, records: Path) -> None:
    measured = json.loads((records / "measured.json").read_text())
    found = [sum(book["bits_per_byte"] for book in measured) / len(measured)]
    for run in json.loads((records / "run.json").read_text())["runs"]:
        log = [json.loads(line) for line in (records / run["log"]).read_text().splitlines()]
        assert log[-1]["step"] == max(line["of"] for line in log if "of" in line), "the run was not cut short"
        found += [line["bits_per_byte"] for line in log if "bits_per_byte" in line]
    assert len(found) > 5
    for bits in found:
        assert f"| {bits:.3f} |" in card


def test_what_the_base_is_worth_stands_in_the_card(card: str, records: Path) -> None:
    worth = json.loads((records / "worth.json").read_text())
    for name, measures in worth.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        for measure, folds in measures.items():
            mean = sum(folds) / len(folds)
            assert (f"{mean:.3f}" if "loss" in measure else f"{100 * mean:.1f} %") in row


def test_each_sample_begins_with_its_prompt_and_goes_on(name: str) -> None:
    found = list(samples(FOLDERS[name]))
    assert [prompt for prompt, _ in found] == list(SAMPLE_PROMPTS)
    for prompt, text in found:
        assert text.startswith(prompt)
        assert len(text) > len(prompt) + 100
