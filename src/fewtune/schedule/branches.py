"""Trunks: plans that differ in epochs alone are one training, read off where each of them ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fewtune.types import Plan


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """One training to the longest of its plans."""

    plan: Plan
    members: tuple[Plan, ...]
    """Shortest first; each is the trunk as it stands after `member.epochs`."""


def trunks(plans: Iterable[Plan]) -> tuple[Trunk, ...]:
    """Group plans into trunks, in the order in which they first appear.

    A plan with a cooldown is not a prefix of a longer one, since its rate falls where the longer one's
    is still constant: such a plan is a trunk of its own.
    """
    groups: dict[object, list[Plan]] = {}
    for plan in plans:
        key = plan if plan.cooldown else replace(plan, epochs=1)
        groups.setdefault(key, []).append(plan)
    return tuple(_trunk(members) for members in groups.values())


def _trunk(members: list[Plan]) -> Trunk:
    ordered = sorted(set(members), key=lambda plan: plan.epochs)
    return Trunk(plan=ordered[-1], members=tuple(ordered))
