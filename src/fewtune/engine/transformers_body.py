"""Any causal language model that transformers loads, taught to read tokens laid side by side.

Three kinds of module are changed in place, by a `forward` of our own: the linear layers ask which
adapter a token goes through, the attention keeps examples apart, and a block can be passed over.
What the current pass wants is told through a context variable, so that threads do not meet.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from fewtune.engine.attention import Attention
from fewtune.engine.lora import Group, Site
from fewtune.engine.routing import Routing, adapted_linear, low_rank
from fewtune.errors import BaseModelError

_ATTENTION = "fewtune_packed"
"""Name under which transformers finds the attention below."""


@dataclass(kw_only=True)
class _Pass:
    """What the modules must know of the pass that is running in their thread."""

    attention: Attention
    routing: Routing | None = None
    first: int = 0
    prefix: Tensor | None = None
    end: int | None = None
    """With an end, blocks from there on are passed over and the last output is kept here."""
    output: Tensor | None = None


_current: ContextVar[_Pass] = ContextVar("current")


class TransformersBody:
    """See `body.Body` for what its methods promise."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, *, four_bit: bool = False) -> None:
        model = _load(folder, device, dtype, four_bit)
        self.dtype = dtype
        self._body: Any = model.base_model
        head = model.get_output_embeddings()
        self.head: Tensor = head.weight
        self.head_bias: Tensor | None = getattr(head, "bias", None)
        self.width: int = self.head.shape[1]
        self.parameters: int = model.num_parameters()
        blocks = _blocks(model)
        self.layers: int = len(blocks)
        self.groups = _adapt_linear_layers(model, head, blocks)
        for index, (_, block) in enumerate(blocks):
            _make_passable(block, index)
        _check_logits(model, self, folder)

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
        states = self._run(ids, positions, _Pass(attention=attention, routing=routing, first=first, prefix=prefix))
        return states if select is None else states.index_select(0, select)

    def prefix(self, ids: Tensor, positions: Tensor, attention: Attention, end: int) -> Tensor:
        running = _Pass(attention=attention, end=end)
        self._run(ids, positions, running)
        if running.output is None:
            raise RuntimeError("the blocks of the base were not run")
        return running.output

    def _run(self, ids: Tensor, positions: Tensor, running: _Pass) -> Tensor:
        token = _current.set(running)
        try:
            output = self._body(
                input_ids=ids[None],
                position_ids=positions[None],
                # A 4-D mask is passed through untouched; the attention below needs none.
                attention_mask=ids.new_zeros((1, 1, 1, 1)),
                use_cache=False,
            )
        finally:
            _current.reset(token)
        return output.last_hidden_state[0]


def _load(folder: Path, device: torch.device, dtype: torch.dtype, four_bit: bool) -> Any:
    from safetensors import SafetensorError

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation=_ATTENTION,
            **(_in_four_bits(device, dtype) if four_bit else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = "its attention cannot be exchanged" if error.args == (_ATTENTION,) else error
        raise BaseModelError(f"The base could not be loaded: {reason}.", where=str(folder)) from error
    return model.requires_grad_(False).eval().to(device)


def _in_four_bits(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The linear layers of the blocks as bitsandbytes keeps them: Dettmers et al., "QLoRA" (2023)."""
    kept = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return {"quantization_config": kept, "device_map": {"": device}}


def _blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The stack of equal blocks, with their paths: of the outermost lists of modules the longest."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise BaseModelError("The base has no stack of blocks.")
    name, blocks = max(lists, key=lambda found: (-found[0].count("."), len(found[1])))
    return [(f"{name}.{index}", block) for index, block in enumerate(blocks)]


def _adapt_linear_layers(model: nn.Module, head: nn.Module, blocks: list[tuple[str, nn.Module]]) -> tuple[Group, ...]:
    """Let every linear layer of the blocks ask for its adapter; in a mixture of experts, those of the attention."""
    experts = is_mixture(model)
    groups: list[Group] = []
    for index, (path, block) in enumerate(blocks):
        for name, layer in block.named_modules():
            if layer is head or not isinstance(layer, nn.Linear | Conv1D):
                continue
            if experts and not re.search("attn|attention", name):
                continue
            group = Group(layer=index, sites=(_site(f"{path}.{name}", layer),))
            _adapt(layer, group.name)
            groups.append(group)
    if not groups:
        raise BaseModelError("The base has no linear layer to adapt.")
    return tuple(groups)


def is_mixture(model: nn.Module) -> bool:
    """Whether the base is a mixture of experts: those are not adapted, for each sees few of the tokens."""
    return any("experts" in name.rpartition(".")[2] for name, _ in model.named_modules())


def _site(name: str, layer: nn.Linear | Conv1D) -> Site:
    if isinstance(layer, Conv1D):
        return Site(name=name, inputs=layer.nx, outputs=layer.nf, transposed=True)
    return Site(name=name, inputs=layer.in_features, outputs=layer.out_features)


def _adapt(layer: Any, group: str) -> None:
    """Let a linear layer ask which adapter each token goes through."""
    bare, kind = layer.forward, type(layer)
    transposed = issubclass(kind, Conv1D)
    plain = transposed or kind is nn.Linear

    def forward(x: Tensor) -> Tensor:
        routing, rows = _current.get().routing, x.reshape(-1, x.shape[-1])
        if not plain:
            added = low_rank(rows, group, routing)
            return bare(x) if added is None else bare(x) + added.view(*x.shape[:-1], -1)
        weight = layer.weight.T if transposed else layer.weight
        return adapted_linear(rows, weight, layer.bias, group, routing).view(*x.shape[:-1], -1)

    layer.forward = forward


def _make_passable(block: Any, index: int) -> None:
    """Let a block give back its input below a cached prefix and above the end of one that is being made."""
    bare = block.forward

    def forward(hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
        running = _current.get()
        if index < running.first or (running.end is not None and index >= running.end):
            return hidden_states
        if running.prefix is not None and index == running.first:
            hidden_states = running.prefix[None]
        output = bare(hidden_states, *arguments, **named)
        if running.end == index + 1:
            running.output = output[0]
        return output

    block.forward = forward


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **named: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface, (1, heads, T, D) in and (1, T, heads, D) out, over ours."""
    if named.get("softcap") is not None or named.get("s_aux") is not None:
        raise BaseModelError("The base's attention has a soft cap or sinks, which are not supported.")
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    window = named.get("sliding_window")
    mixed = _current.get().attention(module.layer_idx, query, key, value, named.get("scaling"), window)
    return mixed[None], None


@torch.inference_mode()
def _check_logits(model: Any, body: TransformersBody, folder: Path) -> None:
    """Some kinds scale between body and head, some mix tokens outside of attention: better refused than wrong."""
    from fewtune.engine.attention import PackedAttention

    def alone(ids: Tensor) -> Tensor:
        token = _current.set(_Pass(attention=PackedAttention([4])))
        try:
            return model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0]
        finally:
            _current.reset(token)

    ids, positions = torch.arange(8, device=body.head.device), torch.arange(4, device=body.head.device)
    try:
        states = body.states(ids, positions.repeat(2), PackedAttention([4, 4]))
        ours = torch.nn.functional.linear(states, body.head, body.head_bias)
        whole = torch.cat([alone(part) for part in ids.split(4)])
    except BaseModelError:
        raise
    except Exception as error:  # A kind that is built in another way fails in a way of its own.
        raise _refused(model, f"{type(error).__name__} in transformers", folder) from error
    if not _equal(ours.float(), whole.float(), exact=ours.dtype == torch.float32):
        raise _refused(model, "they scale their logits, or mix tokens elsewhere than in attention", folder)


def _equal(ours: Tensor, whole: Tensor, exact: bool) -> bool:
    """In bf16 a logit near zero may be off by more than its own size: there the whole is judged."""
    if exact:
        return torch.allclose(ours, whole, rtol=1e-2, atol=1e-2)
    return bool((ours - whole).norm() < 0.03 * whole.norm())


def _refused(model: Any, reason: str, folder: Path) -> BaseModelError:
    return BaseModelError(
        f"Bases of the kind {model.config.model_type!r} cannot be tuned: {reason}.",
        where=str(folder),
        fix="Choose a base of another kind, such as Llama, Qwen, Mistral, GPT-2 or GPT-NeoX.",
    )


AttentionInterface.register(_ATTENTION, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(_ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
