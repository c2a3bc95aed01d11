"""The bases, the names that stand for them, and what was tuned."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from fewtune.service.aliases import Meaning
from fewtune.service.auth import CallerOf
from fewtune.service.errors import ServiceError, invalid, shown
from fewtune.service.stores import Stores, StoresOf
from fewtune.service.wire.models import Model, ModelDeleted
from fewtune.service.wire.shared import Listed, listed
from fewtune.store.models import ModelRecord

router = APIRouter(prefix="/models", tags=["models"])

ModelName = Annotated[str, Path(min_length=1, max_length=400)]
"""May hold a slash, as it is or as %2F."""


@router.get("")
def list_models(caller: CallerOf, stores: StoresOf) -> Listed[Model]:
    """The bases first, then what the project tuned or was granted, then the names that stand for a base."""
    tuned = [_tuned(record) for record in stores.models.list(caller.project)]
    bases = [_base(Meaning(base=base, alias=None)) for base in stores.names.bases]
    meanings = (stores.names.meaning(alias) for alias in stores.names.aliases)
    return listed([*bases, *tuned, *(_base(meaning) for meaning in meanings if meaning)])


@router.get("/{model:path}")
def get_model(model: ModelName, caller: CallerOf, stores: StoresOf) -> Model:
    """One of them."""
    record = stores.models.get(caller.project, model)
    if record is not None:
        return _tuned(record)
    meaning = stores.names.meaning(model)
    if meaning is None:
        raise _missing(model)
    return _base(meaning)


@router.delete("/{model:path}")
def delete_model(model: ModelName, caller: CallerOf, stores: StoresOf) -> ModelDeleted:
    """A tuned model of the project with its checkpoints; a base stays."""
    if not stores.models.delete(caller.project, model):
        _refuse_to_delete(model, caller.project, stores)
    return ModelDeleted(id=model, deleted=True)


def _refuse_to_delete(model: str, project: str, stores: Stores) -> None:
    if stores.names.meaning(model):
        raise invalid("Only a tuned model can be deleted.", param="model", code="model_not_deletable")
    if stores.models.get(project, model):
        raise ServiceError(403, "This model belongs to another project.", param="model", code="model_not_owned")
    raise _missing(model)


def _missing(model: str) -> ServiceError:
    return ServiceError(404, f"The model '{shown(model)}' does not exist", param="model", code="model_not_found")


def _tuned(record: ModelRecord) -> Model:
    return Model(id=record.name, created=record.created_at, owned_by=record.project)


def _base(meaning: Meaning) -> Model:
    if meaning.alias is None:
        return Model(id=meaning.base, created=0, owned_by="fewtune")
    return Model(id=meaning.alias, created=0, owned_by=f"fewtune: an alias of {meaning.base}")
