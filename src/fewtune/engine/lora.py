"""Low-rank adapters over frozen linear layers: W x + (alpha / rank) B A x (Hu et al., "LoRA", 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fewtune.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Site:
    """One linear layer that is adapted."""

    name: str
    """Path of the module inside the base, as PEFT writes it."""
    inputs: int
    outputs: int
    transposed: bool = False
    """GPT-2 keeps its weights as (inputs, outputs); PEFT calls that fan_in_fan_out."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sites that read the same input, so that their A's are one matrix; most often one site, or q, k and v."""

    layer: int
    """The block it stands in, counted from 0."""
    sites: tuple[Site, ...]

    @property
    def name(self) -> str:
        return self.sites[0].name

    @property
    def inputs(self) -> int:
        return self.sites[0].inputs

    @property
    def outputs(self) -> int:
        return sum(site.outputs for site in self.sites)


@dataclass(kw_only=True)
class Adapter:
    """A and B of every site in one flat vector, so that an optimizer step is a handful of vector operations.

    Group after group: the A's of its sites (sites * rank, inputs), then each B, kept as B^T (rank, outputs).
    """

    groups: tuple[Group, ...]
    rank: int
    alpha: int
    flat: Tensor
    """(N,) all parameters, fp32."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @cached_property
    def matrices(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Site name to A (rank, inputs) and B^T (rank, outputs), views of `flat`."""
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for group, parts in zip(self.groups, split(self.flat[None], self.groups, self.rank), strict=True):
            for site, a, b in zip(group.sites, parts[0][0].split(self.rank), parts[1:], strict=True):
                found[site.name] = (a, b[0])
        return found

    def __getstate__(self) -> dict[str, Any]:
        """For another process: as a plain array, since torch would pass a handle to shared memory."""
        return {"groups": self.groups, "rank": self.rank, "alpha": self.alpha, "flat": self.flat.cpu().numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, flat=torch.from_numpy(state["flat"]))


def size(groups: Sequence[Group], rank: int) -> int:
    """Parameters of an adapter."""
    return sum(rank * (len(group.sites) * group.inputs + group.outputs) for group in groups)


def split(flat: Tensor, groups: Sequence[Group], rank: int) -> list[tuple[Tensor, ...]]:
    """Cut stacked adapters (K, N) into each group's A (K, sites * rank, inputs) and B^T's (K, rank, outputs)."""
    parts: list[tuple[Tensor, ...]] = []
    begin = 0
    for group in groups:
        shapes = [(len(group.sites) * rank, group.inputs), *((rank, site.outputs) for site in group.sites)]
        views: list[Tensor] = []
        for rows, columns in shapes:
            views.append(flat[:, begin : begin + rows * columns].view(len(flat), rows, columns))
            begin += rows * columns
        parts.append(tuple(views))
    return parts


def upper(groups: Sequence[Group], share: float, layers: int) -> tuple[Group, ...]:
    """The groups of the upper `share` of the blocks, at least of the last one."""
    first = min(layers - math.ceil(share * layers), layers - 1)
    return tuple(group for group in groups if group.layer >= first)


def lowest_layer(adapter: Adapter) -> int:
    """The first block that the adapter changes; below it everything is the frozen base's."""
    return min(group.layer for group in adapter.groups)


def create(groups: Sequence[Group], rank: int, alpha: int, seed: int, device: torch.device) -> Adapter:
    """A new adapter: A as PEFT draws it (Kaiming uniform, a = sqrt 5), B zero, so it begins as the bare base.

    Raises TrainingError for a rank above the width of a layer.
    """
    sites = [site for group in groups for site in group.sites]
    narrowest = min(sites, key=lambda site: min(site.inputs, site.outputs))
    if rank > min(narrowest.inputs, narrowest.outputs):
        raise TrainingError(
            f"Rank {rank} is above the width of layer {narrowest.name} ({narrowest.outputs} x {narrowest.inputs}).",
            fix="Choose a smaller rank.",
        )
    adapter = empty(groups, rank, alpha, device)
    generator = torch.Generator().manual_seed(seed)
    for site in sites:
        bound = 1 / math.sqrt(site.inputs)
        adapter.matrices[site.name][0].copy_(
            torch.empty(rank, site.inputs).uniform_(-bound, bound, generator=generator)
        )
    return adapter


def empty(groups: Sequence[Group], rank: int, alpha: int, device: torch.device) -> Adapter:
    """An adapter of zeros, which changes nothing."""
    flat = torch.zeros(size(groups, rank), device=device)
    return Adapter(groups=tuple(groups), rank=rank, alpha=alpha, flat=flat)


def average(adapter: Adapter, points: Sequence[Tensor]) -> Adapter:
    """The mean of several points (N,) on the adapter's path ("Averaging Weights", Izmailov et al., 2018).

    A and B are averaged, not their products: along one path they change little between points.
    """
    return replace(adapter, flat=torch.stack(list(points)).mean(dim=0))
