from __future__ import annotations

import json

from pydantic import TypeAdapter

from fewtune.report.summary import SCHEMA_VERSION, Summary


def test_every_run_is_json_and_comes_back_the_same(any_summary: Summary) -> None:
    document = json.loads(json.dumps(any_summary.to_json(), allow_nan=False))
    assert Summary.from_json(document) == any_summary


def test_a_document_holds_its_version_and_nothing_that_the_schema_does_not_name(any_summary: Summary) -> None:
    schema = TypeAdapter(Summary).json_schema()
    document = any_summary.to_json()
    assert document.pop("schema_version") == SCHEMA_VERSION
    assert document.keys() == schema["properties"].keys()
    assert TypeAdapter(Summary).validate_json(json.dumps(document)) == any_summary
