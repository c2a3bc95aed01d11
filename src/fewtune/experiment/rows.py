"""Rows as trainings take them: in the order of the file, and how much they are beside others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fewtune.types import Example

TOKEN_MARGIN = 1.05
"""How far the tokens of some rows may lie above what their share of all characters says."""


def in_order(rows: Iterable[Example]) -> tuple[Example, ...]:
    return tuple(sorted(rows, key=lambda one: one.row))


def characters(examples: Sequence[Example]) -> int:
    return sum(len(example.prompt) + len(example.completion) for example in examples)
