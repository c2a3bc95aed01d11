"""Somewhere to follow a run besides its report: by name, imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from fewtune.errors import UsageError
from fewtune.trackers.contract import Began, Tracker


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What must be known of a tracker before a run is told to it."""

    label: str
    factory: str
    package: str
    """As Python imports it; the extra that brings it has the tracker's name."""


KINDS = {
    "wandb": Kind(label="Weights & Biases", factory="fewtune.trackers.wandb:WandbTracker", package="wandb"),
    "mlflow": Kind(label="MLflow", factory="fewtune.trackers.mlflow:MlflowTracker", package="mlflow"),
    "trackio": Kind(label="trackio", factory="fewtune.trackers.trackio:TrackioTracker", package="trackio"),
    "tensorboard": Kind(
        label="TensorBoard", factory="fewtune.trackers.tensorboard:TensorboardTracker", package="tensorboard"
    ),
}


def check(names: Sequence[str]) -> None:
    """Raises UsageError for a tracker that does not exist, or whose library is not installed; nothing is imported."""
    for name in names:
        if name not in KINDS:
            raise UsageError(
                f"There is no tracker {name!r}.", where="--track", fix=f"Choose one of: {', '.join(KINDS)}."
            )
        if find_spec(KINDS[name].package) is None:
            raise UsageError(
                f"The package {KINDS[name].package!r}, which --track {name} needs, is not installed.",
                fix=f"Install it with: pip install 'fewtune[{name}]'.",
            )


def connect(factory: str, began: Began) -> Tracker:
    """Open the tracker that is made by `factory`, as a Kind names it, on a run."""
    module, _, name = factory.partition(":")
    return getattr(import_module(module), name)(began)
