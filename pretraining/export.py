"""Write the newest checkpoint as a base: `python -m pretraining.export --corpus ... --work ... --out ...`.

The folder holds bf16 safetensors, config, tokenizer, chat template and a card with what was measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from fewtune.data.encode import BEGIN_TOKEN, END_TOKEN, PAD_TOKEN, PLAIN_FRAME
from pretraining import tokenizer as tokenizers_of
from pretraining.corpus import HELD_OUT_LINES, Book, is_held_out, read_books
from pretraining.train import CONTEXT, Recipe, config

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SAMPLE_PROMPTS = ("The old house", '"I have never', "In the year 1999, the first ship")
SAMPLE_SEED = 1


def open_model(work: Path) -> tuple[LlamaForCausalLM, dict[str, str]]:
    """The newest checkpoint, rounded to bf16 and back as a reader of the written weights sees it."""
    recipe = Recipe(**json.loads((work / "recipe.json").read_text()))
    path = work / "checkpoint.safetensors"
    with safe_open(path, "pt") as opened:
        metadata: dict[str, str] = opened.metadata()
    model = LlamaForCausalLM(config(recipe))
    stored = load_file(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(stored[f"model.{name}"].bfloat16().float())
    return model.eval(), metadata


def write_base(model: LlamaForCausalLM, work: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: parameter.detach().bfloat16().contiguous() for name, parameter in model.named_parameters()}
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    settings = model.config
    settings.dtype = torch.bfloat16
    settings.architectures = ["LlamaForCausalLM"]
    settings.save_pretrained(out)
    tokenizers_of.load(work).save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN_TOKEN,
        "eos_token": END_TOKEN,
        "pad_token": PAD_TOKEN,
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(words, indent=2) + "\n")


@torch.inference_mode()
def bits_per_byte(model: LlamaForCausalLM, tokenizer: Tokenizer, book: Book) -> float:
    """Mean negative log2-likelihood of a byte of the text, read in windows that overlap by half a context.

    Each token is scored once, with at least half a context before it except at the very start.
    """
    ids = tokenizer.encode(book.text).ids
    nats = math.fsum(_window_nats(model, ids))
    return nats / math.log(2) / len(book.text.encode("utf-8"))


def _window_nats(model: LlamaForCausalLM, ids: list[int]) -> Iterator[float]:
    half = CONTEXT // 2
    for begin in range(0, max(len(ids) - half, 1), half):
        window = torch.tensor([ids[begin : begin + CONTEXT]])
        logits = model(input_ids=window[:, :-1]).logits[0]
        losses = torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none")
        yield float(losses[0 if begin == 0 else half - 1 :].sum(dtype=torch.float64))


def _samples(model: LlamaForCausalLM, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    written: list[tuple[str, str]] = []
    for prompt in SAMPLE_PROMPTS:
        torch.manual_seed(SAMPLE_SEED)
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=70, do_sample=True, temperature=0.7, top_p=0.95
        )
        written.append((prompt, tokenizer.decode(out[0].tolist())))
    return written


def card(model: LlamaForCausalLM, work: Path, out: Path, books: list[Book], metadata: dict[str, str], note: str) -> str:
    tokenizer = tokenizers_of.load(work)
    recipe = Recipe(**json.loads((work / "recipe.json").read_text()))
    measured = [(book, bits_per_byte(model, tokenizer, book)) for book in books]
    mean = sum(value for _, value in measured) / len(measured)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    tokens = int(metadata["step"]) * recipe.tokens_per_step
    rows = "\n".join(f"| {book.title} | {book.author} | {value:.3f} |" for book, value in measured)
    samples = "\n\n".join(f"> {text.replace(chr(10), chr(10) + '> ')}" for _, text in _samples(model, tokenizer))
    return _CARD.format(
        parameters=f"{parameters / 1e6:.1f}",
        layers=recipe.layers,
        hidden=recipe.hidden,
        context=CONTEXT,
        vocabulary=tokenizers_of.VOCABULARY_SIZE,
        separator=PLAIN_FRAME.separator,
        tokens=f"{tokens / 1e6:.1f}",
        minutes=round(float(metadata["seconds"]) / 60),
        steps=metadata["step"],
        note=note,
        mean=f"{mean:.3f}",
        rows=rows,
        held_out=", ".join(map(str, HELD_OUT_LINES)),
        samples=samples,
        seed=SAMPLE_SEED,
        digest=digest,
        torch=torch.__version__.partition("+")[0],
        python=platform.python_version(),
    )


_CARD = """# pocket: the built-in base

A small English language model that comes with fewtune, so that the first run needs no download. It is
here to show what tuning does and to be tested on; it is not a good model by today's measure.

- **Shape**: Llama architecture, {parameters} million parameters, {layers} layers of width {hidden},
  context {context} tokens, byte-level BPE of {vocabulary} tokens (32 of them reserved), tied embeddings,
  bf16.
- **Trained on**: 451 books of English prose from 1880 to 1963, all in the public domain (collected in
  `mlschmitt/classic-books-markdown`); {tokens} million tokens, none read twice. Nothing else.
- **How**: `python -m pretraining.train --steps {steps}`, seed 0, about {minutes} minutes on two CPU cores shared with
  other work; Muon for the matrices, AdamW for the rest, warm-up, stable rate, linear decay. Torch {torch},
  Python {python}. The recipe is the folder `pretraining/` of the source repository. {note}
- **Licence**: the weights are Apache-2.0 like the package.
- **Frame**: prompt, `{separator}`, a space, the answer, the end token. Frozen, with the tokenizer and the context.
- **SHA-256 of model.safetensors**: `{digest}`

## Measured

Bits per UTF-8 byte on the eight held-out books (lines {held_out} of the collection, from 0), line ends and
dashes normalised as in training. Mean: **{mean}**.

| book | author | bits per byte |
|---|---|---|
{rows}

## Samples

Unedited; temperature 0.7, top-p 0.95, seed {seed}.

{samples}

## What it cannot do

It knows no facts that can be relied on, cannot reason, count or write code, does not follow
instructions, reads English only, and speaks as books of its time did, with their prejudices. Its text is
grammatical for a sentence or two. Use it to learn, to test and to compare settings, and tune a larger
base for work that matters.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--note", default="Uninterrupted.", help="what else a reader of the card must know of the run")
    arguments = parser.parse_args()
    model, metadata = open_model(arguments.work)
    write_base(model, arguments.work, arguments.out)
    books = [book for book in read_books(arguments.corpus) if is_held_out(book)]
    (arguments.out / "README.md").write_text(
        card(model, arguments.work, arguments.out, books, metadata, arguments.note)
    )


if __name__ == "__main__":
    main()
