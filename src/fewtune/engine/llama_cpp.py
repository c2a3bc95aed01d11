"""llama.cpp, where it is installed: its converter for the families not written here, its own answers for all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from fewtune.data.encode import Encoder
from fewtune.engine.drift import ExportDrift
from fewtune.errors import BaseModelError
from fewtune.types import Example

PACKAGE = "llama_cpp"
HOME = "LLAMA_CPP_HOME"
_CONVERTER = "convert_hf_to_gguf.py"


def can_score() -> bool:
    """Whether llama-cpp-python is installed."""
    return find_spec(PACKAGE) is not None


def converter() -> list[str] | None:
    """The command of llama.cpp's converter: below LLAMA_CPP_HOME, or on the PATH."""
    below = Path(os.environ.get(HOME, "")) / _CONVERTER
    if HOME in os.environ and below.is_file():
        return [sys.executable, str(below)]
    found = shutil.which(_CONVERTER)
    return [found] if found else None


def convert(folder: Path, file: Path) -> None:
    """Let llama.cpp convert a base's folder; raises BaseModelError with its own words where it cannot."""
    command = converter()
    if command is None:
        raise BaseModelError(f"{_CONVERTER} is not there.", fix=f"Put it on the PATH, or set {HOME} to its folder.")
    done = subprocess.run(
        [*command, str(folder), "--outfile", str(file), "--outtype", "f16"], capture_output=True, text=True, check=False
    )
    if done.returncode or not file.is_file():
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise BaseModelError(f"llama.cpp's converter failed: {said[-1] if said else 'it said nothing'}.")


def log_likelihoods(file: Path, encoder: Encoder, examples: Sequence[Example]) -> list[tuple[float, ...]]:
    """What llama.cpp itself makes of the examples: nats of each token of the answer and the stop.

    Raises ExportDrift where it cuts the texts into other tokens, BaseModelError where it cannot open the file.
    """
    rows = [(example, encoder.example(example)) for example in examples]
    model = _open(file, max(len(encoded.ids) for _, encoded in rows))
    found: list[tuple[float, ...]] = []
    for example, encoded in rows:
        ids = _ids(model, encoder, example, encoded.ids)
        if ids != encoded.ids:
            raise ExportDrift(
                "llama.cpp cuts this row into other tokens than the base does.", where=str(example.source)
            )
        model.reset()
        model.eval(list(ids))
        logits = torch.from_numpy(model.scores[: len(ids)]).log_softmax(dim=-1)
        targets = [place for place, trained in enumerate(encoded.trained) if trained]
        found.append(tuple(float(logits[place - 1, ids[place]]) for place in targets))
    return found


def _open(file: Path, context: int) -> Any:
    llama: Any = import_module(PACKAGE)
    try:
        return llama.Llama(str(file), n_ctx=context, n_batch=context, logits_all=True, verbose=False)
    except (ValueError, RuntimeError) as error:
        raise BaseModelError(f"llama.cpp cannot open the exported file: {error}.", where=str(file)) from error


def _ids(model: Any, encoder: Encoder, example: Example, ids: tuple[int, ...]) -> tuple[int, ...]:
    """The row as llama.cpp tokenises it: prompt and answer apart, as they are in training and in use.

    A conversation is its rendered text, whose special tokens llama.cpp finds by their names; where the data spells one
    too, the text alone does not say which it is, and the ids are taken as they are.
    """
    if encoder.chat:
        text: str = encoder.tokenizer.decode(list(ids), skip_special_tokens=False)
        told: list[int] = model.tokenize(text.encode(), add_bos=False, special=True)
        return tuple(told) if encoder.chat.read(text) == ids else ids
    prompt = encoder.frame.few_shot_text(example.prompt, ())
    answer = encoder.frame.completion_text(example.completion)
    before: list[int] = model.tokenize(prompt.encode(), add_bos=True, special=False)
    after: list[int] = model.tokenize(answer.encode(), add_bos=False, special=False)
    return (*before, *after, model.token_eos())
