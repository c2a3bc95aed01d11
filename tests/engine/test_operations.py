from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import silu
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb

from fewtune.engine.operations import rms_norm, rotate, rotations, swiglu


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def turns(config: LlamaConfig) -> tuple[Tensor, Tensor]:
    cosines, sines = rotations(config.to_dict(), config.head_dim, torch.device("cpu"))
    return cosines[:5, None].double(), sines[:5, None].double()


class TestRmsNorm:
    def test_it_divides_by_the_root_of_the_mean_square(self) -> None:
        x, weight = drawn(4, 6), drawn(6)
        expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight
        torch.testing.assert_close(rms_norm(x, weight, 1e-5), expected)

    def test_its_gradient_is_the_numerical_one(self) -> None:
        assert gradcheck(lambda x: rms_norm(x, drawn(6), 1e-5), (drawn(4, 6).requires_grad_(),))


class TestSwiglu:
    def test_it_is_silu_of_the_first_half_times_the_second(self) -> None:
        x = drawn(4, 6)
        torch.testing.assert_close(swiglu(x), silu(x[:, :3]) * x[:, 3:])

    def test_its_gradient_is_the_numerical_one(self) -> None:
        assert gradcheck(swiglu, (drawn(4, 6).requires_grad_(),))


class TestRotate:
    @pytest.mark.parametrize("base", [10000.0, 500000.0])
    def test_it_turns_as_transformers_does(self, base: float) -> None:
        config = LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=64, rope_theta=base)
        places = torch.tensor([0, 1, 17, 63])
        x = drawn(4, 3, 8, dtype=torch.float32)
        cosines, sines = rotations(config.to_dict(), 8, torch.device("cpu"))
        theirs = LlamaRotaryEmbedding(config)(x, places[None])
        expected, _ = apply_rotary_pos_emb(x.transpose(0, 1)[None], x.transpose(0, 1)[None], *theirs)
        ours = rotate(x, cosines[places][:, None], sines[places][:, None])
        torch.testing.assert_close(ours, expected[0].transpose(0, 1))

    def test_its_gradient_is_the_numerical_one(self) -> None:
        config = LlamaConfig(hidden_size=32, num_attention_heads=4, max_position_embeddings=64)
        assert gradcheck(lambda x: rotate(x, *turns(config)), (drawn(5, 3, 8).requires_grad_(),))
