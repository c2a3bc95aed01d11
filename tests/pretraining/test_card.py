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


def test_the_log_ends_where_the_card_does(card: str, records: Path) -> None:
    last_run = json.loads((records / "run.json").read_text())["runs"][-1]
    log = [json.loads(line) for line in (records / last_run["log"]).read_text().splitlines()]
    last = [line for line in log if "bits_per_byte" in line][-1]
    assert last["step"] == max(line["step"] for line in log)
    assert f"| {last['bits_per_byte']:.3f} |" in card


def test_what_the_base_is_worth_stands_in_the_card(card: str, records: Path) -> None:
    worth = json.loads((records / "worth.json").read_text())
    for name, measures in worth.items():
        row = next(line for line in card.splitlines() if line.startswith(f"| {name} |"))
        for measure, folds in measures.items():
            mean = sum(folds) / len(folds)
            assert (f"{mean:.3f}" if "loss" in measure else f"{100 * mean:.1f} %") in row


def test_each_sample_begins_with_its_prompt_and_goes_on() -> None:
    found = list(samples(locate("pocket")))
    assert [prompt for prompt, _ in found] == list(SAMPLE_PROMPTS)
    assert all(text.startswith(prompt) and len(text) > len(prompt) + 100 for prompt, text in found)
