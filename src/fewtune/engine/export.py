"""A tuned model as files for others: a PEFT adapter, merged weights, or a GGUF file."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from fewtune.bases.folder import RECIPE, open_encoder
from fewtune.data.encode import Encoder
from fewtune.engine import llama_cpp
from fewtune.engine.checkpoint import synchronise
from fewtune.engine.drift import tolerance
from fewtune.engine.merging import merge, merge_in_fp32, open_merged
from fewtune.engine.modelfile import modelfile, served_template
from fewtune.engine.stored_adapter import CONFIG, WEIGHTS
from fewtune.errors import BaseModelError, UsageError, from_os_error

FORMATS = ("peft", "merged", "gguf")
GGUF_FILE = "model.gguf"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was exported, and how it can be read again."""

    as_base: Path | None
    """A base's folder that says what the exported files say; None where only llama.cpp can read them."""
    gguf: Path | None
    tolerance: float
    """Largest mean drift, in nats a token, that keeping the weights this way explains."""


@contextmanager
def aside(out: Path) -> Generator[tuple[Path, Path], None, None]:
    """A folder to be filled and one for scraps; at the end of the block the first becomes `out`, whole or not at all.

    Raises UsageError where there is something at `out` already.
    """
    out = out.expanduser().resolve()
    _check_free(out)
    work = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    filled, scraps = work / "filled", work / "scraps"
    try:
        filled.mkdir(parents=True)
        scraps.mkdir()
        yield filled, scraps
        for path in (*filled.iterdir(), filled):
            synchronise(path)
        if out.exists():
            out.rmdir()
        filled.rename(out)
        synchronise(out.parent)
    except OSError as error:
        raise from_os_error(error, "write the export", out) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_free(out: Path) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists():
        what = "The folder is not empty." if out.is_dir() else "There is a file of this name."
        raise UsageError(what, where=str(out), fix="Choose another --out.")


def write(
    kind: str, base: Path, adapter: Path, name: str, filled: Path, scraps: Path, *, recipe: str | None = None
) -> Written:
    """Export base and adapter as `kind`, one of FORMATS; `name` is what a model calls itself where it can.

    Raises BaseModelError for parts that do not fit each other or that `kind` cannot hold, UsageError for a
    package that is missing, OSError where writing fails.
    """
    match kind:
        case "peft":
            for file in (CONFIG, WEIGHTS):
                shutil.copyfile(adapter / file, filled / file)
            merge_in_fp32(base, filled, scraps)
            return Written(as_base=scraps, gguf=None, tolerance=_tolerance("F32"))
        case "merged":
            merge(base, adapter, filled)
            _write_template(filled, open_encoder(str(base), recipe))
            return Written(as_base=filled, gguf=None, tolerance=_tolerance(_coarsest(base, adapter)))
        case "gguf":
            return _write_gguf(base, adapter, name, filled, scraps, open_encoder(str(base), recipe))
        case _:
            raise UsageError(f"There is no format {kind!r}.", fix=f"Choose one of: {', '.join(FORMATS)}.")


def _write_template(filled: Path, encoder: Encoder) -> None:
    """For servers; and a note beside it for us, that a base with a frame is no chat model because of it."""
    (filled / "chat_template.jinja").write_text(served_template(encoder), encoding="utf-8")
    path = filled / "tokenizer_config.json"
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**stored, RECIPE: encoder.recipe}, indent=2) + "\n", encoding="utf-8")


def _write_gguf(base: Path, adapter: Path, name: str, filled: Path, scraps: Path, encoder: Encoder) -> Written:
    if find_spec("gguf") is None:
        raise UsageError(
            "The package 'gguf', which --format gguf needs, is not installed.",
            fix="Install it with: pip install 'fewtune[gguf]'.",
        )
    from fewtune.engine import gguf_file
    from fewtune.engine.gguf_tokenizer import UnknownTokenizer

    file, merged, as_base = filled / GGUF_FILE, open_merged(base, adapter), scraps
    try:
        gguf_file.write(file, merged, name, encoder)
        gguf_file.read_back(file, merged, scraps)
    except (gguf_file.UnknownFamily, UnknownTokenizer) as error:
        _convert(base, adapter, file, scraps, error)
        as_base = None
    (filled / "Modelfile").write_text(modelfile(file.name, encoder), encoding="utf-8")
    return Written(as_base=as_base, gguf=file, tolerance=_tolerance("F16"))


def _convert(base: Path, adapter: Path, file: Path, scraps: Path, why: BaseModelError) -> None:
    """Through llama.cpp's converter, if it is there and what it makes can be scored."""
    if llama_cpp.converter() is None or not llama_cpp.can_score():
        why.fix = (
            "llama.cpp's converter may know it: put convert_hf_to_gguf.py on the PATH or set LLAMA_CPP_HOME to its "
            "folder, and install llama-cpp-python, which scores the result. Or export in the format merged."
        )
        raise why
    merge(base, adapter, scraps)
    llama_cpp.convert(scraps, file)


_COARSENESS = ("F64", "F32", "F16", "BF16")


def _coarsest(base: Path, adapter: Path) -> str:
    """Of the types in which the adapted weights are stored."""
    merged = open_merged(base, adapter)
    return max((merged.weights.shape(name).dtype for name in merged.layers), key=_COARSENESS.index)


def _tolerance(stored: str) -> float:
    return tolerance(stored, computed_in_bf16=torch.cuda.is_available())
