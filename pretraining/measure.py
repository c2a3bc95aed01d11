"""How well a model predicts text that it never saw, and how fast a machine multiplies."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from pretraining.corpus import Book
from pretraining.model import CONTEXT

_ROWS = {"cuda": 64, "cpu": 4}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A held-out book, ready to be read."""

    title: str
    author: str
    ids: Tensor
    size: int
    """Bytes of its text as UTF-8."""


def measures(books: Sequence[Book], tokenizer: Tokenizer) -> list[Measure]:
    encodings = tokenizer.encode_batch([book.text for book in books])
    return [
        Measure(title=book.title, author=book.author, ids=torch.tensor(one.ids), size=len(book.text.encode("utf-8")))
        for book, one in zip(books, encodings, strict=True)
    ]


@torch.inference_mode()
def bits_per_byte(model: nn.Module, book: Measure) -> float:
    """Mean negative log2-likelihood of a byte of the text, read in windows that overlap by half a context.

    Each token is scored once, with at least half a context before it except at the very start.
    """
    device = next(model.parameters()).device
    half, length = CONTEXT // 2, len(book.ids)
    missing = -(length - CONTEXT) % half if length > CONTEXT else CONTEXT - length
    padded = functional.pad(book.ids, (0, missing), value=-1)
    rows = padded.unfold(0, CONTEXT, half).split(_ROWS[device.type])
    nats = [_nats(model, part.to(device), is_first=number == 0) for number, part in enumerate(rows)]
    return math.fsum(nats) / math.log(2) / book.size


def _nats(model: nn.Module, rows: Tensor, *, is_first: bool) -> float:
    """Sum over the second half of each row (B, T), and over the whole of the text's first row."""
    targets = torch.where(rows < 0, -100, rows)[:, 1:].clone()
    targets[1 if is_first else 0 :, : CONTEXT // 2 - 1] = -100
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=rows.is_cuda):
        logits = model(rows.clamp(min=0)[:, :-1])
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return float(losses.sum(dtype=torch.float64))


def computes_in_bf16(device: torch.device) -> bool:
    """Whether training does: on CUDA, and on processors with units for matrices of bf16 (Intel's AMX)."""
    return device.type == "cuda" or (device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False))


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large product, 8192 cubed on CUDA, elsewhere (1024 x 896) by (896 x 4864), in what is trained in."""
    kind = torch.bfloat16 if computes_in_bf16(device) else torch.float32
    on_gpu = device.type == "cuda"
    rows, inner, columns, times = (8192, 8192, 8192, 20) if on_gpu else (1024, 896, 4864, 50)
    left = torch.randn(rows, inner, device=device, dtype=kind)
    right = torch.randn(inner, columns, device=device, dtype=kind)
    for repeats in (3, times):
        started = time.perf_counter()
        for _ in range(repeats):
            left @ right
        if on_gpu:
            torch.cuda.synchronize()
    return 2 * rows * inner * columns * times / (time.perf_counter() - started)
