"""Another process that trains on this machine, to be killed from outside."""

from __future__ import annotations

from multiprocessing.connection import Connection

from fewtune.providers import local
from fewtune.providers.contract import Trial, Workspace


def train(workspace: Workspace, trial: Trial, told: Connection) -> None:
    """Train to the end, telling the name of each event's kind as it comes."""
    # Saved after every step, so that a kill often falls into the saving.
    local.SECONDS_BETWEEN_SAVES = 0.0
    provider = local.LocalProvider(workspace)
    provider.start([trial])
    for event in provider.advance({trial.id: None}):
        told.send(type(event).__name__)
