from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fewtune.bases.encoder_folder import locate_encoder
from fewtune.engine.sentence_encoder import embed
from fewtune.errors import BaseModelError
from standin.tiny_encoder import save_encoder

pytest.importorskip("sentence_transformers", reason="sentence encoders need fewtune[encoder]")

TEXTS = ("Where is my parcel?", "Give me my money back", "The parcel is late, and I want to know why")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return locate_encoder(str(save_encoder(tmp_path / "encoder", TEXTS)))


def test_every_text_is_a_vector_of_length_one_whoever_stands_beside_it(encoder: Path) -> None:
    found = embed(encoder, TEXTS)
    assert found.shape == (3, 64)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert found[0] == pytest.approx(embed(encoder, TEXTS[:1])[0], abs=1e-5)
    assert abs(found[0] @ found[1]) < 0.999


def test_a_text_longer_than_the_encoder_reads_is_cut(encoder: Path) -> None:
    long = embed(encoder, ["parcel " * 64, "parcel " * 500])
    assert long[0] == pytest.approx(long[1], abs=1e-5)


def test_an_empty_text_has_finite_numbers_too(encoder: Path) -> None:
    assert np.isfinite(embed(encoder, ["", "parcel"])).all()


def test_weights_that_cannot_be_read_are_an_error_of_ours(encoder: Path) -> None:
    (encoder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(BaseModelError, match="could not be used"):
        embed(encoder, TEXTS)
