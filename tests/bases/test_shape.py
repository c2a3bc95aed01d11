"""Sizes from headers agree with the base once it is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fewtune.bases.folder import BUILT_IN, locate
from fewtune.bases.shape import shape
from fewtune.engine import lora
from fewtune.engine.base_model import load
from fewtune.errors import BaseModelError
from standin.tiny_models import FAMILIES, MIXTURES, save_model


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_model(tmp_path / "base", {**FAMILIES, **MIXTURES}[request.param])


def test_the_headers_tell_what_loading_finds(folder: Path) -> None:
    told, loaded = shape(str(folder)), load(str(folder))
    assert told.parameters == loaded.parameters
    assert (told.blocks, told.width) == (loaded.body.layers, loaded.body.width)
    assert told.vocabulary == loaded.body.head.shape[0]
    adapted = sum(layer.sides for layer in told.layers if layer.adapted)
    assert 3 * adapted == lora.size(loaded.body.groups, rank=3)


def test_a_mixture_of_experts_is_known_by_its_headers(tmp_path: Path) -> None:
    kinds = {**FAMILIES, **MIXTURES}
    known = {name for name, kind in kinds.items() if shape(str(save_model(tmp_path / name, kind))).is_mixture}
    assert known == set(MIXTURES)


def test_other_files_of_weights_in_the_folder_are_not_counted(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(locate(BUILT_IN), folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    assert shape(str(folder)) == shape(BUILT_IN)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02" + b"\x00" * 7 + b"[]", b"\x02" + b"\x00" * 7 + b"{x"])
def test_a_damaged_header_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(locate(BUILT_IN), folder)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BaseModelError, match=r"model\.safetensors"):
        shape(str(folder))
