"""How far an exported model's answers are from those of the model that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewtune.errors import TrainingError

_TOLERANCES = {"F64": 1e-4, "F32": 1e-4, "F16": 1e-2, "BF16": 2e-2}
"""Largest mean |difference of log-likelihood| of a token, in nats, by the type in which weights are kept.

In F32 only the order of sums differs. A weight in F16 is off by 2^-12 of itself at most, in BF16 by 2^-9; what that
makes of a log-likelihood grows with the number of layers, so these limits are ten times and more what the
built-in base shows. A single matrix left out of it costs 0.01 to 0.1 (docs/export.md has the numbers).
"""
_COMPUTED_IN_BF16 = 5e-2
"""The engine's own arithmetic on CUDA, where the trained and the exported model are rounded at other places."""
_SHARE = 0.25
"""A drift above this share of what tuning itself changed has lost the tuning, however small it is."""
_NOISE = 1e-5
"""What the order of sums alone may change."""


class ExportDrift(TrainingError):
    """The exported model does not answer as the trained one does."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Both in nats a token, over the answers and stops of the held-out rows."""

    tokens: int
    mean: float
    largest: float


def measure_drift(trained: Sequence[Sequence[float]], exported: Sequence[Sequence[float]]) -> Drift:
    """Of log-likelihoods, row by row; raises ExportDrift where the rows are not the same tokens."""
    if [len(row) for row in trained] != [len(row) for row in exported]:
        raise ExportDrift("The exported model's tokenizer cuts the held-out rows into other tokens.")
    pairs = zip(trained, exported, strict=True)
    apart = [abs(one - other) for row, again in pairs for one, other in zip(row, again, strict=True)]
    return Drift(tokens=len(apart), mean=sum(apart) / len(apart), largest=max(apart))


def tolerance(stored: str, *, computed_in_bf16: bool) -> float:
    """By the type in which safetensors or GGUF keep the adapted weights."""
    return max(_TOLERANCES[stored], _COMPUTED_IN_BF16 if computed_in_bf16 else 0.0)


def allowed(tolerance: float, effect: float) -> float:
    """Largest mean drift where tuning itself moved a token's log-likelihood by `effect`.

    A slight tuning can be rounded away altogether, as the sum of a weight and something smaller than its last digit.
    """
    return max(_NOISE, min(tolerance, _SHARE * effect))


def check_drift(drift: Drift, limit: float, reader: str) -> None:
    """Raises ExportDrift, naming both numbers; a drift that is no number is one too many."""
    if not drift.mean <= limit:
        raise ExportDrift(
            f"The exported model's answers, as {reader} scores them, are {drift.mean:.2g} nats a token away from "
            f"the trained model's; {limit:.2g} are allowed. Nothing was exported.",
            fix="The format peft rounds nothing: export in that.",
        )
