"""Train the byte-level BPE tokenizer of the built-in base. Frozen once weights exist."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from fewtune.data.encode import BEGIN_TOKEN, PLAIN_FRAME, SPECIAL_TOKENS
from pretraining.corpus import Book, is_held_out, passages, with_curly_quotes

VOCABULARY_SIZE = 4096


def train_tokenizer(books: Iterable[Book], seed: int = 0) -> Tokenizer:
    """Byte-level BPE over a sample of the training books and some framed examples made from their titles."""
    tokenizer = Tokenizer(models.BPE())
    # Single digits and the GPT-2 pattern: llama.cpp knows this pair as "smollm", so GGUF export works.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(books, seed), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_TOKEN} $A", special_tokens=[(BEGIN_TOKEN, SPECIAL_TOKENS.index(BEGIN_TOKEN))]
    )
    return tokenizer


def _sample(books: Iterable[Book], seed: int, share: float = 0.15) -> Iterator[str]:
    rng = random.Random(seed)
    for book in books:
        if is_held_out(book):
            continue
        for passage in passages(book):
            if rng.random() < share:
                yield with_curly_quotes(passage, rng)
        for _ in range(8):
            cards = [(book.title, _json_card(book, rng)), (book.author, book.title)]
            yield PLAIN_FRAME.few_shot_text(str(book.year), cards)


def _json_card(book: Book, rng: random.Random) -> str:
    """A small JSON object about the book, so that JSON's punctuation gets tokens of its own."""
    fields = {"title": book.title, "author": book.author, "year": book.year, "read": rng.random() < 0.5, "note": None}
    chosen = rng.sample(sorted(fields), k=rng.randint(2, 5))
    return json.dumps({name: fields[name] for name in chosen}, ensure_ascii=False)


def load(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))
