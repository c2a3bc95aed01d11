"""Texts as vectors, by a sentence encoder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from fewtune.engine import devices
from fewtune.errors import BaseModelError


def embed(folder: Path, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """A vector of length 1 for each text, (texts, width); texts that are too long for the encoder are cut at their end.

    `folder` has to be one that `encoder_folder.locate_encoder` found safe. Raises BaseModelError where the encoder
    cannot be loaded, or makes something else than finite numbers.
    """
    # Only here: it takes seconds to import.
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        encoder = SentenceTransformer(
            os.fspath(folder.resolve()),
            device=str(devices.best()),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        vectors = encoder.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        what = f"The sentence encoder could not be used: {' '.join(str(error).split())[:300]}."
        raise BaseModelError(what, where=str(folder)) from error
    found = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or not np.isfinite(found).all():
        raise BaseModelError("The sentence encoder made vectors that are not finite.", where=str(folder))
    return found
