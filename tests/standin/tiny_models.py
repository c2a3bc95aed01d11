"""Random models of several families, small enough to be trained in milliseconds, saved as a hub would serve them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTEXT = 128
WIDTH = 32
BEGIN, END, PAD = 0, 1, 2

_SENTENCES = (
    "Capital of France? -> It is Paris.",
    "Capital of Norway? -> It is Oslo.",
    "The capital of Egypt is Cairo, and that of Kenya is Nairobi.",
)

_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": BEGIN,
    "eos_token_id": END,
    "pad_token_id": PAD,
    # Wide enough that no two tokens are as good as equally likely.
    "initializer_range": 0.2,
}
GROUPED = {**_SIZES, "num_key_value_heads": 2}
_STRETCHED = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}

FAMILIES: dict[str, Callable[[int], Any]] = {
    "llama": lambda size: transformers.LlamaConfig(vocab_size=size, **GROUPED),
    # A window shorter than most rows, so that it matters.
    "mistral": lambda size: transformers.MistralConfig(vocab_size=size, sliding_window=8, **GROUPED),
    "qwen2": lambda size: transformers.Qwen2Config(vocab_size=size, tie_word_embeddings=True, **GROUPED),
    "qwen3": lambda size: transformers.Qwen3Config(vocab_size=size, head_dim=16, **GROUPED),
    "gpt2": lambda size: transformers.GPT2Config(
        vocab_size=size,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=CONTEXT,
        bos_token_id=BEGIN,
        eos_token_id=END,
        initializer_range=0.2,
    ),
    "gpt_neox": lambda size: transformers.GPTNeoXConfig(vocab_size=size, **_SIZES),
    # The head is the embedding, and the heads together are wider than the model.
    "smollm": lambda size: transformers.LlamaConfig(
        vocab_size=size, tie_word_embeddings=True, **{**GROUPED, "hidden_size": 48, "head_dim": 16}
    ),
    # A Llama of which only transformers knows the positions.
    "stretched llama": lambda size: transformers.LlamaConfig(vocab_size=size, rope_parameters=_STRETCHED, **GROUPED),
    "phi": lambda size: transformers.PhiConfig(vocab_size=size, **_SIZES),
    "phi3": lambda size: transformers.Phi3Config(
        vocab_size=size, original_max_position_embeddings=CONTEXT, sliding_window=8, **GROUPED
    ),
    "gemma": lambda size: transformers.GemmaConfig(vocab_size=size, head_dim=8, **GROUPED),
    "gemma3": lambda size: transformers.Gemma3TextConfig(
        vocab_size=size,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
        **GROUPED,
    ),
    "opt": lambda size: transformers.OPTConfig(
        vocab_size=size,
        hidden_size=WIDTH,
        word_embed_proj_dim=WIDTH,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
        init_std=0.2,
    ),
}

# More experts than blocks.
_EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
MIXTURES: dict[str, Callable[[int], Any]] = {
    "mixtral": lambda size: transformers.MixtralConfig(
        vocab_size=size, num_local_experts=5, num_experts_per_tok=2, **GROUPED
    ),
    "qwen2_moe": lambda size: transformers.Qwen2MoeConfig(
        vocab_size=size, shared_expert_intermediate_size=24, **_EXPERTS, **GROUPED
    ),
    "qwen3_moe": lambda size: transformers.Qwen3MoeConfig(vocab_size=size, head_dim=8, **_EXPERTS, **GROUPED),
}


def save_model(folder: Path, config: Callable[[int], Any], seed: int = 0) -> Path:
    """A model of that kind with random weights, as safetensors, beside its config and tokenizer."""
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config(tokenizer.get_vocab_size()))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                # Biases of zero and norms of one would hide what is left out.
                parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.1, generator=generator))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def make_tokenizer() -> Tokenizer:
    """Bytes and a few merges; a text begins with the begin token, as Llama's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|begin|>", "<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", BEGIN)]
    )
    return tokenizer


def make_sentencepiece() -> Tokenizer:
    """As Llama 2's: a space is a character of its own, unknown characters are bytes, the first space is cut off."""
    words = ["<|begin|>", "<|end|>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdeé", "▁a", "▁b", "▁▁"]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={word: number for number, word in enumerate(words)},
            merges=[("▁", "a"), ("▁", "b"), ("▁", "▁")],
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    return tokenizer
