"""What the answers copy, on the fake provider: it answers with what it was shown."""

from __future__ import annotations

from pathlib import Path

import fewtune
from fewtune.experiment.copying import copying
from fewtune.experiment.forgetting import forgetting
from fewtune.providers import connect
from fewtune.providers.contract import BASE, Workspace
from fewtune.store.runs import PredictionRecord
