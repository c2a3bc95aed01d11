"""The tensors of a base's folder, on the device and checked against its config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fewtune.engine.stored_weights import open_weights
from fewtune.errors import BaseModelError


class Weights:
    """Read one at a time, when asked for.

    Matrices come in a type of their own where one is given.
    Raises BaseModelError for files that cannot be read, and for tensors that are missing or of another shape.
    """

    def __init__(
        self, folder: Path, device: torch.device, dtype: torch.dtype, matrices: torch.dtype | None = None
    ) -> None:
        self._stored, self._device, self._dtype = open_weights(folder), device, dtype
        self._matrices = matrices or dtype

    def __contains__(self, name: str) -> bool:
        return name in self._stored.places

    def take(self, name: str, *shape: int) -> Tensor:
        """The named tensor, which must have this shape."""
        where = str(self._stored.folder)
        if name not in self:
            raise BaseModelError(
                f"The base's weights lack {name}.",
                where=where,
                fix="The folder is incomplete, or its config.json belongs to another base.",
            )
        if self._stored.shape(name).sizes != shape:
            has = self._stored.shape(name).sizes
            raise BaseModelError(f"{name} is {has} in the weights and {shape} by config.json.", where=where)
        return self._stored.read(name).to(self._device, self._matrices if len(shape) == 2 else self._dtype)

    def join(self, names: Sequence[str], rows: Sequence[int], *rest: int) -> Tensor:
        """Several tensors one below the other, with their numbers of rows."""
        return torch.cat([self.take(name, count, *rest) for name, count in zip(names, rows, strict=True)])
