"""A corpus of a few invented pages."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
import torch

from pretraining import model, tokenizer, tokens
from pretraining.corpus import read_books

# Two threads that wait for a busy core are many times slower than one.
torch.set_num_threads(1)

SENTENCES = (
    "The old lamp keeper wrote a letter about the rain.",
    '"Have you seen the boats?" asked Martha, and she laughed.',
    "In the quiet harbour town three dogs slept under the bridge at night.",
    "The wind was cold, said old Thomas.",
    "Their ship left for the northern islands with seven horses!",
    "She paid two shillings for a small clock and a loaf of bread.",
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Twenty short books; the one at held-out line 17 among them."""
    path = tmp_path / "books.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8") as opened:
        for number in range(20):
            paragraphs = [" ".join(SENTENCES[(n * (number + 1) + k) % 6] for k in range(4)) for n in range(24)]
            text = "\r\n\r\n".join(["CHAPTER I", *paragraphs])
            row = {"title": f"Book {number}", "author": "Ada Nobody", "year": 1900 + number, "text": text}
            opened.write(json.dumps(row) + "\n")
    return path


@pytest.fixture
def work(corpus: Path, tmp_path: Path) -> Path:
    """A folder to train in, with a tokenizer of its own."""
    folder = tmp_path / "work"
    folder.mkdir()
    tokenizer.train_tokenizer(read_books(corpus)).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tokenizer, model):
        monkeypatch.setattr(module, "VOCABULARY_SIZE", 400)
    monkeypatch.setattr(tokens, "EXERCISE_GROUPS", 40)
    monkeypatch.setattr(tokens, "GROUPS_APART", 60)
