"""The blocks of the Llama family, written for tokens laid side by side.

Llama, SmolLM, Mistral and Qwen 2 need nothing else. It computes what transformers' model computes in
half the operations: one product for matrices that read the same input, gradients written out where
autograd would make copies, no modules. Other families, and variants that `supports` does not know,
run in transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewtune.engine.attention import Attention
from fewtune.engine.lora import Group, Site
from fewtune.engine.operations import rms_norm, rotate, rotations, swiglu
from fewtune.engine.routing import Routing, adapted_linear
from fewtune.engine.weights import Weights

_FAMILIES = ("llama", "mistral", "qwen2")
_LONGEST_COLUMN = 2**14


def supports(config: Mapping[str, Any]) -> bool:
    """Whether nothing in the base's config.json asks for more than these blocks compute."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return (
        config.get("model_type") in _FAMILIES
        and config.get("hidden_act", "silu") == "silu"
        and rope.get("rope_type", rope.get("type", "default")) == "default"
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and not config.get("mlp_bias")
        and not config.get("use_sliding_window")
        and "quantization_config" not in config
    )


@dataclass(frozen=True, kw_only=True)
class _Shape:
    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    epsilon: float
    window: int | None

    @property
    def inputs(self) -> int:
        """Of the attention's output matrix."""
        return self.heads * self.head_width


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Weights of one block; matrices that read the same input stand one below the other."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    output: Tensor
    output_bias: Tensor | None
    feed_forward_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Llama:
    """A frozen base of the Llama family; see `body.Body` for what its methods promise."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        *,
        matrices: torch.dtype | None = None,
    ) -> None:
        """The type is that of norms and activations; matrices may be kept in one of fewer bits."""
        self._shape = _shape(config)
        self.dtype = dtype
        ends = config["vocab_size"], self._shape.width
        weights = Weights(folder, device, dtype, matrices)
        self._embedding = _by_columns(weights.take("model.embed_tokens.weight", *ends))
        self._blocks = [_block(weights, index, self._shape) for index in range(self._shape.layers)]
        self._norm = weights.take("model.norm.weight", self._shape.width)
        tied = config.get("tie_word_embeddings", False)
        self.head = self._embedding if tied else _by_columns(weights.take("lm_head.weight", *ends))
        self.head_bias: Tensor | None = None
        self._groups_of = [_groups(index, self._shape) for index in range(self._shape.layers)]
        self._rotations = rotations(config, self._shape.head_width, device)

    @property
    def layers(self) -> int:
        return self._shape.layers

    @property
    def width(self) -> int:
        return self._shape.width

    @property
    def groups(self) -> tuple[Group, ...]:
        return tuple(group for groups in self._groups_of for group in groups)

    @property
    def parameters(self) -> int:
        blocks = [tensor for block in self._blocks for tensor in vars(block).values() if isinstance(tensor, Tensor)]
        ends = {id(tensor): tensor for tensor in (self._embedding, self.head, self._norm)}
        return sum(tensor.numel() for tensor in (*blocks, *ends.values()))

    def states(
        self,
        ids: Tensor,
        positions: Tensor,
        attention: Attention,
        routing: Routing | None = None,
        *,
        select: Tensor | None = None,
        first: int = 0,
        prefix: Tensor | None = None,
    ) -> Tensor:
        x = self._embedded(ids) if prefix is None else prefix
        x = self._run(x, positions, attention, routing, range(first, self.layers))
        return rms_norm(x if select is None else x.index_select(0, select), self._norm, self._shape.epsilon)

    def prefix(self, ids: Tensor, positions: Tensor, attention: Attention, end: int) -> Tensor:
        return self._run(self._embedded(ids), positions, attention, None, range(end))

    def _embedded(self, ids: Tensor) -> Tensor:
        return self._embedding[ids].to(self.dtype)

    def _run(
        self, x: Tensor, positions: Tensor, attention: Attention, routing: Routing | None, layers: range
    ) -> Tensor:
        """The residual stream (T, D) through the given blocks."""
        cosines, sines = (table[positions][:, None].to(x.dtype) for table in self._rotations)
        epsilon = self._shape.epsilon
        for layer in layers:
            block = self._blocks[layer]
            to_qkv, to_output, to_gate_up, to_down = (group.name for group in self._groups_of[layer])
            h = rms_norm(x, block.attention_norm, epsilon)
            qkv = adapted_linear(h, block.qkv, block.qkv_bias, to_qkv, routing)
            mixed = self._attend(layer, qkv, cosines, sines, attention)
            x = x + adapted_linear(mixed, block.output, block.output_bias, to_output, routing)
            h = rms_norm(x, block.feed_forward_norm, epsilon)
            h = swiglu(adapted_linear(h, block.gate_up, None, to_gate_up, routing))
            x = x + adapted_linear(h, block.down, None, to_down, routing)
        return x

    def _attend(self, layer: int, qkv: Tensor, cosines: Tensor, sines: Tensor, attention: Attention) -> Tensor:
        shape = self._shape
        states = qkv.view(len(qkv), -1, shape.head_width)
        turned, value = states.split([shape.heads + shape.key_heads, shape.key_heads], dim=1)
        query, key = rotate(turned, cosines, sines).split([shape.heads, shape.key_heads], dim=1)
        return attention(layer, query, key, value, None, shape.window).reshape(len(qkv), -1)


def _shape(config: Mapping[str, Any]) -> _Shape:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    return _Shape(
        width=width,
        layers=config["num_hidden_layers"],
        heads=heads,
        key_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or width // heads,
        inner=config["intermediate_size"],
        epsilon=config.get("rms_norm_eps", 1e-6),
        window=config.get("sliding_window") if config["model_type"] == "mistral" else None,
    )


def _groups(layer: int, shape: _Shape) -> tuple[Group, Group, Group, Group]:
    """The adapted layers of one block, named as in the checkpoint."""

    def group(part: str, inputs: int, **outputs: int) -> Group:
        path = f"model.layers.{layer}.{part}"
        sites = (Site(name=f"{path}.{name}", inputs=inputs, outputs=width) for name, width in outputs.items())
        return Group(layer=layer, sites=tuple(sites))

    keys = shape.key_heads * shape.head_width
    return (
        group("self_attn", shape.width, q_proj=shape.inputs, k_proj=keys, v_proj=keys),
        group("self_attn", shape.inputs, o_proj=shape.width),
        group("mlp", shape.width, gate_proj=shape.inner, up_proj=shape.inner),
        group("mlp", shape.inner, down_proj=shape.width),
    )


def _block(weights: Weights, layer: int, shape: _Shape) -> _Block:
    path, width = f"model.layers.{layer}", shape.width
    keys = shape.key_heads * shape.head_width
    qkv, rows = [f"{path}.self_attn.{name}_proj" for name in "qkv"], (shape.inputs, keys, keys)
    output = f"{path}.self_attn.o_proj"
    gate_up = [f"{path}.mlp.{name}_proj.weight" for name in ("gate", "up")]
    return _Block(
        attention_norm=weights.take(f"{path}.input_layernorm.weight", width),
        qkv=_by_columns(weights.join([f"{name}.weight" for name in qkv], rows, width)),
        qkv_bias=weights.join([f"{name}.bias" for name in qkv], rows) if f"{qkv[0]}.bias" in weights else None,
        output=weights.take(f"{output}.weight", width, shape.inputs),
        output_bias=weights.take(f"{output}.bias", width) if f"{output}.bias" in weights else None,
        feed_forward_norm=weights.take(f"{path}.post_attention_layernorm.weight", width),
        gate_up=_by_columns(weights.join(gate_up, (shape.inner, shape.inner), width)),
        down=weights.take(f"{path}.mlp.down_proj.weight", width, shape.inner),
    )


def _by_columns(matrix: Tensor) -> Tensor:
    """The same matrix, in memory one column after the other.

    On a CPU a token alone, as in sampling, passes through a matrix that is higher than wide up to twice
    as fast so, and many tokens as fast as before; not where the columns are very long, and not in bf16.
    """
    suits = matrix.device.type == "cpu" and matrix.dtype == torch.float32 and len(matrix) <= _LONGEST_COLUMN
    return matrix.T.contiguous().T if suits else matrix
