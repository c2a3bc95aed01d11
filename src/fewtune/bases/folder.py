"""Find a base, refuse an unsafe one, open its tokenizer; all of it without torch."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from fewtune.data.encode import Encoder
from fewtune.errors import BaseModelError, ProviderError, UsageError

BUILT_IN = "pocket"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WIDTHS = ("hidden_size", "n_embd", "d_model")


def locate(base: str) -> Path:
    """Folder of the base: the built-in one, a local folder, or a hub id, which is fetched.

    Raises UsageError when there is no such folder, ProviderError when the hub cannot be reached.
    """
    if base == BUILT_IN:
        return Path(str(files("fewtune") / "bases" / BUILT_IN))
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    if _HUB_ID.fullmatch(base) and not folder.parent.is_dir():
        return _fetch(base)
    raise UsageError(
        f"There is no base {base!r}: no such folder, and not a hub id of the form owner/name.",
        fix=f"Use {BUILT_IN!r} for the built-in base, or give the path of a model folder.",
    )


def _fetch(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.safetensors", "*.json"]))
    except (OSError, ValueError) as error:
        raise ProviderError(
            f"The base {hub_id!r} could not be fetched from the hub: {type(error).__name__}.",
            fix="Check the name and the network, or give the path of a folder that holds it.",
        ) from error


def describe(base: str) -> dict[str, Any]:
    """The base's config.json, checked to be safe to load.

    Raises BaseModelError for a folder that is no model, that wants to run code of its own, or that
    keeps its weights in pickle files.
    """
    folder = locate(base)
    try:
        config: dict[str, Any] = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BaseModelError(
            "No readable config.json in the base's folder.",
            where=str(folder),
            fix="Give a folder as transformers saves it: config.json, tokenizer.json, *.safetensors.",
        ) from error
    if "auto_map" in config:
        raise BaseModelError(
            "The base wants to run code of its own (auto_map in config.json); that is never done.",
            where=str(folder),
            fix="Choose a base whose architecture transformers knows.",
        )
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            "No .safetensors weights in the base's folder; pickled weights are not read.",
            where=str(folder),
            fix="Convert the weights to safetensors first.",
        )
    return config


def width(base: str) -> int:
    """Hidden size of the base, whatever its family calls it; raises BaseModelError where none is named."""
    config = describe(base)
    found = next((config[name] for name in _WIDTHS if name in config), None)
    if found is None:
        raise BaseModelError(f"config.json names no width ({', '.join(_WIDTHS)}).", where=base)
    return int(found)


def open_encoder(base: str) -> Encoder:
    """The base's tokenizer with its end token and context.

    Raises BaseModelError where there is no tokenizer.json or no end token.
    """
    config, folder = describe(base), locate(base)
    path = folder / "tokenizer.json"
    if not path.exists():
        raise BaseModelError("The base has no tokenizer.json.", where=str(folder), fix="Save it with a fast tokenizer.")
    end: int | list[int] | None = config.get("eos_token_id")
    end_ids = tuple(end) if isinstance(end, list) else () if end is None else (end,)
    if not end_ids:
        raise BaseModelError("The base names no end token (eos_token_id).", where=str(folder / "config.json"))
    context = config.get("max_position_embeddings") or config.get("n_positions") or 1024
    tokenizer = _open_tokenizer(path)
    return Encoder(tokenizer=tokenizer, end_id=end_ids[0], other_end_ids=end_ids[1:], context=int(context))


def _open_tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises nothing narrower.
        raise BaseModelError(f"The base's tokenizer cannot be read: {error}.", where=str(path)) from error
    # What a tokenizer.json may ask for and training must not have: cut rows, padded rows, and an end token
    # where the data only spells its name.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer
