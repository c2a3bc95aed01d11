"""Which examples meet in which step; a pure function of the seed, so a resumed run needs no saved state."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

Item = TypeVar("Item")


def steps_per_epoch(rows: int, batch_size: int) -> int:
    return math.ceil(rows / batch_size)


@lru_cache(maxsize=128)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """Positions 0..rows-1 in the order in which this epoch reads them; each position once.

    Kept, since every step asks: to shuffle for sixteen trials takes a quarter of a GPU's step.
    """
    order = list(range(rows))
    # A string seed is hashed with SHA-512 by `random`, the same on every machine and Python version.
    random.Random(f"order {seed} {epoch}").shuffle(order)
    return tuple(order)


def batch_at(items: Sequence[Item], batch_size: int, seed: int, step: int) -> list[Item]:
    """The items of optimizer step `step`, counted from 0 over all epochs; an epoch's last batch may be short."""
    epoch, within = divmod(step, steps_per_epoch(len(items), batch_size))
    positions = epoch_order(len(items), seed, epoch)[within * batch_size : (within + 1) * batch_size]
    return [items[position] for position in positions]
