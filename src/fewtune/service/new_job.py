"""What a request for a job comes to: which base, which method, which hyperparameters. No file is read for it."""

from __future__ import annotations

import re
import secrets
from typing import Any

from fewtune.service.errors import ServiceError, invalid, shown
from fewtune.service.stores import Stores
from fewtune.service.wire.jobs import AskedHyperparameters, CreateJob
from fewtune.store.job_records import NewJob
from fewtune.store.keys import Caller

_NOT_IN_SUFFIX = re.compile(r"[^a-z0-9_.]+")
_METHODS = ("supervised", "dpo")


def new_job(asked: CreateJob, caller: Caller, stores: Stores) -> NewJob:
    """Raises ServiceError for a model, a method or a file that cannot be used."""
    method = asked.method.type if asked.method else "supervised"
    if method not in _METHODS:
        raise invalid(
            f"The method '{method}' is not offered here: {' and '.join(_METHODS)} are.",
            param="method.type",
            code="unsupported_method",
        )
    base, parent, alias = _start(asked.model, caller.project, stores)
    check_file(asked.training_file, "training_file", caller.project, stores)
    if asked.validation_file is not None:
        check_file(asked.validation_file, "validation_file", caller.project, stores)
    return NewJob(
        project=caller.project,
        key_id=caller.key_id,
        model=asked.model,
        base=base,
        parent=parent,
        alias=alias,
        method=method,
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        hyperparameters=hyperparameters(asked),
        seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        suffix=suffix_of(asked.suffix),
        metadata=asked.metadata,
        integrations=[one.model_dump(exclude_none=True) for one in asked.integrations or ()] or None,
    )


def hyperparameters(asked: CreateJob) -> dict[str, Any]:
    """Those of the method's block before those of the deprecated block before those that stand by themselves."""
    method = asked.method
    block = (method.dpo if method.type == "dpo" else method.supervised) if method else None
    given: dict[str, Any] = {}
    for source in (asked, asked.hyperparameters, block and block.hyperparameters):
        if source is not None:
            given |= source.model_dump(include=set(AskedHyperparameters.model_fields), exclude_none=True)
    return given


def suffix_of(asked: str | None) -> str | None:
    """As it may stand in a model's name."""
    return _NOT_IN_SUFFIX.sub("-", asked.lower()).strip("-") or None if asked else None


def check_file(file_id: str, param: str, project: str, stores: Stores) -> None:
    """Raises ServiceError unless the project has the file, and for training."""
    record = stores.files.get(project, file_id)
    if record is None:
        raise invalid(f"The file '{shown(file_id)}' does not exist.", param=param, code="file_not_found")
    if record.purpose != "fine-tune":
        raise invalid(
            f"The file '{shown(file_id)}' was uploaded for '{record.purpose}'; a job needs one for 'fine-tune'.",
            param=param,
            code="invalid_file_purpose",
        )


def _start(name: str, project: str, stores: Stores) -> tuple[str, str | None, str | None]:
    """Base, tuned model to start from, and the name that was another's for the base."""
    record = stores.models.get(project, name)
    if record is not None:
        return record.base, record.name, None
    meaning = stores.names.meaning(name)
    if meaning is None:
        raise unknown_model(name, project, stores)
    return meaning.base, None, meaning.alias


def unknown_model(name: str, project: str, stores: Stores) -> ServiceError:
    """With the names that are written most like it."""
    own = (record.name for record in stores.models.list(project))
    nearest = ", ".join(f"'{one}'" for one in stores.names.nearest(name, own))
    return invalid(
        f"The model '{shown(name)}' does not exist. Nearest names: {nearest}.", param="model", code="model_not_found"
    )
