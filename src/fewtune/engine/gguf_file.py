"""Merged weights of the Llama family as one GGUF file, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from fewtune.data.encode import Encoder
from fewtune.engine.gguf_tokenizer import read_vocabulary
from fewtune.engine.merging import Merged, copy_companions
from fewtune.engine.modelfile import served_template
from fewtune.engine.stored_weights import WHOLE, content_of, shape_as, write_weights
from fewtune.errors import BaseModelError

_ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    # To llama.cpp Mistral is a Llama.
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
}
_QUANTIZATION_VERSION = 2
_BUFFER = "rotary_emb.inv_freq"
"""Old checkpoints keep the rotary frequencies, which the config says as well."""


class UnknownFamily(BaseModelError):
    """A base that is not written here; llama.cpp's own converter may know it."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where each tensor of the base goes, and how it is laid down there."""

    config: Mapping[str, Any]
    architecture: gguf.MODEL_ARCH
    names: Mapping[str, str]
    """The base's name for a tensor to GGUF's, in the order of the file."""

    @property
    def head_width(self) -> int:
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"])

    @property
    def key_heads(self) -> int:
        return int(self.config.get("num_key_value_heads") or self.config["num_attention_heads"])

    def heads_to_reorder(self, name: str) -> int | None:
        """llama.cpp rotates neighbours where transformers rotates halves: for Llama q and k are stored to match."""
        if self.architecture is not gguf.MODEL_ARCH.LLAMA:
            return None
        layer = name.rpartition(".")[0]
        if layer.endswith("q_proj"):
            return int(self.config["num_attention_heads"])
        return self.key_heads if layer.endswith("k_proj") else None

    def laid_down(self, name: str, tensor: Tensor) -> Tensor:
        """As GGUF wants it: matrices in F16, what has one dimension in F32, both as the next file has it."""
        heads = self.heads_to_reorder(name)
        ordered = interleaved(tensor.float(), heads) if heads else tensor.float()
        return ordered.to(_dtype(tuple(tensor.shape)))

    def taken_up(self, name: str, tensor: Tensor) -> Tensor:
        """The opposite of `laid_down`, but for the rounding."""
        heads = self.heads_to_reorder(name)
        return halved(tensor, heads) if heads else tensor


def _dtype(sizes: tuple[int, ...]) -> torch.dtype:
    # F16 rather than BF16: every llama.cpp reads it, CPUs and GPUs are fast at it, and it keeps 11 binary digits
    # where BF16 keeps 8. Weights stay far below 65504, its largest number; where one does not, `write` refuses.
    return torch.float16 if len(sizes) > 1 else torch.float32


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Rows (heads, 2, half, ...) as (heads, half, 2, ...)."""
    return tensor.view(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def halved(tensor: Tensor, heads: int) -> Tensor:
    """The opposite of `interleaved`."""
    return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def write(file: Path, merged: Merged, name: str, encoder: Encoder) -> None:
    """Write the merged weights with the base's config and tokenizer; `name` is what the model calls itself.

    Sums are rounded once, from fp32 to F16. Raises UnknownFamily or UnknownTokenizer for a base that is not
    known to the letter, BaseModelError for weights beyond F16's range, OSError where writing fails.
    """
    base = merged.weights.folder
    layout = _layout(merged)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[layout.architecture])
    _write_metadata(writer, layout, name)
    read_vocabulary(base, layout.config).write(writer)
    writer.add_chat_template(served_template(encoder))
    if encoder.chat and encoder.chat.stop_id != encoder.end_id:
        writer.add_eot_token_id(encoder.chat.stop_id)
    extra = _rotary_factors(layout)
    if extra is not None:
        writer.add_tensor_info("rope_freqs.weight", extra.shape, extra.numpy().dtype, extra.nbytes)
    for source, target in layout.names.items():
        sizes = merged.weights.shape(source).sizes
        stored = shape_as(merged.weights.shape(source), _dtype(sizes))
        writer.add_tensor_info(target, sizes, torch.empty(0, dtype=_dtype(sizes)).numpy().dtype, stored.bytes)
    try:
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if extra is not None:
            _append(writer, extra)
        for source in layout.names:
            _append(writer, _finite(layout.laid_down(source, merged.tensor(source)), source, base))
    finally:
        writer.close()


def _append(writer: gguf.GGUFWriter, tensor: Tensor) -> None:
    # Not the writer's own `write_tensor_data`: numpy's `tofile` hides from us that a disk is full.
    for opened in writer.fout or ():
        writer.write_padding(opened, opened.tell())
        opened.write(content_of(tensor))
        writer.write_padding(opened, tensor.nbytes)


def _finite(tensor: Tensor, name: str, base: Path) -> Tensor:
    if not tensor.isfinite().all():
        raise BaseModelError(
            f"{name} has values beyond what F16 holds.", where=str(base), fix="Export in the format merged."
        )
    return tensor


def _layout(merged: Merged) -> _Layout:
    base = merged.weights.folder
    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    architecture = _ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None:
        raise _unknown(base, f"bases of the kind {config.get('model_type')!r} are not written here")
    _check_attention(config, base)
    known = gguf.get_tensor_name_map(architecture, int(config["num_hidden_layers"]))
    names: dict[str, str] = {}
    for name in merged.weights.names:
        if name.endswith(_BUFFER) or (name == "lm_head.weight" and config.get("tie_word_embeddings")):
            continue
        target = known.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise _unknown(base, f"there is no place in GGUF for its tensor {name}")
        names[name] = target
    return _Layout(config=config, architecture=architecture, names=names)


def _unknown(base: Path, why: str) -> UnknownFamily:
    return UnknownFamily(
        f"The base cannot be written as GGUF: {why}.",
        where=str(base),
        fix="Export in the format merged and convert that folder with llama.cpp.",
    )


def _check_attention(config: Mapping[str, Any], base: Path) -> None:
    """Refuse what llama.cpp would compute otherwise without a word."""
    rope = _rope(config)
    kind, share = rope.get("rope_type", rope.get("type", "default")), rope.get("partial_rotary_factor", 1.0)
    window = config.get("sliding_window")
    in_effect = config.get("use_sliding_window", config["model_type"] == "mistral")
    if kind not in ("default", "llama3") or share != 1.0:
        raise _unknown(base, f"its rotary embedding is of the kind {kind!r}, with a share of {share:g}")
    if window and in_effect and window < int(config["max_position_embeddings"]):
        raise BaseModelError(
            f"The base's attention sees {window} tokens back; in a GGUF file llama.cpp would let it see all of them.",
            where=str(base),
            fix="Export in the format merged.",
        )
    if config.get("hidden_act", "silu") != "silu":
        raise _unknown(base, f"its activation is {config['hidden_act']!r}")


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _theta(config: Mapping[str, Any]) -> float:
    return float(_rope(config).get("rope_theta") or config.get("rope_theta") or 10_000.0)


def _write_metadata(writer: gguf.GGUFWriter, layout: _Layout, name: str) -> None:
    config = layout.config
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(_QUANTIZATION_VERSION)
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_head_count_kv(layout.key_heads)
    writer.add_key_length(layout.head_width)
    writer.add_value_length(layout.head_width)
    writer.add_rope_dimension_count(layout.head_width)
    writer.add_rope_freq_base(_theta(config))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))


def _rotary_factors(layout: _Layout) -> Tensor | None:
    """Llama 3's stretched rotary embedding: what each frequency is divided by; None where nothing is stretched."""
    rope = _rope(layout.config)
    if rope.get("rope_type", rope.get("type", "default")) != "llama3":
        return None
    exponents = torch.arange(0, layout.head_width, 2, dtype=torch.float64) / layout.head_width
    turns = rope["original_max_position_embeddings"] / (2 * math.pi * _theta(layout.config) ** exponents)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    # Fast frequencies stay, slow ones are divided, and between them it goes over from one to the other.
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 / (kept + (1 - kept) / rope["factor"])).float()


def read_back(file: Path, merged: Merged, out: Path) -> None:
    """Write what the file says as a base's folder, by the file's own numbers.

    Raises BaseModelError where a number is not the merged one, rounded: the file was damaged on its way to the disk.
    """
    layout = _layout(merged)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}

    def content(source: str) -> bytes:
        tensor = stored[layout.names[source]]
        found = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        if not torch.equal(found.to(_dtype(tuple(found.shape))), layout.laid_down(source, merged.tensor(source))):
            raise BaseModelError(f"{source} is not in the file as it was written.", where=str(file), fix="Try again.")
        return content_of(layout.taken_up(source, found))

    shapes = {source: shape_as(merged.weights.shape(source), torch.float32) for source in layout.names}
    write_weights(out / WHOLE, shapes, content)
    copy_companions(merged.weights.folder, out, with_index=False)
