from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fewtune.engine.merging import merge, merge_in_fp32, open_merged
from fewtune.errors import BaseModelError
from standin.peft_adapters import logits_of, save_adapter
from standin.tiny_models import FAMILIES, save_model

# PEFT asks transformers by an old name, and warns before it sets what GPT-2 needs.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Path, Path, torch.Tensor]]:
    """A base, an adapter of it, and the logits of both together by PEFT."""

    def make(family: str = "llama", **config: Any) -> tuple[Path, Path, torch.Tensor]:
        base = save_model(tmp_path / "base", FAMILIES[family])
        return base, tmp_path / "adapter", save_adapter(base, tmp_path / "adapter", **config)

    return make


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def rewrite(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


def stored_as(base: Path, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_weights_give_the_logits_of_base_and_adapter_in_peft(
    family: str, made: Callable[..., Any], out: Path
) -> None:
    base, adapter, logits = made(family)
    merge(base, adapter, out)
    torch.testing.assert_close(logits_of(out), logits, rtol=0, atol=1e-4)
    assert (logits_of(base) - logits).abs().max() > 0.1
    assert (out / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_a_split_base_stays_split_and_means_the_same(made: Callable[..., Any], out: Path) -> None:
    base, adapter, logits = made()
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).save_pretrained(base, max_shard_size="40KB")
    (base / "model.safetensors").unlink()
    merge(base, adapter, out)
    shards = sorted(path.name for path in base.glob("*.safetensors"))
    assert len(shards) > 1
    assert sorted(path.name for path in out.glob("*.safetensors")) == shards
    torch.testing.assert_close(logits_of(out), logits, rtol=0, atol=1e-4)
    (whole := out / "whole").mkdir()
    merge_in_fp32(base, adapter, whole)
    assert not list(whole.glob("*.index.json"))
    torch.testing.assert_close(logits_of(whole), logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sums_are_made_in_fp32_and_rounded_once_to_the_bases_type(
    dtype: torch.dtype, made: Callable[..., Any], out: Path
) -> None:
    base, adapter, _ = made()
    stored_as(base, dtype)
    merge(base, adapter, out)
    (exact := out / "exact").mkdir()
    merge_in_fp32(base, adapter, exact)
    sums = load_file(exact / "model.safetensors")
    for name, tensor in load_file(out / "model.safetensors").items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, sums[name].to(dtype))


def test_what_is_not_adapted_is_copied_to_the_byte(made: Callable[..., Any], out: Path) -> None:
    base, adapter, _ = made(target_modules=["q_proj"])
    weights = load_file(base / "model.safetensors")
    save_file({**weights, "extra": torch.arange(3)}, base / "model.safetensors", metadata={"format": "pt"})
    merge(base, adapter, out)
    merged = load_file(out / "model.safetensors")
    assert torch.equal(merged["extra"], torch.arange(3))
    changed = {name for name, tensor in weights.items() if not torch.equal(merged[name], tensor)}
    assert changed == {f"model.layers.{layer}.self_attn.q_proj.weight" for layer in (0, 1)}


def test_a_checkpoint_that_leaves_out_the_first_part_of_its_names_is_understood(
    made: Callable[..., Any], out: Path
) -> None:
    base, adapter, logits = made("gpt2")
    weights = load_file(base / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    assert bare.keys() != weights.keys()
    save_file(bare, base / "model.safetensors", metadata={"format": "pt"})
    merge(base, adapter, out)
    torch.testing.assert_close(logits_of(out), logits, rtol=0, atol=1e-4)


class TestRefusals:
    def test_an_adapter_of_another_base_names_its_own(self, made: Callable[..., Any], tmp_path: Path) -> None:
        _, adapter, _ = made("gpt2")
        other = save_model(tmp_path / "other", FAMILIES["llama"])
        with pytest.raises(BaseModelError, match=r"does not fit this base: it adapts .*config\.json names: .*base"):
            open_merged(other, adapter)

    def test_a_layer_of_another_shape_is_named_with_both(self, made: Callable[..., Any], tmp_path: Path) -> None:
        _, adapter, _ = made("llama")
        other = save_model(tmp_path / "other", FAMILIES["qwen3"])
        with pytest.raises(BaseModelError, match=r"_proj is \d+ x 32 in the base and \d+ x 32 in the adapter"):
            open_merged(other, adapter)

    def test_a_rank_that_is_not_the_matrices(self, made: Callable[..., Any]) -> None:
        base, adapter, _ = made()
        rewrite(adapter / "adapter_config.json", r=8)
        with pytest.raises(BaseModelError, match=r"has A 4 x \d+ and B \d+ x 4, where the config says rank 8"):
            open_merged(base, adapter)

    @pytest.mark.parametrize("name", ["use_dora", "use_rslora"])
    def test_another_kind_of_lora_is_named(self, name: str, made: Callable[..., Any]) -> None:
        base, adapter, _ = made(**{name: True})
        with pytest.raises(BaseModelError, match=rf"another kind \({name}\)"):
            open_merged(base, adapter)

    @pytest.mark.parametrize(
        "changed",
        [{"peft_type": "IA3"}, {"bias": "all"}, {"alpha_pattern": {"q_proj": 2}}, {"lora_bias": True}],
        ids=str,
    )
    def test_a_config_that_changes_what_a_and_b_mean(
        self, changed: dict[str, object], made: Callable[..., Any]
    ) -> None:
        base, adapter, _ = made()
        rewrite(adapter / "adapter_config.json", **changed)
        with pytest.raises(BaseModelError, match=next(iter(changed))):
            open_merged(base, adapter)

    def test_an_adapter_that_changes_more_than_linear_layers(self, made: Callable[..., Any]) -> None:
        base, adapter, _ = made(modules_to_save=["lm_head"], target_modules=["q_proj"])
        rewrite(adapter / "adapter_config.json", modules_to_save=None)
        with pytest.raises(BaseModelError, match=r"has a tensor '.*lm_head"):
            open_merged(base, adapter)

    def test_one_of_a_and_b_alone(self, made: Callable[..., Any]) -> None:
        base, adapter, _ = made()
        tensors = load_file(adapter / "adapter_model.safetensors")
        tensors.pop(next(name for name in tensors if "lora_B" in name))
        save_file(tensors, adapter / "adapter_model.safetensors")
        with pytest.raises(BaseModelError, match="only one of A and B"):
            open_merged(base, adapter)

    def test_pickled_weights_of_either(self, made: Callable[..., Any]) -> None:
        base, adapter, _ = made()
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
        with pytest.raises(BaseModelError, match="pickled"):
            open_merged(base, adapter)
        (adapter / "adapter_model.bin").rename(adapter / "adapter_model.safetensors")
        (base / "model.safetensors").rename(base / "pytorch_model.bin")
        with pytest.raises(BaseModelError, match="pickled"):
            open_merged(base, adapter)

    @pytest.mark.parametrize("kept", [0, 4, 100, 5000])
    def test_truncated_weights(self, kept: int, made: Callable[..., Any]) -> None:
        base, adapter, _ = made()
        for file in (base / "model.safetensors", adapter / "adapter_model.safetensors"):
            whole = file.read_bytes()
            file.write_bytes(whole[:kept])
            with pytest.raises(BaseModelError):
                open_merged(base, adapter)
            file.write_bytes(whole)

    @pytest.mark.parametrize("named", ["gone.safetensors", "../base/model.safetensors"])
    def test_an_index_that_leads_out_of_the_folder_or_nowhere(self, named: str, made: Callable[..., Any]) -> None:
        base, adapter, _ = made()
        (base / "model.safetensors").rename(base / "one.safetensors")
        (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": named}}))
        with pytest.raises(BaseModelError, match="which is not in the folder"):
            open_merged(base, adapter)

    def test_a_quantised_base(self, made: Callable[..., Any], out: Path) -> None:
        base, adapter, _ = made()
        weights = load_file(base / "model.safetensors")
        name = "model.layers.0.self_attn.q_proj.weight"
        save_file({**weights, name: weights[name].to(torch.int8)}, base / "model.safetensors")
        with pytest.raises(BaseModelError, match=r"stored as I8: quantised"):
            merge(base, adapter, out)

    def test_a_sum_that_the_bases_type_cannot_hold(self, made: Callable[..., Any], out: Path) -> None:
        base, adapter, _ = made(alpha=10_000_000)
        stored_as(base, torch.float16)
        with pytest.raises(BaseModelError, match=r"does not fit into the base's F16"):
            merge(base, adapter, out)
