from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.data.read import Dataset
from fewtune.data.read import read as read_data
from fewtune.data.shapes.shape import Columns
from fewtune.data.write import write_rows
from fewtune.errors import DataError, FewtuneError, UsageError
from fewtune.types import Example

WriteFile = Callable[[str, str | bytes], Path]
MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]


def read(path: Path, *, prompt_column: str | None = None, completion_column: str | None = None) -> Dataset:
    return read_data(str(path), columns=Columns(prompt=prompt_column, completion=completion_column))


def pairs(dataset: Dataset) -> list[tuple[str, str]]:
    return [(example.prompt, example.completion) for example in dataset.examples]


def test_cells_are_text_exactly_as_they_stand(write_file: WriteFile) -> None:
    dataset = read(write_file("cells.csv", "prompt,completion\n  007,1.50\nNaN,None\ntrue, 2020-01-01 \n"))
    assert pairs(dataset) == [("  007", "1.50"), ("NaN", "None"), ("true", " 2020-01-01 ")]


def test_a_row_knows_the_line_on_which_it_begins_when_cells_hold_line_breaks(write_file: WriteFile) -> None:
    text = 'prompt,completion\n"a\nb\n\nc",1\n\n\nd,"2\n"\ne,3\n'
    dataset = read(write_file("lines.csv", text))
    assert [example.source.line for example in dataset.examples] == [2, 8, 10]
    assert [example.row for example in dataset.examples] == [0, 1, 2]
    assert dataset.examples[0].prompt == "a\nb\n\nc"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_break_is_read_and_counted(write_file: WriteFile, line_break: str) -> None:
    text = line_break.join(["prompt,completion", f'"a{line_break}b",1', "c,2", ""])
    dataset = read(write_file("breaks.csv", text))
    assert pairs(dataset) == [(f"a{line_break}b", "1"), ("c", "2")]
    assert [example.source.line for example in dataset.examples] == [2, 4]


def test_a_byte_order_mark_is_no_part_of_the_first_column(write_file: WriteFile) -> None:
    dataset = read(write_file("mark.csv", "\ufeffprompt,completion\nä,ö\n"))
    assert (dataset.prompt_columns, pairs(dataset)) == (("prompt",), [("ä", "ö")])


def test_the_hash_is_that_of_the_bytes_and_the_path_is_as_given(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file("hash.csv", b"\xef\xbb\xbfprompt,completion\r\na,b\r\n")
    monkeypatch.chdir(path.parent)
    dataset = read(Path("hash.csv"))
    assert dataset.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (dataset.path, str(dataset.examples[0].source)) == ("hash.csv", "hash.csv:2")


def test_columns_without_a_name_and_other_columns_are_ignored_and_told(write_file: WriteFile) -> None:
    dataset = read(write_file("index.csv", ",Unnamed: 0,Prompt, COMPLETION \n5,5,a,b\n"))
    assert (dataset.prompt_columns, dataset.completion_column) == (("Prompt",), "COMPLETION")
    assert dataset.ignored_columns == ("unnamed column 1", "Unnamed: 0")
    assert pairs(dataset) == [("a", "b")]


def test_a_row_that_ends_early_has_an_empty_answer(write_file: WriteFile) -> None:
    assert pairs(read(write_file("short.csv", "prompt,completion\na\nb,\n"))) == [("a", ""), ("b", "")]


def test_columns_asked_for_win_over_the_usual_names(write_file: WriteFile) -> None:
    path = write_file("asked.csv", "prompt,completion,mood\na,b,c\n")
    assert pairs(read(path, completion_column="mood")) == [("a", "c")]
    assert pairs(read(path, prompt_column="completion", completion_column="Prompt")) == [("b", "a")]


def test_json_lines_give_text_as_it_is_written_and_null_is_empty(write_file: WriteFile) -> None:
    lines = [
        '{"prompt": " a ", "completion": null}',
        "",
        '{"completion": 1.50, "prompt": true, "id": 7}',
        '{"prompt": 12, "completion": {"n": 0.10, "z": ["é"]}}',
        '{"prompt": NaN, "completion": "x\\ny"}',
    ]
    dataset = read(write_file("rows.jsonl", "\r\n".join(lines)))
    assert pairs(dataset) == [(" a ", ""), ("true", "1.50"), ("12", '{"n": 0.1, "z": ["é"]}'), ("", "x\ny")]
    assert [example.source.line for example in dataset.examples] == [1, 3, 4, 5]
    assert dataset.ignored_columns == ("id",)


def test_an_unusual_line_separator_does_not_end_a_json_line(write_file: WriteFile) -> None:
    path = write_file("separator.jsonl", '{"prompt": "a\u2028b", "completion": "c\x85d"}\n')
    assert pairs(read(path)) == [("a\u2028b", "c\x85d")]


def test_what_had_to_be_found_out_is_said(write_file: WriteFile) -> None:
    dataset = read(write_file("german.csv", "prompt;completion\nGrün?;Größe\n".encode("cp1252")))
    assert pairs(dataset) == [("Grün?", "Größe")]
    assert len(dataset.notes) == 2 and "Windows-1252" in dataset.notes[0] and "semicolon" in " ".join(dataset.notes)


def test_the_files_of_a_folder_are_read_in_order_and_numbered_on(write_file: WriteFile, tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"prompt": "c", "completion": "d"}\n')
    (tmp_path / "a.csv").write_text("prompt,completion\na,b\n")
    dataset = read(tmp_path)
    assert pairs(dataset) == [("a", "b"), ("c", "d")]
    assert [str(row.source) for row in dataset.examples] == [f"{tmp_path}/a.csv:2", f"{tmp_path}/b.jsonl:1"]
    assert [row.row for row in dataset.examples] == [0, 1]
    assert dataset.shape == "prompt and completion"


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("empty.csv", "", "empty.csv", "is empty"),
        ("mark.csv", "\ufeff \n", "mark.csv", "is empty"),
        ("empty.jsonl", "\n\n", "empty.jsonl", "is empty"),
        ("header.csv", "prompt,completion\n\n", "header.csv", "no row"),
        ("unknown.csv", "\na,b\n1,2\n", "unknown.csv:2", r"prompt; there are 'a', 'b'.*--prompt-column"),
        ("several.csv", "text,title,label\n1,2,3\n", "several.csv:1", "Several columns could be the prompt"),
        ("twice.csv", "prompt,id,completion, id\n1,2,3,4\n", "twice.csv:1", "same name: 'id'"),
        ("wide.csv", 'prompt,completion\n"a\nb",1\nwell, then,2\n', "wide.csv:4", "3 cells, the header 2"),
        ("open.csv", 'prompt,completion\na,b\nc,"d\ne,f\n', "open.csv:3", "never closed"),
        ("stray.csv", 'prompt,completion\na,b\n"c"d,e\n', "stray.csv:3", "do not match"),
        ("rows", "prompt,completion\na,b\n", "rows", "no ending"),
        ("broken.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": \n', "broken.jsonl:2", "not valid JSON"),
        ("deep.jsonl", "[" * 100_000, "deep.jsonl:1", "not valid JSON"),
        ("digits.jsonl", f'{{"prompt": {"9" * 5000}}}', "digits.jsonl:1", "not valid JSON"),
        ("key.jsonl", '{"prompt": "a", "prompt": "b", "completion": "c"}', "key.jsonl:1", "occurs twice"),
        ("half.jsonl", '{"prompt": "\\ud83d", "completion": "b"}', "half.jsonl:1", "half a character"),
        (
            "missing.jsonl",
            '{"prompt": "a", "completion": "b"}\n\n{"prompt": "a", "answer": "b"}',
            "missing.jsonl:3",
            "no 'completion'; it has 'prompt', 'answer'",
        ),
        ("bare.jsonl", "{}", "bare.jsonl:1", "there are none"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place_and_a_remedy(
    write_file: WriteFile, name: str, content: str | bytes, where: str, message: str
) -> None:
    path = write_file(name, content)
    with pytest.raises(DataError, match=f"(?s){message}") as caught:
        read(path)
    assert caught.value.where == str(path.parent / where)
    assert caught.value.fix


def test_a_missing_file_is_answered_with_the_nearest_name(write_file: WriteFile) -> None:
    path = write_file("tickets_of_march.csv", "prompt,completion\na,b\n")
    with pytest.raises(DataError, match=r"no such file\. Did you mean 'tickets_of_march.csv'\?"):
        read(path.with_name("ticket_of_march.csv"))


def test_an_empty_folder_and_an_impossible_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file in this folder"):
        read(tmp_path)
    for name in ("a\0b.csv", "x" * 5000 + ".csv", "\ud800.csv"):
        with pytest.raises(DataError):
            read(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="no such permissions on Windows")
def test_a_file_without_permission_is_told_as_such(write_file: WriteFile) -> None:
    path = write_file("secret.csv", "prompt,completion\na,b\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(DataError, match="Permission denied"):
        read(path)


def test_a_column_that_is_not_there_is_answered_with_the_nearest_name(write_file: WriteFile) -> None:
    path = write_file("columns.csv", "question,reply_text,id\na,b,c\n")
    with pytest.raises(DataError, match=r"'replytext'; there are .*Did you mean 'reply_text'\?") as caught:
        read(path, completion_column="replytext")
    assert caught.value.where == f"{path}:1"


def test_one_column_cannot_be_both_prompt_and_completion(write_file: WriteFile) -> None:
    path = write_file("both.csv", "prompt,completion\na,b\n")
    with pytest.raises(UsageError, match="cannot be both"):
        read(path, prompt_column="prompt", completion_column="Prompt")


def references(path: Path, *columns: str, completion: str | None = None) -> list[tuple[str, ...]]:
    dataset = read_data(str(path), columns=Columns(references=columns, completion=completion))
    return [example.references for example in dataset.examples]


def test_cells_of_reference_columns_are_further_good_answers_and_empty_ones_are_none(write_file: WriteFile) -> None:
    path = write_file("judged.csv", 'prompt,completion,Also,or\na,b,c,d\ne,f,,"g "\nh,i, ,1.50\nj,k,l,l\n')
    assert references(path, "also", "or") == [("c", "d"), ("g ",), ("1.50",), ("l",)]
    assert references(path) == [()] * 4


def test_a_list_is_several_references_and_a_row_may_lack_the_key(write_file: WriteFile) -> None:
    rows = [{"also": ["c", "", None, 1.5, ["d"]]}, {"also": 7}, {}, {"also": None}, {"also": []}]
    text = "".join(json.dumps({"prompt": "a", "completion": "b", **row}) + "\n" for row in rows)
    assert references(write_file("judged.jsonl", text), "also") == [("c", "1.5", '["d"]'), ("7",), (), (), ()]


def test_a_conversation_may_have_references_too(write_file: WriteFile) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    path = write_file("chat.jsonl", json.dumps({"messages": turns, "also": ["c"]}) + "\n")
    assert references(path, "also") == [("c",)]


def test_references_decide_nothing_about_what_is_read(write_file: WriteFile) -> None:
    path = write_file("judged.csv", "question,answer,reply\na,b,c\n")
    with pytest.raises(DataError, match="Several columns could be the completion"):
        references(path, "reply")
    assert references(path, "reply", completion="answer") == [("c",)]


def test_how_many_rows_have_a_reference_is_noted_and_their_column_is_not_ignored(write_file: WriteFile) -> None:
    path = write_file("judged.csv", "prompt,completion,also\na,b,c\nd,e,\n")
    dataset = read_data(str(path), columns=Columns(references=("also",)))
    assert dataset.ignored_columns == ()
    assert dataset.notes == ("Further good answers, in 1 of 2 rows, are read from 'also': judged by only.",)


def test_a_reference_column_that_is_not_there_is_answered_with_the_nearest_name(write_file: WriteFile) -> None:
    path = write_file("judged.csv", "prompt,completion,also_good\na,b,c\n")
    with pytest.raises(DataError, match=r"'alsogood'; .*Did you mean 'also_good'\? Name it with --reference-column"):
        references(path, "alsogood")


@pytest.mark.parametrize(("column", "role"), [("Completion", "the completion"), ("prompt", "the prompt")])
def test_a_column_that_is_learnt_from_is_no_reference(write_file: WriteFile, column: str, role: str) -> None:
    path = write_file("judged.csv", "prompt,completion\na,b\n")
    with pytest.raises(UsageError, match=f"cannot be both {role} and a reference"):
        references(path, column)


@settings(deadline=None)
@given(content=st.binary(), header=st.booleans(), ending=st.sampled_from([".csv", ".jsonl"]))
def test_any_bytes_give_rows_or_an_error_of_ours(
    write_file: WriteFile, content: bytes, header: bool, ending: str
) -> None:
    try:
        dataset = read(write_file(f"any{ending}", (b"prompt,completion\n" if header else b"") + content))
    except FewtuneError as error:
        assert error.where and error.fix
    else:
        assert dataset.examples


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@settings(deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"prompt": JSON, "completion": JSON}), min_size=1, max_size=5))
def test_any_json_values_become_text(write_file: WriteFile, rows: list[dict[str, object]]) -> None:
    dataset = read(write_file("values.jsonl", "\n".join(json.dumps(row) for row in rows)))
    assert len(dataset.examples) == len(rows)


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=8))
def test_written_rows_are_read_back_as_they_were(
    write_file: WriteFile, examples: MakeExamples, rows: list[tuple[str, str]]
) -> None:
    path = write_file("round.jsonl", "")
    write_rows(path, examples(rows))
    assert pairs(read(path)) == rows
