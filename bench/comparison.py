"""Contenders measured in turn, so that a machine that drifts drifts for all of them, and what came of it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FLOP_A_PARAMETER = 4
"""Of a token that is trained through a frozen weight: two forward, two for the gradient of the activations."""
HEADINGS = (
    "contender",
    "tokens/s",
    "smallest to largest",
    "of TRL's",
    "of the matrix rate",
    "tokens/CPU-s",
    "last loss",
)

Run = Callable[[int], dict[str, Any]]
"""One measurement of a contender, given the number of the repeat."""


@dataclass(kw_only=True)
class Turns:
    """Measures one after another, with a sample of the machine's matrix rate between any two."""

    matrix_rate: Callable[[], float]
    """FLOP/s of the machine, now."""
    samples: list[float] = field(default_factory=list[float])

    def measure(self, contenders: Mapping[str, Run], repeats: int) -> dict[str, list[dict[str, Any]]]:
        """A B C, A B C, ...; each measurement gets the mean of the rates before and after it."""
        measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        self.samples.append(self.matrix_rate())
        for repeat in range(repeats):
            for name, run in contenders.items():
                result = run(repeat)
                self.samples.append(self.matrix_rate())
                rate = statistics.mean(self.samples[-2:])
                measured[name].append({**result, "matrix_rate": rate})
                _tell(f"{name}: {tokens_per_second(result):,.0f} tokens/s, machine {rate / 1e9:,.0f} GFLOP/s")
        return measured


def tokens_per_second(measurement: Mapping[str, Any]) -> float:
    return measurement["tokens"] / measurement["seconds"]


def summary(measured: Sequence[Mapping[str, Any]], parameters: int) -> dict[str, Any]:
    """Medians of one contender; the share counts 4 FLOP a parameter and token, and no padding."""
    rates = [tokens_per_second(one) for one in measured]
    work = FLOP_A_PARAMETER * parameters
    shares = [work * rate / one["matrix_rate"] for rate, one in zip(rates, measured, strict=True)]
    return {
        "tokens_per_second": statistics.median(rates),
        "smallest": min(rates),
        "largest": max(rates),
        "share_of_matrix_rate": statistics.median(shares),
        "tokens_per_cpu_second": statistics.median(one["tokens"] / one["cpu_seconds"] for one in measured),
        "loss": statistics.median(one["loss"] for one in measured),
    }


def cells(name: str, found: Mapping[str, Any], peer: Mapping[str, Any]) -> tuple[str, ...]:
    """A contender's line of the table, below HEADINGS."""
    return (
        name,
        f"{found['tokens_per_second']:,.0f}",
        f"{found['smallest']:,.0f} to {found['largest']:,.0f}",
        f"{found['tokens_per_second'] / peer['tokens_per_second']:.2f}",
        f"{found['share_of_matrix_rate']:.0%}",
        f"{found['tokens_per_cpu_second']:,.0f}",
        f"{found['loss']:.3f}",
    )


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
