"""A random sentence encoder of two layers over whole words, saved as sentence-transformers would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

_PAD, _UNKNOWN = "[PAD]", "[UNK]"
_WIDTH = 64


def save_encoder(folder: Path, texts: Sequence[str]) -> Path:
    """Knows the words of these texts; random as it is, its vectors tell words apart."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]+", text.lower())})
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate((_PAD, _UNKNOWN, *words))}, _UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    inner = folder.with_name(folder.name + "-inner")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, unk_token=_UNKNOWN, model_max_length=64
    ).save_pretrained(inner)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=_WIDTH,
            max_position_embeddings=64,
            initializer_range=0.2,
        )
        transformers.BertModel(config).save_pretrained(inner)
    transformer = Transformer(str(inner))
    encoder = SentenceTransformer(modules=[transformer, Pooling(_WIDTH)], device="cpu")
    encoder.save(str(folder), create_model_card=False)
    return folder
