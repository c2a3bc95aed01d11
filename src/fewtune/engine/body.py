"""What the engine asks of a base: hidden states for tokens laid side by side."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fewtune.engine.attention import Attention
from fewtune.engine.lora import Group
from fewtune.engine.routing import Routing


class Body(Protocol):
    """A frozen causal language model of width D; safe to be used by several threads at once."""

    @property
    def layers(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def parameters(self) -> int:
        """How many, tied ones counted once."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of activations."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """What can be adapted, lowest block first."""
        ...

    @property
    def head(self) -> Tensor:
        """(V, D) the matrix that makes logits of hidden states."""
        ...

    @property
    def head_bias(self) -> Tensor | None: ...

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
        """Last hidden states of tokens (T,) at the selected places (P,), all without: (P, D).

        With a prefix (T, D), the output of block `first` - 1, the work begins at block `first`.
        """
        ...

    def prefix(self, ids: Tensor, positions: Tensor, attention: Attention, end: int) -> Tensor:
        """(T, D): the output of block `end` - 1 of the bare base."""
        ...
