from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers

from fewtune.engine.base_model import BaseModel, load
from fewtune.errors import BaseModelError
from standin.tiny_models import CONTEXT, END, GROUPED, save_model


def test_a_base_is_loaded_frozen_in_fp32_with_its_tokenizer(base: BaseModel) -> None:
    assert base.encoder.end_id == END
    assert base.encoder.context == CONTEXT
    assert not base.model.training
    assert {parameter.dtype for parameter in base.model.parameters()} == {torch.float32}
    assert base.parameters == sum(parameter.numel() for parameter in base.model.parameters())


def test_body_and_head_give_the_logits_of_the_whole_model(base: BaseModel) -> None:
    ids = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            base.logits(base.body(input_ids=ids).last_hidden_state), base.model(input_ids=ids).logits
        )


def test_a_base_that_scales_its_logits_in_its_own_way_is_refused(tmp_path: Path) -> None:
    folder = save_model(
        tmp_path, lambda size: transformers.GraniteConfig(vocab_size=size, logits_scaling=8.0, **GROUPED)
    )
    with pytest.raises(BaseModelError, match="'granite' cannot be tuned"):
        load(str(folder))


def test_a_base_with_capped_attention_is_refused(tmp_path: Path) -> None:
    folder = save_model(tmp_path, lambda size: transformers.Gemma2Config(vocab_size=size, head_dim=8, **GROUPED))
    with pytest.raises(BaseModelError, match="soft cap"):
        load(str(folder))


def test_capped_logits_are_capped_in_training_too(tmp_path: Path) -> None:
    config = {**GROUPED, "head_dim": 8, "attn_logit_softcapping": None, "final_logit_softcapping": 2.0}
    base = load(str(save_model(tmp_path, lambda size: transformers.Gemma2Config(vocab_size=size, **config))))
    ids = torch.tensor([[0, 50, 60, 70, 80]])
    with torch.no_grad():
        logits = base.model(input_ids=ids).logits
        torch.testing.assert_close(base.logits(base.body(input_ids=ids).last_hidden_state), logits)
    assert logits.abs().max() <= 2.0


def test_weights_that_cannot_be_read_are_named(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    for path in folder_of("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BaseModelError, match="could not be loaded") as caught:
        load(str(tmp_path))
    assert caught.value.where == str(tmp_path)


def test_a_kind_that_transformers_does_not_know_is_refused(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    for path in folder_of("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"llama"', '"nosuchkind"'))
    with pytest.raises(BaseModelError, match="could not be loaded"):
        load(str(tmp_path))
