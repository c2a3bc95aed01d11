"""Names that the service makes itself; nothing that a client sends ever becomes one, or a path."""

from __future__ import annotations

import re
import secrets
import string
from typing import Literal

Kind = Literal["file", "upload", "part", "ftjob", "ftevent", "ftckpt", "cp", "key", "project", "model"]

_LETTERS = string.ascii_letters + string.digits
_LENGTH = 24
_BEGINNINGS: dict[Kind, str] = {
    "file": "file-",
    "upload": "upload_",
    "part": "part_",
    "ftjob": "ftjob-",
    "ftevent": "ftevent-",
    "ftckpt": "ftckpt_",
    "cp": "cp_",
    "key": "key_",
    "project": "proj_",
    "model": "model-",
}
_PATTERNS = {kind: re.compile(f"{beginning}[A-Za-z0-9]{{{_LENGTH}}}") for kind, beginning in _BEGINNINGS.items()}


def new_id(kind: Kind) -> str:
    """A name nobody can guess (142 bits), spelt as OpenAI spells that kind."""
    return _BEGINNINGS[kind] + "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def is_id(kind: Kind, text: str) -> bool:
    """Whether a text is spelt exactly as this kind's names are; says nothing about whether the thing is there."""
    return _PATTERNS[kind].fullmatch(text) is not None
