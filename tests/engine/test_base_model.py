from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.body import Body
from fewtune.engine.llama import Llama
from fewtune.engine.lora import Adapter
from fewtune.engine.transformers_body import TransformersBody
from fewtune.errors import BaseModelError
from standin import padded
from standin.tiny_models import CONTEXT, END, FAMILIES, GROUPED, MIXTURES, save_model

Logits = Callable[..., Tensor]

OURS = {"llama", "mistral", "qwen2", "smollm"}
TEXTS = (range(20, 60), range(70, 77), range(3, 140, 5))


@pytest.fixture(params=[*FAMILIES, *MIXTURES])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def copied(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A Llama base that may be changed."""
    for path in folder_of("llama").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def rewrite(folder: Path, **changed: object) -> str:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return str(folder)


class TestBody:
    def test_texts_side_by_side_have_the_logits_of_transformers_own_model_of_each_alone(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path], logits: Logits
    ) -> None:
        model = padded.plain_model(folder_of(family))
        with torch.no_grad():
            theirs = [model(input_ids=torch.tensor([list(text)])).logits[0] for text in TEXTS]
        torch.testing.assert_close(logits(base, TEXTS), torch.cat(theirs), rtol=0, atol=1e-5)

    def test_a_text_has_the_logits_beside_others_that_it_has_alone(
        self, base: BaseModel, logits: Logits, random_adapter: Callable[..., Adapter]
    ) -> None:
        adapter = random_adapter(base)
        alone = torch.cat([logits(base, [text], adapter) for text in TEXTS])
        torch.testing.assert_close(logits(base, TEXTS, adapter), alone, rtol=0, atol=1e-5)

    def test_our_own_blocks_compute_the_hidden_states_of_transformers(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path]
    ) -> None:
        theirs = TransformersBody(folder_of(family), torch.device("cpu"), torch.float32)
        assert isinstance(base.body, Llama if family in OURS else TransformersBody)
        assert (base.body.layers, base.body.width) == (theirs.layers, theirs.width)
        assert base.parameters == theirs.parameters
        ids, positions = torch.arange(30, 70), torch.arange(20).repeat(2)
        ours, others = (states(body, ids, positions, [20, 20]) for body in (base.body, theirs))
        torch.testing.assert_close(ours, others, rtol=0, atol=1e-5)

    def test_selected_places_are_those_of_the_whole(self, base: BaseModel) -> None:
        ids, positions, select = torch.arange(30, 70), torch.arange(40), torch.tensor([3, 39, 0])
        whole = states(base.body, ids, positions, [40])
        torch.testing.assert_close(states(base.body, ids, positions, [40], select=select), whole[select])

    def test_work_that_begins_above_a_prefix_ends_where_the_whole_does(self, base: BaseModel) -> None:
        ids, positions = torch.arange(30, 70), torch.arange(20).repeat(2)
        with torch.no_grad():
            prefix = base.body.prefix(ids, positions, PackedAttention([20, 20]), 1)
        assert prefix.shape == (40, base.body.width)
        upper = states(base.body, ids, positions, [20, 20], first=1, prefix=prefix)
        assert torch.equal(upper, states(base.body, ids, positions, [20, 20]))

    def test_sites_are_named_shaped_and_layered_as_in_transformers(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path]
    ) -> None:
        model = padded.plain_model(folder_of(family))
        for group in base.body.groups:
            for site in group.sites:
                layer = model.get_submodule(site.name)
                shape = (site.inputs, site.outputs) if site.transposed else (site.outputs, site.inputs)
                assert tuple(layer.weight.shape) == shape
                assert f".{group.layer}." in site.name
                assert site.inputs == group.inputs

    def test_every_linear_layer_but_the_head_is_a_site_and_of_a_mixture_those_of_the_attention(
        self, base: BaseModel, family: str, folder_of: Callable[[str], Path]
    ) -> None:
        kinds = torch.nn.Linear, transformers.pytorch_utils.Conv1D
        model = padded.plain_model(folder_of(family))
        linear = {name for name, layer in model.named_modules() if isinstance(layer, kinds)} - {"lm_head", "embed_out"}
        names = [site.name for group in base.body.groups for site in group.sites]
        wanted = {name for name in linear if "attn" in name} if family in MIXTURES else linear
        assert len(names) == len(set(names))
        assert set(names) == wanted


def states(body: Body, ids: Tensor, positions: Tensor, lengths: Sequence[int], **named: Any) -> Tensor:
    with torch.no_grad():
        return body.states(ids, positions, PackedAttention(lengths), **named)


class TestLoading:
    def test_a_base_is_loaded_frozen_in_fp32_with_its_tokenizer(self, base: BaseModel, logits: Logits) -> None:
        assert base.encoder.end_id == END
        assert base.encoder.context == CONTEXT
        assert base.body.head.dtype == logits(base, TEXTS).dtype == torch.float32
        assert not base.body.head.requires_grad

    def test_a_worker_computes_what_this_process_computes(
        self,
        base: BaseModel,
        encode: Callable[[BaseModel], tuple[Encoded, ...]],
        random_adapter: Callable[..., Adapter],
    ) -> None:
        from fewtune.engine.likelihood import measure_pass

        items = [(one, random_adapter(base)) for one in encode(base)[:3]]
        assert base.workers.submit(measure_pass, items).result() == measure_pass(base, items)

    @pytest.mark.parametrize(
        ("changed", "ours"),
        [
            ({}, True),
            ({"rope_parameters": None, "rope_scaling": None, "rope_theta": 10000.0}, True),
            ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}, False),
            ({"hidden_act": "gelu"}, False),
            ({"sliding_window": 4}, True),
        ],
    )
    def test_a_variant_that_our_blocks_do_not_know_runs_in_transformers(
        self, copied: Path, logits: Logits, changed: dict[str, Any], ours: bool
    ) -> None:
        base = load(rewrite(copied, **changed))
        assert isinstance(base.body, Llama) == ours
        with torch.no_grad():
            theirs = padded.plain_model(copied)(input_ids=torch.arange(20, 60)[None]).logits[0]
        torch.testing.assert_close(logits(base, [range(20, 60)]), theirs, rtol=0, atol=1e-5)


class TestRefused:
    @pytest.mark.parametrize(
        "config",
        [
            lambda size: transformers.GraniteConfig(vocab_size=size, logits_scaling=8.0, **GROUPED),
            lambda size: transformers.Lfm2Config(vocab_size=size, layer_types=["conv", "full_attention"], **GROUPED),
            lambda size: transformers.Gemma2Config(
                vocab_size=size, head_dim=8, attn_logit_softcapping=None, final_logit_softcapping=2.0, **GROUPED
            ),
            lambda size: transformers.BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4, eos_token_id=1),
        ],
        ids=["scaled logits", "convolutions", "capped logits", "no positions"],
    )
    def test_a_base_whose_numbers_would_come_out_wrong(self, tmp_path: Path, config: Callable[[int], Any]) -> None:
        with pytest.raises(BaseModelError, match=r"kind '\w+' cannot be tuned: .* Choose a base of another kind"):
            load(str(save_model(tmp_path, config)))

    @pytest.mark.parametrize(
        "config",
        [
            lambda size: transformers.Gemma2Config(vocab_size=size, head_dim=8, **GROUPED),
            lambda size: transformers.GptOssConfig(
                vocab_size=size, num_local_experts=3, num_experts_per_tok=2, head_dim=8, **GROUPED
            ),
        ],
        ids=["soft cap", "sinks"],
    )
    def test_a_base_with_another_attention(self, tmp_path: Path, config: Callable[[int], Any]) -> None:
        with pytest.raises(BaseModelError, match="soft cap or sinks"):
            load(str(save_model(tmp_path, config)))

    def test_a_base_whose_attention_cannot_be_exchanged(self, tmp_path: Path) -> None:
        config = transformers.GPTJConfig
        folder = save_model(
            tmp_path,
            lambda size: config(vocab_size=size, n_embd=32, n_layer=2, n_head=4, rotary_dim=4, eos_token_id=1),
        )
        with pytest.raises(BaseModelError, match="attention cannot be exchanged"):
            load(str(folder))

    @pytest.mark.parametrize("family", ["llama", "gpt2"])
    def test_truncated_weights_are_named(self, folder_of: Callable[[str], Path], tmp_path: Path, family: str) -> None:
        for path in folder_of(family).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        with pytest.raises(BaseModelError) as caught:
            load(str(tmp_path))
        assert str(tmp_path) in str(caught.value.where)

    def test_a_kind_that_transformers_does_not_know(self, copied: Path) -> None:
        with pytest.raises(BaseModelError, match="could not be loaded"):
            load(rewrite(copied, model_type="nosuchkind"))

    def test_a_base_without_an_end_token(self, copied: Path) -> None:
        with pytest.raises(BaseModelError, match="no end token"):
            load(rewrite(copied, eos_token_id=None))

    def test_a_base_that_wants_to_run_code_of_its_own(self, copied: Path) -> None:
        with pytest.raises(BaseModelError, match="auto_map"):
            load(rewrite(copied, auto_map={"AutoModelForCausalLM": "evil.Model"}))

    def test_pickled_weights(self, copied: Path) -> None:
        (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
        with pytest.raises(BaseModelError, match="pickled weights are not read"):
            load(str(copied))

    @pytest.mark.parametrize("changed", [{"num_hidden_layers": 3}, {"intermediate_size": 40}, {"vocab_size": 17}])
    def test_weights_that_belong_to_another_config(self, copied: Path, changed: dict[str, int]) -> None:
        with pytest.raises(BaseModelError, match=r"lack|in the weights and"):
            load(rewrite(copied, **changed))
