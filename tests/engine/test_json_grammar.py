from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.continuation import Broken, Continuation, Prompt
from fewtune.engine.json_grammar import OBJECT
from fewtune.engine.sampler import generate
from fewtune.errors import DataError, UsageError

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"anyOf": [{"const": "yes"}, {"type": "object", "properties": {"why": {"type": "null"}}, "required": ["why"]}]},
    {"$defs": {"leaf": {"type": "number"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/leaf"}}},
]


def asked(base: BaseModel, wanted: str, count: int, **values: Any) -> list[Prompt]:
    return [
        Prompt(
            id=n,
            ids=base.encoder.prompt(f"Tell me of number {n}."),
            max_tokens=90,
            temperature=1.0,
            seed=n,
            json=wanted,
            **values,
        )
        for n in range(count)
    ]


def answers(base: BaseModel, prompts: Sequence[Prompt]) -> Iterator[Continuation]:
    for event in generate(base, iter(prompts)):
        assert not isinstance(event, Broken)
        if isinstance(event, Continuation):
            yield event


@pytest.fixture(scope="module")
def pocket() -> BaseModel:
    return load("pocket")


def check(base: BaseModel, count: int) -> None:
    whole = 0
    for schema in SCHEMAS:
        for one in answers(base, asked(base, json.dumps(schema), count)):
            if one.stop_reason == "stop":
                jsonschema.validate(json.loads(one.text), schema)
                whole += 1
    for one in answers(base, asked(base, OBJECT, count)):
        if one.stop_reason == "stop":
            assert isinstance(json.loads(one.text), dict)
            whole += 1
    assert whole >= count


@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
class TestAnswers:
    def test_an_answer_of_a_random_model_that_ends_by_itself_is_json_after_the_schema(
        self, some_base: BaseModel, count: int
    ) -> None:
        check(some_base, count)

    def test_so_is_one_of_the_built_in_base(self, pocket: BaseModel, count: int) -> None:
        check(pocket, count)


def test_only_the_rows_that_ask_are_held_and_the_others_stay_as_they_are(llama: BaseModel) -> None:
    free = [replace(one, json=None, alternatives=0) for one in asked(llama, OBJECT, 4)]
    held = [replace(one, id=one.id + 4) for one in asked(llama, json.dumps(SCHEMAS[1]), 4)]
    alone = {one.id: (one.text, one.choices) for one in answers(llama, free)}
    together = {one.id: one for one in answers(llama, [one for pair in zip(free, held, strict=True) for one in pair])}
    for id, (text, choices) in alone.items():
        assert together[id].text == text
        assert [choice.token for choice in together[id].choices] == [choice.token for choice in choices]
    assert all(isinstance(json.loads(together[one.id].text), list) for one in held)


def test_a_sequence_dealt_out_over_the_cores_is_held_too(llama: BaseModel) -> None:
    schema = SCHEMAS[1]
    found = [one for one in generate(llama, asked(llama, json.dumps(schema), 20)) if isinstance(one, Continuation)]
    assert len(found) == 20
    for one in found:
        jsonschema.validate(json.loads(one.text), schema)


def test_the_log_likelihoods_are_the_models_own(llama: BaseModel) -> None:
    (prompt,) = asked(llama, json.dumps({"const": True}), 1, alternatives=3)
    (held,) = answers(llama, [prompt])
    (free,) = answers(llama, [replace(prompt, json=None)])
    assert held.text == "true"
    (one, *_), (other, *_) = held.choices, free.choices
    assert [token for token, _ in one.alternatives] == [token for token, _ in other.alternatives]
    assert [value for _, value in one.alternatives] == pytest.approx([value for _, value in other.alternatives])
    assert one.log_likelihood is not None and one.log_likelihood < one.alternatives[0][1]


def test_where_the_tokens_run_out_the_answer_is_cut(llama: BaseModel) -> None:
    schema = json.dumps({"type": "string", "minLength": 500})
    (one,) = answers(llama, asked(llama, schema, 1))
    assert (one.stop_reason, one.tokens) == ("length", 90)


class TestRefusals:
    @pytest.mark.parametrize(
        ("schema", "words"),
        [
            ("{", "no JSON"),
            ("[" * 50_000, "no JSON"),
            ("true", "must be a JSON object"),
            ('["object"]', "must be a JSON object"),
            (json.dumps({"enum": ["x" * 70_000]}), "70,"),
            (json.dumps({"type": "strange"}), "strange"),
            (json.dumps({"not": {"type": "string"}}), "not"),
            (json.dumps({"$ref": "https://example.com/schema.json"}), "retrieving"),
            (json.dumps({"type": "string", "pattern": "(?=a)b"}), "regex"),
            (json.dumps({"allOf": [{"type": "string"}, {"type": "number"}]}), "schema"),
            (json.dumps({"properties": {"\x1b[31m": {"type": "\x1b[31m"}}, "type": "object"}), "schema"),
        ],
    )
    def test_a_schema_that_cannot_be_kept_is_refused_on_one_printable_line(
        self, llama: BaseModel, schema: str, words: str
    ) -> None:
        with pytest.raises(DataError, match=words) as caught:
            llama.json_grammars.begin(schema)
        assert caught.value.what.isprintable() and len(caught.value.what) < 300
        assert "start:" not in caught.value.what

    def test_what_a_schema_says_of_the_grammar_itself_is_not_heard(self, llama: BaseModel) -> None:
        options = {"item_separator": "x", "key_separator": "y", "lenient": True, "coerce_one_of": True}
        wanted = json.dumps({**SCHEMAS[1], "x-guidance": options})
        for one in answers(llama, asked(llama, wanted, 3)):
            jsonschema.validate(json.loads(one.text), SCHEMAS[1])

    def test_a_missing_package_is_named(self, llama: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
        with pytest.raises(UsageError, match=r"llguidance.*fewtune\[serve\]"):
            _ = llama.json_grammars

    def test_what_turns_out_on_the_way_to_have_no_end_ends_that_answer_alone(self, llama: BaseModel) -> None:
        held, free = asked(llama, json.dumps({"$ref": "#"}), 2)
        events = list(generate(llama, iter([held, replace(free, json=None)])))
        (broken,) = [event for event in events if isinstance(event, Broken)]
        assert broken.id == 0 and "schema" in broken.text
        assert [event.id for event in events if isinstance(event, Continuation)] == [1]
