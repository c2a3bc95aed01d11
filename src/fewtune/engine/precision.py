"""In which numbers a base is kept, and what its matrices are multiplied with."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import torch

from fewtune.engine import devices, llama
from fewtune.errors import UsageError
from fewtune.types import Precision

_SETTING = "FEWTUNE_PRECISION"


def chosen(asked: Precision | None, device: torch.device) -> Precision:
    """What is asked for; unasked bf16 on CUDA and fp32 elsewhere.

    Raises UsageError for what the device cannot do, or does slower than what it does unasked.
    """
    if asked == "4bit":
        check_four_bit(device)
    elif asked == "bf16":
        _check_bf16(device)
    elif asked == "fp32" and device.type == "cuda":
        raise UsageError(
            "On CUDA a base is kept, and computed, in bf16; fp32 is there on a CPU only.",
            where=_SETTING,
            fix="Turn the setting off, or hide the GPU: CUDA_VISIBLE_DEVICES=''.",
        )
    return asked or ("bf16" if device.type == "cuda" else "fp32")


def own_blocks(config: Mapping[str, Any], precision: Precision, device: torch.device) -> bool:
    """Whether the base's blocks are ours, else transformers'; raises UsageError where those cannot be had so."""
    ours = llama.supports(config) and precision != "4bit"
    if precision == "bf16" and device.type == "cpu" and not ours:
        raise UsageError(
            f"bf16 on a CPU takes a base of the Llama family; this one, a {config.get('model_type')!r}, runs in "
            "transformers.",
            where=_SETTING,
            fix="Turn the setting off for it.",
        )
    return ours


def multiplies_bf16() -> bool:
    """Whether this CPU has units for products in bf16, which are several times as fast as those in fp32.

    Without them torch computes the products all the same, some slower than in fp32.
    """
    # From torch 2.11 on; before it nothing is known, so nothing is promised.
    known = getattr(torch.cpu, "get_capabilities", dict[str, Any])
    return bool(known().get("amx_bf16"))


def _check_bf16(device: torch.device) -> None:
    if device.type == "cuda" or (device.type == "cpu" and multiplies_bf16()):
        return
    lacks = (
        "torch finds none (amx_bf16) in this CPU" if device.type == "cpu" else f"this machine computes on {device.type}"
    )
    raise UsageError(
        f"bf16 without CUDA takes a CPU with matrix units for it, Intel AMX; {lacks}.",
        where=_SETTING,
        fix="Turn the setting off, or use a machine that has them, such as an Intel Xeon of the fourth generation.",
    )


def check_four_bit(device: torch.device) -> None:
    """Raises UsageError where a base cannot be kept in 4 bits: without CUDA, or without the library."""
    if device.type != "cuda":
        raise UsageError(
            f"A base in 4 bits takes CUDA; this machine computes on {device.type}.",
            where="FEWTUNE_FOUR_BIT",
            fix="Turn the setting off, or use a machine with an NVIDIA GPU.",
        )
    missing = next((name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None), None)
    if missing:
        raise UsageError(
            f"A base in 4 bits takes {missing}, which is not installed.",
            where="FEWTUNE_FOUR_BIT",
            fix="Install it with: pip install 'fewtune[cuda]'.",
        )


def told(asked: Precision | None = None) -> str:
    """What training will use, for people; raises UsageError as `chosen`."""
    device = devices.best()
    kept = chosen(asked, device)
    if device.type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(0)}, bf16{', the base in 4 bits' if kept == '4bit' else ''}"
    if device.type == "mps":
        return "Apple GPU (MPS), fp32"
    return f"CPU, {'bf16 products' if kept == 'bf16' else 'fp32'}, {devices.cores()} cores"
