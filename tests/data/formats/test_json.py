from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats.conftest import OpenTable, WriteFile
from fewtune.data.formats import open_data
from fewtune.data.records import Number, Table
from fewtune.errors import DataError


def values(table: Table) -> list[tuple[int, dict[str, Any]]]:
    return [(record.source.line, dict(record.values)) for record in table.records]


def test_values_stay_json_values_and_a_number_remembers_how_it_was_written(opened: OpenTable) -> None:
    lines = [
        '{"prompt": " a ", "completion": null}',
        "",
        '{"completion": 1.50, "prompt": true, "id": 7}',
        '{"prompt": NaN, "completion": {"n": [0.10]}}',
    ]
    table = opened("values.jsonl", "\r\n".join(lines))
    assert table.columns == ("prompt", "completion", "id")
    found = values(table)
    assert found == [
        (1, {"prompt": " a ", "completion": None}),
        (3, {"completion": 1.5, "prompt": True, "id": 7}),
        (4, {"prompt": None, "completion": {"n": [0.1]}}),
    ]
    number = found[1][1]["completion"]
    assert isinstance(number, Number) and number.written == "1.50"


def test_a_record_of_a_list_has_the_line_on_which_its_object_begins(opened: OpenTable) -> None:
    table = opened("list.json", '[\n {"a": 1,\n  "b": {}},\n\n {"a": 2}, {"a": "]"}\n]\n')
    assert (table.columns, table.first_line, table.notes) == (("a", "b"), 2, ())
    assert values(table) == [(2, {"a": 1, "b": {}}), (5, {"a": 2}), (5, {"a": "]"})]


def test_the_only_list_of_objects_in_an_object_holds_the_records(opened: OpenTable) -> None:
    table = opened("wrapped.json", '{"version": [1, 2], "empty": [],\n"data": [{"a": 1},\n{"a": 2}],\n"count": 2}')
    assert values(table) == [(2, {"a": 1}), (3, {"a": 2})]
    assert table.notes == ("The records are those of the list 'data'.",)


@pytest.mark.parametrize("key", ['"role": "user", "content": "x"', '"from": "human", "value": "x"'])
def test_the_turns_of_a_single_conversation_are_no_records(opened: OpenTable, key: str) -> None:
    ((line, record),) = values(opened("chat.json", f'\n{{"messages": [{{{key}}}]}}'))
    assert line == 2
    assert len(record["messages"]) == 1


def test_an_object_with_several_lists_is_one_record_and_that_is_told(opened: OpenTable) -> None:
    table = opened("object.json", '{"a": [{"x": 1}], "b": [{"x": 1}]}')
    assert len(values(table)) == 1
    assert "'a', 'b'" in table.notes[0]


@pytest.mark.parametrize("name", ["lines.json", "lines.jsonl", "lines.ndjson"])
def test_json_lines_are_read_as_such_whatever_the_ending(opened: OpenTable, name: str) -> None:
    table = opened(name, '{"a": 1}\n{"a": 2}\n')
    assert values(table) == [(1, {"a": 1}), (2, {"a": 2})]
    assert len(table.notes) == (name == "lines.json")


def test_a_list_is_read_as_such_in_a_file_of_json_lines(opened: OpenTable) -> None:
    table = opened("list.jsonl", '[{"a": 1},\n{"a": 2}]')
    assert values(table) == [(1, {"a": 1}), (2, {"a": 2})]
    assert "single JSON document" in table.notes[0]


def test_a_long_document_is_read_piece_by_piece(opened: OpenTable) -> None:
    records = [{"n": number, "text": "é\n" * (number % 700)} for number in range(8000)]
    table = opened("long.json", json.dumps({"data": records}, ensure_ascii=False, indent=1))
    assert [record.values for record in table.records] == records


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("empty.jsonl", "\n\n", 0, "is empty"),
        ("empty.json", " ", 1, "is empty"),
        ("none.json", "[]", 0, "is empty"),
        ("broken.jsonl", '{"prompt": "a"}\n{"prompt": \n', 2, "not valid JSON"),
        ("broken.json", '[{"a": 1},\n{"a" 2}]', 2, "not valid JSON"),
        ("open.json", '[{"a": 1},\n{"a": 2}\n', 3, "it ends where"),
        ("after.json", '[{"a": 1}]\n[]', 2, "follows after the end"),
        ("text.json", "prompt,completion\n1,2\n", 1, "no list of objects"),
        ("scalars.json", '["a", "b"]', 1, "not an object"),
        ("scalar.jsonl", '"a"\n', 1, "not an object"),
        ("key.jsonl", '{"a": "a", "a": "b"}', 1, "occurs twice"),
        ("key.json", '{"a": [],\n "a": "b"}', 2, "occurs twice"),
        ("half.jsonl", '{"a": "\\ud83d"}', 1, "half a character"),
        ("half.json", '[{},\n{"a": ["\\ud83d"]}]', 2, "half a character"),
        ("deep.jsonl", '{"a": ' + "[" * 10_000 + "]" * 10_000 + "}", 1, "deeper than 200"),
        ("deep.json", "[" * 10_000 + "]" * 10_000, 1, "deeper than 200"),
        ("less.json", '[{"a": ' + "[" * 300 + "]" * 300 + "}]", 1, "deeper than 200"),
        ("digits.jsonl", f'{{"a": {"9" * 5000}}}', 1, "more digits"),
        ("digits.json", f'{{"a": {"9" * 5000}}}', 1, "more digits"),
    ],
)
def test_what_is_no_list_of_records_is_told_with_its_line_and_a_remedy(
    write: WriteFile, name: str, content: str, line: int, message: str
) -> None:
    path = write(name, content)
    with pytest.raises(DataError, match=message) as caught:
        list(open_data(str(path)).tables[0].records)
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert caught.value.fix


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(deadline=None)
@given(records=st.lists(st.dictionaries(st.text(), JSON, max_size=4), min_size=1, max_size=5), indent=st.booleans())
def test_documents_and_lines_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], indent: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "r.json").write_text(json.dumps(records, indent=1 if indent else None), encoding="utf-8")
    (folder / "r.jsonl").write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    for name in ("r.json", "r.jsonl"):
        (table,) = open_data(str(folder / name)).tables
        assert [record.values for record in table.records] == records
