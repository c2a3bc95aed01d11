"""Models."""

from __future__ import annotations

from typing import Literal

from fewtune.service.wire.shared import Told


class Model(Told):
    """A base, a name for one, or a tuned model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelDeleted(Told):
    """A tuned model that is gone."""

    id: str
    object: Literal["model"] = "model"
    deleted: bool
