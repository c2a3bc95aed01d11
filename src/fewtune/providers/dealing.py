"""Who trains what: trials dealt to the nodes of a cluster, each getting as much as it can do and hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one node offers."""

    speed: float
    """Beside the other nodes, in any unit."""
    most: int
    """Trials that it can train at a time."""


def deal(work: Mapping[str, float], rooms: Mapping[str, Room]) -> dict[str, tuple[str, ...]]:
    """Trials by node, the longest dealt first and each to the node that would be done with it soonest.

    `work` is what each trial has before it, in any unit. What finds no room is left out and has to wait.
    """
    loads, dealt = dict.fromkeys(rooms, 0.0), {node: list[str]() for node in rooms}
    for trial in sorted(work, key=lambda trial: -work[trial]):
        free = [node for node in rooms if len(dealt[node]) < rooms[node].most]
        if not free:
            break
        node = min(free, key=lambda node: (loads[node] + work[trial]) / rooms[node].speed)
        loads[node] += work[trial]
        dealt[node].append(trial)
    return {node: tuple(trials) for node, trials in dealt.items() if trials}
