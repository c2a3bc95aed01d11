from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fewtune.data.encode import Encoded
from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel
from fewtune.engine.checkpoint import save_adapter
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import BETAS, Training, step
from fewtune.errors import BaseModelError, TrainingError
from fewtune.types import Plan

NO_CLIP = 1e9
IDS = torch.tensor([[0, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140]])


def peft_over(folder: Path, adapter: Adapter) -> Any:
    """PEFT's model of the same base with the same A and B, ready to train."""
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules=sorted({site.name.rpartition(".")[2] for site in adapter.sites}),
        fan_in_fan_out=any(site.transposed for site in adapter.sites),
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), config)
    with torch.no_grad():
        for name, (a, b) in adapter.matrices.items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(a)
            layer.lora_B["default"].weight.copy_(b)
    return model


def peft_loss(model: Any, examples: tuple[Encoded, ...]) -> torch.Tensor:
    """transformers' own loss of a padded batch, of which only answers and stops are labels."""
    width = max(len(one.ids) for one in examples)
    padding = [width - len(one.ids) for one in examples]
    rows = list(zip(examples, padding, strict=True))
    ids = torch.tensor([[*one.ids, *[0] * pad] for one, pad in rows])
    mask = torch.tensor([[1] * len(one.ids) + [0] * pad for one, pad in rows])
    labels = torch.tensor(
        [[-100] * one.prompt_length + list(one.ids[one.prompt_length :]) + [-100] * pad for one, pad in rows]
    )
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


def peft_gradient(model: Any, adapter: Adapter) -> torch.Tensor:
    """In the order of our flat vector."""
    parts: list[torch.Tensor] = []
    for name in adapter.matrices:
        layer = model.base_model.model.get_submodule(name)
        parts += [layer.lora_A["default"].weight.grad.reshape(-1), layer.lora_B["default"].weight.grad.reshape(-1)]
    return torch.cat(parts)


def logits_of(base: BaseModel, adapter: Adapter | None) -> torch.Tensor:
    with torch.no_grad(), lora.in_use(base, adapter):
        return base.model(input_ids=IDS).logits


@pytest.fixture
def saved(llama: BaseModel, random_adapter: Callable[..., Adapter], tmp_path: Path) -> Path:
    """An adapter of the Llama base, in PEFT's format."""
    save_adapter(random_adapter(llama), tmp_path / "adapter", llama.name)
    return tmp_path / "adapter"


def rewrite_config(folder: Path, **changed: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


# PEFT asks transformers by an old name.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
class TestAgainstPeft:
    def test_loss_and_gradient_equal_pefts_for_the_same_matrices(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        begin_training: Callable[..., Training],
    ) -> None:
        training = begin_training(base, Plan(learning_rate=1e-3, rank=4, alpha=8, batch_size=5, clip=NO_CLIP))
        training.adapter.flat.copy_(random_adapter(base).flat)
        model = peft_over(folder_of(family), training.adapter)
        loss = peft_loss(model, training.task.train)
        loss.backward()
        progress = step(base, "t", training)
        gradient = training.first_moment / (1 - BETAS[0])
        # Next to a loss of 6 nats, fp32 numbers are 5e-7 apart.
        assert progress.loss == pytest.approx(float(loss.detach()), abs=2e-6)
        torch.testing.assert_close(gradient, peft_gradient(model, training.adapter), rtol=0, atol=1e-5)

    def test_a_training_follows_pefts_model_under_torchs_adamw(
        self, llama: BaseModel, folder_of: Callable[[str], Path], begin_training: Callable[..., Training]
    ) -> None:
        plan = Plan(learning_rate=5e-3, rank=4, alpha=8, batch_size=5, warmup_steps=0, weight_decay=0.1, clip=0.5)
        training = begin_training(llama, plan)
        model = peft_over(folder_of("llama"), training.adapter)
        own = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(own, lr=plan.learning_rate, betas=BETAS, eps=1e-8, weight_decay=0.1)
        for _ in range(8):
            optimizer.zero_grad()
            loss = peft_loss(model, training.task.train)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own, plan.clip)
            optimizer.step()
            assert step(llama, "t", training).loss == pytest.approx(float(loss.detach()), abs=1e-4)

    def test_an_adapter_that_we_save_gives_the_same_logits_in_peft(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        tmp_path: Path,
    ) -> None:
        adapter = random_adapter(base)
        save_adapter(adapter, tmp_path / "adapter", base.name)
        bare = AutoModelForCausalLM.from_pretrained(folder_of(family), dtype=torch.float32)
        model = peft.PeftModel.from_pretrained(bare, tmp_path / "adapter").eval()
        with torch.no_grad():
            theirs = model(input_ids=IDS).logits
        torch.testing.assert_close(logits_of(base, adapter), theirs, rtol=0, atol=1e-4)
        assert (theirs - logits_of(base, None)).abs().max() > 0.1

    def test_an_adapter_that_peft_saved_gives_the_same_logits_in_ours(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        tmp_path: Path,
    ) -> None:
        model = peft_over(folder_of(family), random_adapter(base)).eval()
        model.save_pretrained(tmp_path)
        with torch.no_grad():
            theirs = model(input_ids=IDS).logits
        torch.testing.assert_close(logits_of(base, lora.open_adapter(tmp_path, base)), theirs, rtol=0, atol=1e-4)


class TestAdapter:
    def test_saved_and_opened_it_is_the_same_in_every_bit(
        self, llama: BaseModel, saved: Path, random_adapter: Callable[..., Adapter]
    ) -> None:
        opened = lora.open_adapter(saved, llama)
        assert torch.equal(opened.flat, random_adapter(llama).flat)
        assert (opened.rank, opened.alpha) == (4, 8)

    def test_every_linear_layer_but_the_head_is_a_site(self, base: BaseModel) -> None:
        names = [site.name for site in lora.sites_of(base.model)]
        linear = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        kinds = {name.rpartition(".")[2] for name in names}
        assert kinds in (
            linear,
            {"c_attn", "c_proj", "c_fc"},
            {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
        )
        assert len(names) == len(set(names))

    def test_attaching_again_changes_nothing(self, base: BaseModel) -> None:
        sites, before = lora.attach(base), logits_of(base, None)
        assert lora.attach(base) == sites
        assert torch.equal(logits_of(base, None), before)

    def test_a_new_adapter_leaves_the_base_as_it_is(self, base: BaseModel) -> None:
        adapter = lora.create(lora.attach(base), 4, 8, 0, base.device)
        assert torch.equal(logits_of(base, adapter), logits_of(base, None))

    def test_after_use_the_base_is_bare_again(self, base: BaseModel, random_adapter: Callable[..., Adapter]) -> None:
        before = logits_of(base, None)
        assert not torch.allclose(logits_of(base, random_adapter(base)), before)
        assert torch.equal(logits_of(base, None), before)

    def test_equal_seeds_draw_equal_adapters_and_others_do_not(self, llama: BaseModel) -> None:
        sites = lora.attach(llama)
        first, again, other = (lora.create(sites, 4, 8, seed, llama.device).flat for seed in (3, 3, 4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_no_parameter_of_the_base_requires_a_gradient(self, base: BaseModel) -> None:
        assert not any(parameter.requires_grad for parameter in base.model.parameters())

    def test_a_rank_above_the_width_is_refused(self, llama: BaseModel) -> None:
        with pytest.raises(TrainingError, match=r"Rank 33 is above the width of layer .*_proj"):
            lora.create(lora.attach(llama), 33, 16, 0, llama.device)


class TestRefusedAdapters:
    def test_one_of_another_base(self, base_of: Callable[[str], BaseModel], saved: Path) -> None:
        with pytest.raises(BaseModelError, match=r"does not fit this base.*adapter_config\.json"):
            lora.open_adapter(saved, base_of("gpt2"))

    def test_one_of_a_base_of_the_same_kind_and_another_shape(
        self, base_of: Callable[[str], BaseModel], saved: Path
    ) -> None:
        with pytest.raises(BaseModelError, match="does not fit this base"):
            lora.open_adapter(saved, base_of("qwen3"))

    def test_a_folder_without_one(self, llama: BaseModel, tmp_path: Path) -> None:
        with pytest.raises(BaseModelError, match="No readable adapter"):
            lora.open_adapter(tmp_path / "nowhere", llama)

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    @pytest.mark.parametrize("kept", [0, 7, 40])
    def test_a_truncated_file(self, llama: BaseModel, saved: Path, name: str, kept: int) -> None:
        (saved / name).write_bytes((saved / name).read_bytes()[:kept])
        with pytest.raises(BaseModelError, match="No readable adapter"):
            lora.open_adapter(saved, llama)

    @pytest.mark.parametrize(
        "changed",
        [
            {"use_rslora": True},
            {"use_dora": True},
            {"alpha_pattern": {"q_proj": 32}},
            {"rank_pattern": {"q_proj": 2}},
            {"lora_bias": True},
            {"peft_type": "IA3"},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_a_kind_whose_numbers_would_come_out_wrong(
        self, llama: BaseModel, saved: Path, changed: dict[str, object]
    ) -> None:
        rewrite_config(saved, **changed)
        with pytest.raises(BaseModelError, match="of another kind"):
            lora.open_adapter(saved, llama)

    def test_one_that_changes_more_than_linear_layers(self, llama: BaseModel, saved: Path, tmp_path: Path) -> None:
        changed = shutil.copytree(saved, tmp_path / "more")
        tensors = load_file(saved / "adapter_model.safetensors")
        tensors["base_model.model.lm_head.weight"] = torch.zeros(2, 2)
        save_file(tensors, changed / "adapter_model.safetensors")
        with pytest.raises(BaseModelError, match="more than"):
            lora.open_adapter(changed, llama)
