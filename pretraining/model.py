"""A Llama in plain torch, to be trained: what `torch.compile` turns into few kernels.

transformers' own Llama builds an attention mask while it is compiled, and then misses the fast kernels. This one names
its parameters as transformers does, so that export is a matter of writing them down; a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pretraining.tokenizer import VOCABULARY_SIZE

CONTEXT = 1024
ROPE_THETA = 10000.0
HEAD_WIDTH = 64
EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a base. `hidden` is `heads` times 64."""

    hidden: int
    layers: int
    key_heads: int
    inner: int

    @property
    def heads(self) -> int:
        return self.hidden // HEAD_WIDTH


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.q_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.key_heads * HEAD_WIDTH, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.key_heads * HEAD_WIDTH, bias=False)
        self.o_proj = nn.Linear(shape.hidden, shape.hidden, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, seen: Tensor | None) -> Tensor:
        query, key, value = (_heads(project(x)) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key = (_rotate(states, cosine, sine) for states in (query, key))
        if seen is None:
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
        else:  # the fast kernel that takes a mask wants as many keys as queries
            key, value = (states.repeat_interleave(len(query[0]) // len(key[0]), dim=1) for states in (key, value))
            mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


def _heads(states: Tensor) -> Tensor:
    return states.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)  # (B, heads, T, width)


def _rotate(states: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = states.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return states * cosine.to(states.dtype) + turned * sine.to(states.dtype)


class Perceptron(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.inner, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.inner, bias=False)
        self.down_proj = nn.Linear(shape.inner, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Perceptron(shape)
        self.input_layernorm = nn.RMSNorm(shape.hidden, eps=EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(shape.hidden, eps=EPSILON)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, seen: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine, seen)
        return x + self.mlp(self.post_attention_layernorm(x))


class Body(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY_SIZE, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.hidden, eps=EPSILON)


class Llama(nn.Module):
    """Logits (B, T, V) of token ids (B, T); the head is the embedding.

    `seen` (B, 1, T, T) is what a token looks at; without it, all before it.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.model = Body(shape)
        cosine, sine = _angles()
        self.register_buffer("cosine", cosine, persistent=False)
        self.register_buffer("sine", sine, persistent=False)
        self.apply(_initialise)
        for layer in self.model.layers:  # each block starts as the identity
            nn.init.zeros_(layer.self_attn.o_proj.weight)
            nn.init.zeros_(layer.mlp.down_proj.weight)

    def forward(self, ids: Tensor, seen: Tensor | None = None) -> Tensor:
        length = ids.shape[1]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cosine[:length], self.sine[:length], seen)
        return functional.linear(self.model.norm(x), self.model.embed_tokens.weight)


def _angles() -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, width) of every position's rotation, each half of the width alike."""
    frequencies = ROPE_THETA ** (-torch.arange(0, HEAD_WIDTH, 2, dtype=torch.float32) / HEAD_WIDTH)
    angles = torch.outer(torch.arange(CONTEXT, dtype=torch.float32), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
