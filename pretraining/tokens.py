"""The corpus as token ids: all prose in one stream, all exercises in another."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from fewtune.data.encode import BEGIN_TOKEN, END_TOKEN, SPECIAL_TOKENS
from pretraining.corpus import Book, is_held_out, passages, read_books, with_curly_quotes
from pretraining.exercises import Piece, groups, pages
from pretraining.tokenizer import load

Ids = NDArray[np.uint16]

UNTRAINED = 1 << 15
"""Set on the id of a token that is read but not learnt: those of an exercise's prompt."""
SHORT = 1 << 14
"""Set on the tokens of a short answer: a label, a word."""
EXERCISE_GROUPS = 400
"""Groups of exercises made of each book."""
GROUPS_APART = 1000
"""The same, where they stand apart."""
_LENGTHS_APART = (200, 400, 800, 4000)
"""Of the passages of prose there, in characters; each draws one."""
_FEW = 8
"""The most tokens of a short answer."""

BEGIN, END = SPECIAL_TOKENS.index(BEGIN_TOKEN), SPECIAL_TOKENS.index(END_TOKEN)


@dataclass(frozen=True, kw_only=True)
class Streams:
    prose: Ids
    exercises: Ids


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """What decides the streams, besides the corpus."""

    seed: int
    written_share: float = 0.0
    """Share of the groups of exercises that are on written texts of today."""
    apart: bool = False
    """Whether exercises stand apart. Passages of prose are mostly shorter then, since not all that begins is an
    exercise, and there are more groups."""


def prepare(corpus: Path, work: Path, mixture: Mixture) -> Streams:
    """Write both streams to `work`, unless they are there. Raises OSError or ValueError for an unreadable corpus."""
    paths = work / "prose.npy", work / "exercises.npy"
    if not all(path.exists() for path in paths):
        for path, ids in zip(paths, _streams(corpus, work, mixture), strict=True):
            temporary = path.with_suffix(".partial.npy")
            np.save(temporary, ids)
            os.replace(temporary, path)
    prose, exercises = (np.load(path, mmap_mode="r") for path in paths)
    return Streams(prose=prose, exercises=exercises)


def _streams(corpus: Path, work: Path, mixture: Mixture) -> tuple[Ids, Ids]:
    """Passages and groups of all training books, each shuffled among themselves."""
    prose: list[Ids] = []
    exercises: list[Ids] = []
    books = (book for book in read_books(corpus) if not is_held_out(book))
    with ProcessPoolExecutor(initializer=_open, initargs=(work, mixture)) as pool:
        for passages_of, groups_of in pool.map(_book_ids, books, chunksize=4):
            prose += passages_of
            exercises += groups_of
    if not prose:
        raise ValueError(f"{corpus} has no books to train on.")
    rng = random.Random(mixture.seed)
    for pieces in (prose, exercises):
        rng.shuffle(pieces)
    return np.concatenate(prose), np.concatenate(exercises)


_tokenizer: Tokenizer
_mixture: Mixture


def _open(work: Path, mixture: Mixture) -> None:
    """In a child: its own tokenizer."""
    global _tokenizer, _mixture
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer, _mixture = load(work), mixture


def _book_ids(book: Book) -> tuple[list[Ids], list[Ids]]:
    rng = random.Random(f"{_mixture.seed} {book.line}")
    texts = [with_curly_quotes(text, rng) for text in passages(book, _lengths(book) if _mixture.apart else None)]
    prose = [np.array([*encoding.ids, END], dtype=np.uint16) for encoding in _tokenizer.encode_batch(texts)]
    return prose, list(_group_ids(book, rng))


def _lengths(book: Book) -> Iterator[int]:
    rng = random.Random(f"lengths {_mixture.seed} {book.line}")
    while True:
        yield rng.choice(_LENGTHS_APART)


def _group_ids(book: Book, rng: random.Random) -> Iterator[Ids]:
    found = pages(book)
    if not found:
        return
    count = GROUPS_APART if _mixture.apart else EXERCISE_GROUPS
    for group in groups(found, count, rng, _mixture.written_share):
        ids = [BEGIN | UNTRAINED]
        for piece in group:
            encoded = _tokenizer.encode(piece.text, add_special_tokens=False).ids
            ids += [token | _mark(piece, len(encoded)) for token in encoded]
        yield np.array([*ids, END], dtype=np.uint16)


def _mark(piece: Piece, tokens: int) -> int:
    if not piece.trained:
        return UNTRAINED
    return SHORT if piece.answer and tokens <= _FEW else 0


def windows(stream: torch.Tensor, first: int, count: int, length: int, seed: int) -> torch.Tensor:
    """Windows (count, length + 1) number `first` and on, of all epochs on end; each epoch cuts and orders anew."""
    in_epoch = (len(stream) - length - 1) // length
    starts = [
        _starts(number // in_epoch, in_epoch, length, seed)[number % in_epoch] for number in range(first, first + count)
    ]
    first_of = torch.tensor(starts, dtype=torch.long, device=stream.device)
    places = first_of[:, None] + torch.arange(length + 1, device=stream.device)
    return stream[places].long()


@lru_cache(maxsize=4)
def _starts(epoch: int, count: int, length: int, seed: int) -> list[int]:
    rng = np.random.default_rng((seed, epoch))
    shift = int(rng.integers(length))
    return (rng.permutation(count) * length + shift).tolist()
