from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewtune.bases.encoder_folder import locate_encoder
from fewtune.errors import BaseModelError, UsageError

TRANSFORMER, POOLING, DENSE = (
    ("sentence_transformers.models.Transformer", ""),
    ("sentence_transformers.models.Pooling", "1_Pooling"),
    ("sentence_transformers.models.Dense", "2_Dense"),
)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder that looks like a sentence encoder; its weights are never read here."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    list_modules(folder, TRANSFORMER, POOLING, DENSE)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"")
    return folder


def list_modules(folder: Path, *modules: tuple[str, str]) -> None:
    listed = [{"idx": number, "type": kind, "path": path} for number, (kind, path) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))


def test_a_folder_that_is_safe_is_taken_as_it_is_given(encoder: Path) -> None:
    assert locate_encoder(str(encoder)) == encoder


def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no sentence encoder"):
        locate_encoder(str(tmp_path / "nothing"))


@pytest.mark.parametrize("text", [None, "", "{", "7", '{"a": 1}', "[1]", '[{"type": "x"}]', "[" * 100_000])
def test_a_folder_that_lists_no_modules_is_no_sentence_encoder(encoder: Path, text: str | None) -> None:
    (encoder / "modules.json").unlink()
    if text is not None:
        (encoder / "modules.json").write_text(text)
    with pytest.raises(BaseModelError, match=r"No readable modules\.json"):
        locate_encoder(str(encoder))


@pytest.mark.parametrize("kind", ["os.system", "modeling_mine.Pooling", "sentence_transformers.models.WordEmbeddings"])
def test_a_part_of_an_unknown_kind_is_never_loaded(encoder: Path, kind: str) -> None:
    list_modules(encoder, TRANSFORMER, POOLING, (kind, "2_Dense"))
    with pytest.raises(BaseModelError, match=f"a part of the kind '{kind}'"):
        locate_encoder(str(encoder))


@pytest.mark.parametrize("path", ["..", "../other", "/etc", "a/b", "."])
def test_a_part_lies_within_the_folder(encoder: Path, path: str) -> None:
    list_modules(encoder, TRANSFORMER, ("sentence_transformers.models.Pooling", path))
    with pytest.raises(BaseModelError, match=r"no folder beside modules\.json"):
        locate_encoder(str(encoder))


def test_a_model_that_makes_no_vector_of_a_text_is_no_sentence_encoder(encoder: Path) -> None:
    list_modules(encoder, TRANSFORMER, DENSE)
    with pytest.raises(BaseModelError, match="no pooling"):
        locate_encoder(str(encoder))


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_pickled_weights_are_not_read(encoder: Path, place: str) -> None:
    (encoder / place / "model.safetensors").rename(encoder / place / "pytorch_model.bin")
    with pytest.raises(BaseModelError, match="pickled weights are not read"):
        locate_encoder(str(encoder))


def test_code_that_an_encoder_brings_is_never_run(encoder: Path) -> None:
    (encoder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Mine"}}')
    with pytest.raises(BaseModelError, match="The sentence encoder wants to run code of its own"):
        locate_encoder(str(encoder))


def test_an_adapter_over_a_model_elsewhere_is_not_loaded(encoder: Path) -> None:
    (encoder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/model"}')
    with pytest.raises(BaseModelError, match="adapter over another model"):
        locate_encoder(str(encoder))
