"""Train the built-in base: `python -m pretraining.train --corpus classic_prose.jsonl.xz --work build/pocket`.

Killed at any time, the same command goes on from the last checkpoint. The weights written to `--out`
are those of the newest checkpoint, as bf16 safetensors with a Hugging Face config.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from fewtune.data.encode import BEGIN_TOKEN, END_TOKEN, PAD_TOKEN, SPECIAL_TOKENS
from pretraining import tokenizer as tokenizers_of
from pretraining.corpus import is_held_out, passages, read_books, with_curly_quotes
from pretraining.optimizer import optimizers

CONTEXT = 1024
LONG_SHARE = 0.15
"""The last part of training reads whole contexts; before it, windows of half the length cost less attention."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    steps: int
    tokens_per_step: int = 4096
    warm_up: int = 100
    decay_share: float = 0.4
    """Share of the steps, at the end, over which the rate falls linearly to zero."""
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_heads: int = 2
    inner: int = 768
    seed: int = 0


def config(recipe: Recipe) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=tokenizers_of.VOCABULARY_SIZE,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL_TOKENS.index(BEGIN_TOKEN),
        eos_token_id=SPECIAL_TOKENS.index(END_TOKEN),
        pad_token_id=SPECIAL_TOKENS.index(PAD_TOKEN),
        rope_theta=10000.0,
    )


def prepare(corpus: Path, work: Path, seed: int) -> tuple[Tokenizer, np.ndarray]:
    """Train the tokenizer and write all training tokens to one file, unless both are there already."""
    work.mkdir(parents=True, exist_ok=True)
    tokens_path = work / "tokens.npy"
    if not (work / "tokenizer.json").exists():
        tokenizers_of.train_tokenizer(read_books(corpus), seed).save(str(work / "tokenizer.json"))
    tokenizer = tokenizers_of.load(work)
    if not tokens_path.exists():
        _write_tokens(corpus, tokens_path, tokenizer, seed)
    return tokenizer, np.load(tokens_path, mmap_mode="r")


def _write_tokens(corpus: Path, path: Path, tokenizer: Tokenizer, seed: int) -> None:
    rng = random.Random(seed)
    end = SPECIAL_TOKENS.index(END_TOKEN)
    pieces: list[np.ndarray] = []
    for book in read_books(corpus):
        if is_held_out(book):
            continue
        texts = [with_curly_quotes(text, rng) for text in passages(book)]
        for encoding in tokenizer.encode_batch(texts):
            pieces.append(np.array([*encoding.ids, end], dtype=np.uint16))
    rng.shuffle(pieces)
    temporary = path.with_suffix(".partial.npy")
    np.save(temporary, np.concatenate(pieces))
    os.replace(temporary, path)


def batch(tokens: np.ndarray, step: int, recipe: Recipe) -> torch.Tensor:
    """Token ids (B, T + 1) of one step: consecutive windows of the shuffled passages, so no token is read twice."""
    length = CONTEXT if step >= recipe.steps * (1 - LONG_SHARE) else CONTEXT // 2
    rows = recipe.tokens_per_step // length
    start = step * recipe.tokens_per_step % (len(tokens) - recipe.tokens_per_step - 1)
    window = tokens[start : start + recipe.tokens_per_step + 1].astype(np.int64)
    return torch.from_numpy(np.stack([window[r * length : (r + 1) * length + 1] for r in range(rows)]))


def rate(step: int, recipe: Recipe) -> float:
    """Share of the peak rate: linear warm-up, stable, linear decay to zero."""
    decay = recipe.steps * recipe.decay_share
    return min((step + 1) / recipe.warm_up, 1.0, (recipe.steps - step) / decay)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids[:, :-1]).logits  # (B, T, V)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def train(
    recipe: Recipe, corpus: Path, work: Path, *, minutes_per_checkpoint: float = 3.0, compiled: bool = True
) -> LlamaForCausalLM:
    """Train to the recipe's last step, from the newest checkpoint where there is one."""
    _, tokens = prepare(corpus, work, recipe.seed)
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(config(recipe))
    made = optimizers(model)
    step, seconds = _resume(work, model, made)
    forward = torch.compile(model) if compiled else model
    started, saved, window_loss = time.monotonic(), time.monotonic(), []
    first = step
    for step in range(first, recipe.steps):
        share = rate(step, recipe)
        for optimizer in made:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
        loss = loss_of(forward, batch(tokens, step, recipe))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in made:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        window_loss.append(loss.item())
        if (step + 1) % 20 == 0:
            elapsed = time.monotonic() - started
            _log(work, recipe, step + 1, window_loss, elapsed, (step + 1 - first) * recipe.tokens_per_step)
            window_loss = []
        if time.monotonic() - saved > 60 * minutes_per_checkpoint or step + 1 == recipe.steps:
            _save(work, model, made, step + 1, seconds + time.monotonic() - started)
            saved = time.monotonic()
    return model


def _log(work: Path, recipe: Recipe, step: int, losses: list[float], elapsed: float, tokens: int) -> None:
    mean = math.fsum(losses) / len(losses)
    line = {"step": step, "of": recipe.steps, "loss": round(mean, 4), "tokens_per_second": round(tokens / elapsed)}
    with (work / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def _save(work: Path, model: LlamaForCausalLM, made: list[torch.optim.Optimizer], step: int, seconds: float) -> None:
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    for index, optimizer in enumerate(made):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, parameter in enumerate(parameters):
            for name, value in optimizer.state[parameter].items():
                tensors[f"optimizer.{index}.{number}.{name}"] = value.reshape(-1) if value.ndim == 0 else value
    save_file(
        {name: t.contiguous() for name, t in tensors.items()},
        work / "checkpoint.partial",
        metadata={"step": str(step), "seconds": str(seconds)},
    )
    os.replace(work / "checkpoint.partial", work / "checkpoint.safetensors")


def _resume(work: Path, model: LlamaForCausalLM, made: list[torch.optim.Optimizer]) -> tuple[int, float]:
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0.0
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[f"model.{name}"])
    for index, optimizer in enumerate(made):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, parameter in enumerate(parameters):
            prefix = f"optimizer.{index}.{number}."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            optimizer.state[parameter] = {n: t.reshape(()) if n == "step" else t for n, t in state.items()}
    return int(metadata["step"]), float(metadata["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps)
    (arguments.work).mkdir(parents=True, exist_ok=True)
    (arguments.work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2))
    train(recipe, arguments.corpus, arguments.work, compiled=not arguments.eager)


if __name__ == "__main__":
    main()
