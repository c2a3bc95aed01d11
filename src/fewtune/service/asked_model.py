"""Which model a request names: a tuned one of the caller's project, or a base, or a name that stands for one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from anyio.to_thread import run_sync

from fewtune import __version__
from fewtune.providers.contract import BASE
from fewtune.service.aliases import ALIAS_HEADER
from fewtune.service.errors import ServiceError, shown
from fewtune.service.stores import Stores
from fewtune.service.worker.protocol import Model


@dataclass(frozen=True, kw_only=True)
class AskedModel:
    name: str
    """As it was asked for, and as the answer calls it."""
    model: Model
    """As workers know it."""
    alias: bool
    """The name is another's, and stands for the base."""

    @property
    def is_tuned(self) -> bool:
        return self.model.name != BASE

    @property
    def fingerprint(self) -> str:
        """The same for as long as the same seed gives the same answer, as far as that is known."""
        parts = f"{__version__}\n{self.model.base}\n{self.model.name}"
        return f"fp_{hashlib.sha256(parts.encode(errors='replace')).hexdigest()[:10]}"

    @property
    def headers(self) -> Mapping[str, str]:
        """Which base answered, where the name does not say so."""
        told = f"{self.name}={self.model.base}"
        return {ALIAS_HEADER: told.encode("ascii", "replace").decode()} if self.alias else {}


async def find_model(name: str, project: str, stores: Stores) -> AskedModel:
    """Raises ServiceError, 404 with the nearest names, where the project knows no such model."""
    record = await run_sync(stores.models.get, project, name)
    if record is not None:
        return AskedModel(name=name, model=Model(name=record.name, base=record.base), alias=False)
    meaning = stores.names.meaning(name)
    if meaning is not None:
        return AskedModel(name=name, model=Model(base=meaning.base), alias=meaning.alias is not None)
    tuned = [record.name for record in await run_sync(stores.models.list, project)]
    nearest = ", ".join(f"'{shown(one)}'" for one in stores.names.nearest(name, tuned))
    message = f"The model '{shown(name)}' does not exist, or you have no access to it. The nearest names: {nearest}."
    raise ServiceError(404, message, param="model", code="model_not_found")
