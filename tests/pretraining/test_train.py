"""The recipe of the built-in base, on a corpus of a few invented pages."""

from __future__ import annotations

import json
import lzma
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewtune.engine import base_model
from fewtune.engine.attention import PackedAttention
from pretraining import corpus as books
from pretraining import export, tokenizer
from pretraining.optimizer import orthogonalise
from pretraining.train import Recipe, rate, train

TINY = Recipe(steps=4, tokens_per_step=1024, warm_up=2, hidden=64, layers=1, heads=2, key_heads=1, inner=64)
WORDS = [
    "the",
    "old",
    "lamp",
    "keeper",
    "wrote",
    "a",
    "letter",
    "about",
    "rain,",
    "boats",
    "and",
    "a",
    "quiet",
    "harbour",
    "town",
    "at",
    "night",
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty short books; those at the held-out lines among them."""
    path = tmp_path / "books.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8") as opened:
        for number in range(20):
            words = [WORDS[(place * (number + 3)) % len(WORDS)] for place in range(900)]
            text = "\r\n\r\n".join(" ".join(words[begin : begin + 60]) for begin in range(0, 900, 60))
            row = {"title": f"Book {number}", "author": "Nobody", "year": 1900 + number, "text": text}
            opened.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(autouse=True)
def small_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "VOCABULARY_SIZE", 400)


def test_a_training_that_was_cut_ends_in_the_same_weights(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(TINY, corpus, tmp_path / "whole", compiled=False)

    def cut(step: int, recipe: Recipe) -> float:
        if step == 2:
            raise KeyboardInterrupt
        return rate(step, recipe)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("pretraining.train.rate", cut)
        train(TINY, corpus, tmp_path / "cut", minutes_per_checkpoint=0, compiled=False)
    resumed = train(TINY, corpus, tmp_path / "cut", compiled=False)
    assert _weights(resumed) == _weights(whole)


def _weights(model: torch.nn.Module) -> list[bytes]:
    return [parameter.detach().numpy().tobytes() for parameter in model.parameters()]


def test_an_exported_base_loads_and_scores_as_the_model_that_was_trained(corpus: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "base"
    train(TINY, corpus, work, compiled=False)
    (work / "recipe.json").write_text(json.dumps(TINY.__dict__))
    model, _ = export.open_model(work)
    export.write_base(model, work, out)
    base = base_model.load(str(out))
    ids = torch.tensor(base.encoder.prompt("the old lamp"))
    ours = base.logits(base.body.states(ids, torch.arange(len(ids)), PackedAttention([len(ids)])))
    assert torch.allclose(ours, model(input_ids=ids[None]).logits[0], atol=1e-5)


def test_bits_per_byte_of_an_untrained_model_are_those_of_guessing(corpus: Path, tmp_path: Path) -> None:
    train(replace(TINY, steps=1), corpus, tmp_path, compiled=False)
    (tmp_path / "recipe.json").write_text(json.dumps(TINY.__dict__))
    model, _ = export.open_model(tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    opened = tokenizer.load(tmp_path)
    book = next(books.read_books(corpus))
    tokens = len(opened.encode(book.text).ids) - 1
    guessing = tokens * math.log2(400) / len(book.text.encode())
    assert export.bits_per_byte(model, opened, book) == pytest.approx(guessing, rel=1e-4)


def test_held_out_books_are_left_out_and_line_ends_are_plain(corpus: Path) -> None:
    found = list(books.read_books(corpus))
    assert [book.line for book in found if books.is_held_out(book)] == [17]
    assert not [book for book in found if "\r" in book.text]


def test_the_rate_warms_up_stays_and_falls_to_almost_nothing() -> None:
    recipe = Recipe(steps=1000, warm_up=100, decay_share=0.4)
    assert rate(0, recipe) == pytest.approx(0.01)
    assert rate(300, recipe) == rate(599, recipe) == 1.0
    assert rate(999, recipe) == pytest.approx(1 / 400)


def test_orthogonalising_brings_every_singular_value_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(32, 64)))
    assert values.min() > 0.5
    assert values.max() < 1.3
