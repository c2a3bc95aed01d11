from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.evaluation.json_metrics import schema_metric
from fewtune.evaluation.json_schema import infer_schema, read_schema, validator


def written(tmp_path: Path, schema: object) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(schema if isinstance(schema, str) else json.dumps(schema), encoding="utf-8")
    return path


def test_what_the_training_answers_have_in_common_is_the_shape() -> None:
    schema = infer_schema(['{"item": "rye", "count": 1}', '{"item": "bun", "count": 2.5, "tags": ["a"]}', "not json"])
    assert schema is not None
    fits = validator(schema)
    assert fits({"item": "loaf", "count": 3})
    assert fits({"item": "loaf", "count": 3, "tags": []})
    assert not fits({"item": "loaf"})
    assert not fits({"item": 1, "count": 3})
    assert not fits({"item": "loaf", "count": 3, "price": 1})
    assert not fits({"item": "loaf", "count": 3, "tags": [1]})
    assert not fits({"item": "loaf", "count": True})


def test_a_value_that_is_sometimes_null_may_be_null() -> None:
    schema = infer_schema(['{"name": null}', '{"name": "Gareth"}'])
    assert schema is not None and validator(schema)({"name": None})


def test_without_any_json_there_is_no_shape() -> None:
    assert infer_schema(["no", "yes"]) is None


def test_an_answer_that_is_not_json_has_no_shape_either() -> None:
    metric = schema_metric(validator({}), "nothing")
    assert metric.measure("{", "{}") == 0  # type: ignore[attr-defined]
    assert metric.measure("{}", "{}") == 1  # type: ignore[attr-defined]


def test_a_schema_from_a_file_may_refer_to_its_own_parts(tmp_path: Path) -> None:
    schema = {"$defs": {"name": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/name"}}}
    fits = validator(read_schema(written(tmp_path, schema)))
    assert fits({"a": "b"}) and not fits({"a": 1})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/gone"}}}, "to which it refers"),
        ({"type": "nonsense"}, "not a JSON schema"),
        ("[]", "not a JSON schema"),
        ("{", "not a JSON schema"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_at_once(schema: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        read_schema(written(tmp_path, schema))
    assert "schema.json" in str(refused.value)


def test_a_schema_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="read the JSON schema"):
        read_schema(tmp_path / "none.json")
