"""Find a base, refuse an unsafe one, open its tokenizer; all of it without torch."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer

from fewtune.data.chat import Chat, open_chat
from fewtune.data.chat_template import open_template
from fewtune.data.encode import Encoder, Recipe
from fewtune.errors import BaseModelError, ProviderError, UsageError

BUILT_IN = "pocket"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
RECIPE = "fewtune_recipe"
"""Key of tokenizer_config.json."""
_LARGEST_TEXT = 2**23
"""Bytes of a template or of tokenizer_config.json, which in some bases lists every token that was added."""
_WIDTHS = ("hidden_size", "n_embd", "d_model")


def locate(base: str) -> Path:
    """Folder of the base: the built-in one, a local folder, or a hub id, which is fetched.

    Raises UsageError when there is no such folder, ProviderError when the hub cannot be reached.
    """
    if base == BUILT_IN:
        return Path(str(files("fewtune") / "bases" / BUILT_IN))
    found = find(base, "base")
    if found is None:
        raise UsageError(
            f"There is no base {base!r}: no such folder, and not a hub id of the form owner/name.",
            fix=f"Use {BUILT_IN!r} for the built-in base, or give the path of a model folder.",
        )
    return found


def find(name: str, kind: str) -> Path | None:
    """A local folder, or that of a hub id, which is fetched; None for what is neither.

    `kind` is what an error calls it. Raises ProviderError when the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    return _fetch(name, kind) if _HUB_ID.fullmatch(name) and not folder.parent.is_dir() else None


def _fetch(hub_id: str, kind: str) -> Path:
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.safetensors", "*.json", "*.jinja"]))
    except (OSError, ValueError) as error:
        raise ProviderError(
            f"The {kind} {hub_id!r} could not be fetched from the hub: {type(error).__name__}.",
            fix="Check the name and the network, or give the path of a folder that holds it.",
        ) from error


def describe(base: str) -> dict[str, Any]:
    """The base's config.json, checked to be safe to load.

    Raises BaseModelError for a folder that is no model, that wants to run code of its own, or that
    keeps its weights in pickle files.
    """
    return safe_config(locate(base), "base")


def safe_config(folder: Path, kind: str) -> dict[str, Any]:
    """The config.json of a model that transformers is to load; `kind` is what an error calls it. Raises as above."""
    try:
        config: dict[str, Any] = dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BaseModelError(
            f"No readable config.json in the {kind}'s folder.",
            where=str(folder),
            fix="Give a folder as transformers saves it: config.json, tokenizer.json, *.safetensors.",
        ) from error
    if _names(config, "auto_map"):
        raise BaseModelError(
            f"The {kind} wants to run code of its own (auto_map in config.json); that is never done.",
            where=str(folder),
            fix="Choose one whose architecture transformers knows.",
        )
    if not any(folder.glob("*.safetensors")):
        raise BaseModelError(
            f"No .safetensors weights in the {kind}'s folder; pickled weights are not read.",
            where=str(folder),
            fix="Convert the weights to safetensors first.",
        )
    return config


def _names(value: Any, key: str) -> bool:
    """Whether the key stands anywhere within: parts of a model have settings of their own."""
    if isinstance(value, dict):
        settings = cast(dict[str, Any], value)
        return key in settings or any(_names(one, key) for one in settings.values())
    return isinstance(value, list) and any(_names(one, key) for one in cast(list[Any], value))


def width(base: str) -> int:
    """Hidden size of the base, whatever its family calls it; raises BaseModelError where none is named."""
    config = describe(base)
    found = next((config[name] for name in _WIDTHS if name in config), None)
    if found is None:
        raise BaseModelError(f"config.json names no width ({', '.join(_WIDTHS)}).", where=base)
    return int(found)


def open_encoder(base: str, recipe: str | None = None) -> Encoder:
    """The base's tokenizer with its end token and context, and its frame or chat template.

    The recipe is "chat" or "completion"; None takes the base's own, which `recipe_of` finds. Raises UsageError for
    "chat" where the base has no template, BaseModelError where there is no tokenizer.json, no end token, or no
    template that can be used.
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
    chat = _chat(folder, tokenizer, end_ids[0]) if (recipe or recipe_of(base)) == "chat" else None
    others = (*end_ids[1:], *((chat.stop_id,) if chat and chat.stop_id not in end_ids else ()))
    return Encoder(tokenizer=tokenizer, end_id=end_ids[0], other_end_ids=others, context=int(context), chat=chat)


def recipe_of(base: str) -> Recipe:
    """How the base is tuned where nobody says otherwise: "chat" where it has a chat template.

    A base that has one and is no chat model says so in tokenizer_config.json: "fewtune_recipe": "completion".
    """
    folder = locate(base)
    plain = _tokenizer_config(folder).get(RECIPE) == "completion"
    return "chat" if not plain and _template_source(folder) else "completion"


def _chat(folder: Path, tokenizer: Tokenizer, end_id: int) -> Chat:
    found = _template_source(folder)
    if found is None:
        raise UsageError(
            "The base has no chat template, so it cannot be tuned as a chat model.",
            where=str(folder),
            fix="Use --recipe completion, or choose a chat model.",
        )
    source, where = found
    config = _tokenizer_config(folder)
    tokens = {name: _content(value) for name, value in config.items() if name.endswith("_token")}
    names = {name: token for name, token in tokens.items() if token is not None}
    return open_chat(open_template(source, names, where), tokenizer, end_id)


def _template_source(folder: Path) -> tuple[str, str] | None:
    """The text of the chat template, and the file that it is in."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return _text(path), str(path)
    stored = _tokenizer_config(folder).get("chat_template")
    if isinstance(stored, list):
        # Several by name, as older bases have them.
        named = {one["name"]: one["template"] for one in cast(list[Any], stored) if _is_named(one)}
        stored = named.get("default")
    return (stored, str(folder / "tokenizer_config.json")) if isinstance(stored, str) else None


def _is_named(one: Any) -> bool:
    return isinstance(one, dict) and {"name", "template"} <= cast(dict[Any, Any], one).keys()


def _content(token: Any) -> str | None:
    """A token as the file has it: its text, or an object with it."""
    found = cast(dict[Any, Any], token).get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise BaseModelError("The base's tokenizer_config.json is not JSON.", where=str(path)) from error
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise BaseModelError(f"The file has more than {_LARGEST_TEXT:,} bytes.", where=str(path))
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BaseModelError(f"The file cannot be read: {error}.", where=str(path)) from error


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
