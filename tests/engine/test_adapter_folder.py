from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from fewtune.engine import adapter_folder
from fewtune.engine.adapter_folder import open_adapter
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.errors import BaseModelError
from standin import padded
from standin.tiny_models import FAMILIES, MIXTURES

# PEFT asks transformers by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

TEXT = range(20, 60)
Logits = Callable[..., torch.Tensor]


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def saved(llama: BaseModel, random_adapter: Callable[..., Adapter], tmp_path: Path) -> Path:
    """An adapter of the Llama base, in PEFT's format."""
    (tmp_path / "adapter").mkdir()
    adapter_folder.save(random_adapter(llama), tmp_path / "adapter", llama)
    return tmp_path / "adapter"


def rewrite_config(folder: Path, **changed: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


class TestInPeft:
    @pytest.mark.parametrize("top", [1.0, 0.5])
    def test_an_adapter_that_we_save_gives_the_same_logits(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        logits: Logits,
        tmp_path: Path,
        top: float,
    ) -> None:
        adapter = random_adapter(base, top=top)
        adapter_folder.save(adapter, tmp_path, base)
        model = peft.PeftModel.from_pretrained(padded.plain_model(folder_of(family)), tmp_path).eval()
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor([list(TEXT)])).logits[0]
        torch.testing.assert_close(logits(base, [TEXT], adapter), theirs, rtol=0, atol=1e-4)
        assert (theirs - logits(base, [TEXT])).abs().max() > 0.1

    def test_an_adapter_that_peft_saved_gives_the_same_logits_here(
        self,
        base: BaseModel,
        family: str,
        folder_of: Callable[[str], Path],
        random_adapter: Callable[..., Adapter],
        logits: Logits,
        tmp_path: Path,
    ) -> None:
        model = padded.peft_model(folder_of(family), random_adapter(base)).eval()
        model.save_pretrained(tmp_path)
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor([list(TEXT)])).logits[0]
        torch.testing.assert_close(logits(base, [TEXT], open_adapter(tmp_path, base)), theirs, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("layers", [["q_proj", "v_proj"], ["down_proj"]])
    def test_an_adapter_over_some_kinds_of_layers_is_nothing_over_the_others(
        self,
        llama: BaseModel,
        folder_of: Callable[[str], Path],
        logits: Logits,
        tmp_path: Path,
        layers: list[str],
    ) -> None:
        config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=layers)
        model = peft.get_peft_model(padded.plain_model(folder_of("llama")), config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0.0, 0.2)
            theirs = model(input_ids=torch.tensor([list(TEXT)])).logits[0]
        model.save_pretrained(tmp_path)
        torch.testing.assert_close(logits(llama, [TEXT], open_adapter(tmp_path, llama)), theirs, rtol=0, atol=1e-4)


class TestOpening:
    @pytest.mark.parametrize("top", [1.0, 0.5])
    def test_saved_and_opened_it_is_the_same_in_every_bit(
        self, base: BaseModel, random_adapter: Callable[..., Adapter], tmp_path: Path, top: float
    ) -> None:
        adapter = random_adapter(base, top=top)
        adapter_folder.save(adapter, tmp_path, base)
        opened = open_adapter(tmp_path, base)
        assert torch.equal(opened.flat, adapter.flat)
        assert (opened.groups, opened.rank, opened.alpha) == (adapter.groups, 4, 8)

    def test_one_of_another_base_is_refused(self, base_of: Callable[[str], BaseModel], saved: Path) -> None:
        with pytest.raises(BaseModelError, match=r"does not fit this base.*adapter_config\.json"):
            open_adapter(saved, base_of("gpt2"))

    @pytest.mark.parametrize("family", ["qwen3", "smollm"])
    def test_one_of_a_base_of_the_same_kind_and_another_shape_is_refused(self, base: BaseModel, saved: Path) -> None:
        with pytest.raises(BaseModelError, match="does not fit this base"):
            open_adapter(saved, base)

    def test_one_of_a_base_with_fewer_blocks_is_refused(self, llama: BaseModel, saved: Path) -> None:
        tensors = load_file(saved / "adapter_model.safetensors")
        deeper = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in tensors.items()}
        save_file(deeper, saved / "adapter_model.safetensors")
        with pytest.raises(BaseModelError, match=r"does not fit this base: layer .*layers\.7\."):
            open_adapter(saved, llama)

    def test_a_folder_without_one_is_refused(self, llama: BaseModel, tmp_path: Path) -> None:
        with pytest.raises(BaseModelError, match="No readable adapter"):
            open_adapter(tmp_path / "nowhere", llama)

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    @pytest.mark.parametrize("kept", [0, 7, 40])
    def test_a_truncated_file_is_refused(self, llama: BaseModel, saved: Path, name: str, kept: int) -> None:
        (saved / name).write_bytes((saved / name).read_bytes()[:kept])
        with pytest.raises(BaseModelError, match="No readable adapter"):
            open_adapter(saved, llama)

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
    def test_a_kind_whose_numbers_would_come_out_wrong_is_refused(
        self, llama: BaseModel, saved: Path, changed: dict[str, object]
    ) -> None:
        rewrite_config(saved, **changed)
        with pytest.raises(BaseModelError, match="of another kind"):
            open_adapter(saved, llama)

    def test_one_that_changes_more_than_linear_layers_is_refused(
        self, llama: BaseModel, saved: Path, tmp_path: Path
    ) -> None:
        changed = shutil.copytree(saved, tmp_path / "more")
        tensors = load_file(saved / "adapter_model.safetensors")
        tensors["base_model.model.lm_head.weight"] = torch.zeros(2, 2)
        save_file(tensors, changed / "adapter_model.safetensors")
        with pytest.raises(BaseModelError, match="Only plain LoRA over linear layers"):
            open_adapter(changed, llama)
