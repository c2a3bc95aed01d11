"""How well a model predicts text that it never saw, and how fast a machine multiplies."""

from __future__ import annotations

import math
import time

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from pretraining.corpus import Book
from pretraining.model import CONTEXT

_ROWS = {"cuda": 64, "cpu": 4}


@torch.inference_mode()
def bits_per_byte(model: nn.Module, tokenizer: Tokenizer, book: Book) -> float:
    """Mean negative log2-likelihood of a byte of the text, read in windows that overlap by half a context.

    Each token is scored once, with at least half a context before it except at the very start.
    """
    device = next(model.parameters()).device
    ids = torch.tensor(tokenizer.encode(book.text).ids)
    half = CONTEXT // 2
    missing = -(len(ids) - CONTEXT) % half if len(ids) > CONTEXT else CONTEXT - len(ids)
    padded = functional.pad(ids, (0, missing), value=-1)
    rows = padded.unfold(0, CONTEXT, half).split(_ROWS[device.type])
    nats = [_nats(model, part.to(device), is_first=number == 0) for number, part in enumerate(rows)]
    return math.fsum(nats) / math.log(2) / len(book.text.encode("utf-8"))


def _nats(model: nn.Module, rows: Tensor, *, is_first: bool) -> float:
    """Sum over the second half of each row (B, T), and over the whole of the text's first row."""
    targets = torch.where(rows < 0, -100, rows)[:, 1:].clone()
    targets[1 if is_first else 0 :, : CONTEXT // 2 - 1] = -100
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=rows.is_cuda):
        logits = model(rows.clamp(min=0)[:, :-1])
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return float(losses.sum(dtype=torch.float64))


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large product: 8192 cubed in bf16 on CUDA, elsewhere (1024 x 896) by (896 x 4864) in fp32."""
    on_gpu = device.type == "cuda"
    rows, inner, columns, times = (8192, 8192, 8192, 20) if on_gpu else (1024, 896, 4864, 50)
    kind = torch.bfloat16 if on_gpu else torch.float32
    left = torch.randn(rows, inner, device=device, dtype=kind)
    right = torch.randn(inner, columns, device=device, dtype=kind)
    for repeats in (3, times):
        started = time.perf_counter()
        for _ in range(repeats):
            left @ right
        if on_gpu:
            torch.cuda.synchronize()
    return 2 * rows * inner * columns * times / (time.perf_counter() - started)
