"""From what a job asked for to the plan that is trained; what was left to us is chosen here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fewtune.experiment.searching import default_rates
from fewtune.experiment.settings import RunSettings
from fewtune.types import Plan

_USUAL_EPOCHS = 4
_FEWEST_SEEN, _MOST_SEEN = 100, 25_000
_MOST_EPOCHS = 25
_USUAL_BATCH = 4
_ROWS_FOR_ONE_MORE = 500
_LARGEST_BATCH = 256
_COOLDOWN = 0.1


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A plan, and the numbers by which the job's hyperparameters are shown from now on."""

    plan: Plan
    hyperparameters: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {"plan": vars(self.plan), "hyperparameters": dict(self.hyperparameters)}


def choose(asked: Mapping[str, Any], *, base: str, provider: str, rows: int, method: str) -> Chosen:
    """The plan for so many training rows; a hyperparameter that is `auto` or missing is chosen."""
    epochs = int(_given(asked, "n_epochs", automatic_epochs(rows)))
    batch = int(_given(asked, "batch_size", automatic_batch(rows)))
    multiplier = float(_given(asked, "learning_rate_multiplier", 1.0))
    told = {"n_epochs": epochs, "batch_size": batch, "learning_rate_multiplier": multiplier}
    plan = Plan(
        base=base,
        epochs=epochs,
        batch_size=batch,
        learning_rate=multiplier * usual_rate(base, provider),
        cooldown=_COOLDOWN,
    )
    if method == "dpo":
        beta = float(_given(asked, "beta", plan.preference_beta))
        return Chosen(plan=replace(plan, preference_beta=beta), hyperparameters={**told, "beta": beta})
    weight = _given(asked, "prompt_loss_weight", None)
    if weight is not None:
        plan, told = replace(plan, prompt_loss_weight=float(weight)), {**told, "prompt_loss_weight": float(weight)}
    return Chosen(plan=plan, hyperparameters=told)


def automatic_epochs(rows: int) -> int:
    """As `fewtune train` takes, and few rows so often that about 100 are seen, many so seldom that it is 25,000.

    The bounds are those of OpenAI's data preparation guide; the number between them is ours, since it was measured on
    the bases that are tuned here.
    """
    wanted = max(_USUAL_EPOCHS, min(_MOST_EPOCHS, _FEWEST_SEEN // rows))
    return max(1, min(wanted, _MOST_SEEN // rows))


def automatic_batch(rows: int) -> int:
    """4, or 0.2 % of the rows where that is more."""
    return min(rows, _LARGEST_BATCH, max(_USUAL_BATCH, rows // _ROWS_FOR_ONE_MORE))


def usual_rate(base: str, provider: str) -> float:
    """What a multiplier of 1 stands for: the rate that `fewtune train` would take for this base."""
    rates = sorted(default_rates(RunSettings(data="", base=base, provider=provider)))
    return rates[len(rates) // 2]


def _given(asked: Mapping[str, Any], name: str, chosen: Any) -> Any:
    value = asked.get(name)
    return chosen if value in (None, "auto") else value
