"""The shape that JSON answers should have: from a file, or as it stands in the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from fewtune.errors import UsageError, from_os_error
from fewtune.evaluation.json_metrics import INVALID, plain

Schema = Mapping[str, Any]


def read_schema(path: Path) -> Schema:
    """A JSON Schema from a file; raises UsageError for one that cannot be used here."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise from_os_error(error, "read the JSON schema", path) from error
    except UnicodeDecodeError as error:
        raise UsageError("The JSON schema is not UTF-8.", where=str(path), fix="Save it as UTF-8.") from error
    schema = plain(text)
    if not isinstance(schema, dict):
        raise UsageError("This is not a JSON schema: no JSON object.", where=str(path), fix="Name another file.")
    _check(cast("dict[str, Any]", schema), path)
    return cast("dict[str, Any]", schema)


def _check(schema: Schema, path: Path) -> None:
    validators: Any = import_module("jsonschema.validators")
    exceptions: Any = import_module("jsonschema.exceptions")
    try:
        validators.validator_for(schema).check_schema(schema)
    except exceptions.SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise UsageError(f"This is not a JSON schema: {error.message}.", where=f"{path} {place}".strip()) from error
    outside = next((found for found in _references(schema) if not found.startswith("#")), None)
    if outside is not None:
        raise UsageError(
            f"The JSON schema refers to {outside!r}, and nothing is fetched.",
            where=str(path),
            fix="Put that part into the file, below $defs.",
        )
    _try_references(schema, path)


def _try_references(schema: Schema, path: Path) -> None:
    """A reference that leads nowhere would be noticed only by the answer that needs it."""
    for reference in _references(schema):
        found: Any = schema
        for part in reference.lstrip("#/").split("/") if reference.startswith("#/") else ():
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            if found is None:
                raise UsageError(f"The JSON schema has no {reference!r}, to which it refers.", where=str(path))


def _references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in cast("dict[str, object]", schema).items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in cast("list[object]", schema):
            yield from _references(value)


def infer_schema(answers: Sequence[str]) -> Schema | None:
    """What the answers that are JSON have in common: kinds of values, keys, and which keys are never left out.

    A key that none of them has is not allowed. None where none is JSON.
    """
    values = [value for answer in answers if (value := plain(answer)) is not INVALID]
    return _common(values) if values else None


def _common(values: Sequence[object]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": sorted({_kind(value) for value in values})}
    if {"integer", "number"} <= set(schema["type"]):
        schema["type"].remove("integer")
    objects = [cast("dict[str, object]", value) for value in values if isinstance(value, dict)]
    if objects:
        keys = dict.fromkeys(key for one in objects for key in one)
        schema["properties"] = {key: _common([one[key] for one in objects if key in one]) for key in keys}
        schema["required"] = [key for key in keys if all(key in one for one in objects)]
        schema["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in cast("list[object]", value)]
    if items:
        schema["items"] = _common(items)
    return schema


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (dict, "object"),
        (list, "array"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def validator(schema: Schema) -> Callable[[object], bool]:
    """Whether a value has the schema's shape; nothing is ever fetched for it."""
    validators: Any = import_module("jsonschema.validators")
    registry: Any = import_module("referencing").Registry()
    made = validators.validator_for(schema)(schema, registry=registry)
    return lambda value: bool(made.is_valid(value))
