"""What the frozen lower blocks make of an example, computed once and kept for every epoch and every trial."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from fewtune.data.encode import Encoded
from fewtune.engine.attention import PackedAttention
from fewtune.engine.body import Body
from fewtune.errors import from_os_error

BYTES_IN_MEMORY = 2**30
"""Of all workers together; beyond this, activations are kept in files. At width 512 some 500 tokens are a MB."""

Key = tuple[int, tuple[int, ...]]


class Prefixes:
    """Outputs (length, D) of the block below `first`, by first block and token ids; safe between threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._kept: dict[Key, Tensor] = {}
        self._bytes = 0

    def of(self, body: Body, examples: Sequence[Encoded], first: int) -> Tensor:
        """(T, D) for examples laid side by side; each is computed alone, so its numbers never depend on others."""
        return torch.cat([self._of(body, example, first) for example in examples])

    def _of(self, body: Body, example: Encoded, first: int) -> Tensor:
        key = first, example.ids
        with self._lock:
            found = self._kept.get(key)
        if found is None:
            computed = _compute(body, example, first)
            with self._lock:
                found = self._kept.get(key)
                if found is None:
                    found = self._kept[key] = self._place(computed)
        return found.to(body.head.device)

    def _place(self, states: Tensor) -> Tensor:
        """The same states in memory, or in the file once the limit is reached."""
        self._bytes += states.numel() * states.element_size()
        return states if self._bytes <= self._limit else _in_file(states)


@torch.no_grad()
def _compute(body: Body, example: Encoded, first: int) -> Tensor:
    device = body.head.device
    ids = torch.tensor(example.ids, device=device)
    return body.prefix(ids, torch.arange(len(ids), device=device), PackedAttention([len(ids)]), first)


def _in_file(states: Tensor) -> Tensor:
    """A copy in a file without a name, which goes with it; the operating system decides what stays in memory."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="fewtune-")
        try:
            # Written, not mapped: on a full disk that is an error, where a mapping would kill the process.
            with open(descriptor, "wb") as file:
                file.write(states.cpu().contiguous().view(torch.uint8).numpy().tobytes())
            return torch.from_file(path, shared=False, size=states.numel(), dtype=states.dtype).view(states.shape)
        finally:
            # Windows removes no file that is mapped, and empties its temporary folder by itself.
            with suppress(PermissionError):
                os.unlink(path)
    except OSError as error:
        raise from_os_error(error, "keep the activations of the frozen blocks", Path(tempfile.gettempdir())) from error
