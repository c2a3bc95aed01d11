"""The sentence encoder that a rival learns labels over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from fewtune.bases.encoder_folder import locate_encoder
from fewtune.errors import UsageError

_PACKAGES = ("sentence_transformers", "sklearn")


def check_encoder(encoder: str) -> None:
    """Raises UsageError where a package is missing, and what `locate_encoder` raises: before anything is trained."""
    missing = next((package for package in _PACKAGES if find_spec(package) is None), None)
    if missing:
        raise UsageError(
            f"The package {missing!r}, which --sentence-encoder needs, is not installed.",
            fix="Install it with: pip install 'fewtune[encoder]'.",
        )
    locate_encoder(encoder)


def embedding(encoder: str) -> Callable[[Sequence[str]], npt.NDArray[np.float32]]:
    """Texts to their vectors, one a row; the encoder is loaded when it is called."""

    def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        from fewtune.engine import sentence_encoder

        return sentence_encoder.embed(locate_encoder(encoder), texts)

    return embed
