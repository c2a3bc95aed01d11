"""Write a trained checkpoint as a base: `python -m pretraining.export --work build/pocket --out build/base`.

The folder holds bf16 safetensors, config, tokenizer and chat template; `pretraining.card` writes what was measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig

from fewtune.data.encode import BEGIN_TOKEN, END_TOKEN, PAD_TOKEN, SPECIAL_TOKENS
from pretraining import checkpoint, tokenizer
from pretraining.checkpoint import Mark
from pretraining.model import CONTEXT, EPSILON, HEAD_WIDTH, ROPE_THETA, Llama, Shape
from pretraining.optimizer import optimizers
from pretraining.refusal import told
from pretraining.train import recipe_of

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def config(shape: Shape) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=tokenizer.VOCABULARY_SIZE,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=HEAD_WIDTH,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=EPSILON,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL_TOKENS.index(BEGIN_TOKEN),
        eos_token_id=SPECIAL_TOKENS.index(END_TOKEN),
        pad_token_id=SPECIAL_TOKENS.index(PAD_TOKEN),
        rope_theta=ROPE_THETA,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )


def open_model(work: Path) -> tuple[Llama, Mark]:
    """The newest checkpoint, rounded to bf16 and back as a reader of the written weights sees it."""
    if not (work / checkpoint.NAME).exists():
        raise FileNotFoundError(f"{work} has no checkpoint; train first.")
    recipe = recipe_of(work)
    model = Llama(recipe.shape)
    mark = checkpoint.resume(work, model, optimizers(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    return model.eval(), mark


def read_base(folder: Path) -> tuple[Llama, Shape]:
    """A base as it was written. Raises OSError or ValueError where it cannot be read."""
    stored = json.loads((folder / "config.json").read_text())
    names = ("hidden_size", "num_hidden_layers", "num_key_value_heads", "intermediate_size")
    if missing := [name for name in names if name not in stored]:
        raise ValueError(f"{folder / 'config.json'} has no {missing[0]}: is it a base of these?")
    hidden, layers, key_heads, inner = (stored[name] for name in names)
    shape = Shape(hidden=hidden, layers=layers, key_heads=key_heads, inner=inner)
    model = Llama(shape)
    checkpoint.take_base(folder, model)
    return model.eval(), shape


def write_base(model: Llama, shape: Shape, work: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: parameter.detach().bfloat16().contiguous() for name, parameter in model.named_parameters()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config(shape).save_pretrained(out)
    tokenizer.load(work).save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_TOKEN,
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        # It has a chat template for servers, but it is no chat model: it is tuned in its frame.
        "fewtune_recipe": "completion",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(words, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with told():
        model, _ = open_model(given.work)
        write_base(model, recipe_of(given.work).shape, given.work, given.out)


if __name__ == "__main__":
    main()
