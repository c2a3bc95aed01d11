"""The recipe `openai-2022`: the same bytes, names and refusals as openai 0.25.0."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.prepare_data_2022 import NotInstallable, installed, prepare_all
from fewtune.data.legacy_completions.delimited import read_delimited
from fewtune.data.legacy_completions.preparation import Prepared2022, prepare_2022
from fewtune.errors import DataError
from standin.legacy_files import make_files

_SEED = 25
_ALL_FILES = 350
_DOCTOR_WHO = "418d1eddbf9aa85ef90db6f3a1eb0e96ff4130bb7244359b63d18ad9bdc120e2"
_REMARKS = (
    *("format", "few_rows", "column_case", "further_columns", "empty_completion", "classification", "duplicate_row"),
    *("long_row", "upper_case_prompt", "upper_case_completion", "prompt_separator", "prompt_suffix", "prompt_prefix"),
    *("completion_prefix", "completion_ending", "completion_suffix", "leading_space"),
)

Write = Callable[[str, str | bytes], Path]


@dataclass(frozen=True, kw_only=True)
class Compared:
    path: Path
    old_error: str | None
    old_files: dict[str, bytes]
    prepared: Prepared2022 | None
    error: DataError | None
    files: dict[str, bytes]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Compared]]:
    """Both tools on that many drawn files; skips where the old one cannot be fetched."""

    def both(count: int) -> list[Compared]:
        try:
            installed()
        except NotInstallable as error:
            pytest.skip(f"openai 0.25.0 cannot be installed here: {error}")
        theirs = tmp_path_factory.mktemp("theirs")
        given_files = make_files(theirs, count, _SEED)
        ours = tmp_path_factory.mktemp("ours")
        shutil.copytree(theirs, ours, dirs_exist_ok=True)
        ended = prepare_all(given_files)
        return [
            _compared(path, ours / path.relative_to(theirs), end.error)
            for path, end in zip(given_files, ended, strict=True)
        ]

    return both


def _compared(path: Path, copy: Path, old_error: str | None) -> Compared:
    prepared, refused = None, None
    try:
        prepared = prepare_2022(copy)
        prepared.write(copy.parent)
    except DataError as error:
        refused = error
    return Compared(
        path=path,
        old_error=old_error,
        old_files=_files(path.parent),
        prepared=prepared,
        error=refused,
        files=_files(copy.parent),
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _differences(compared: list[Compared]) -> list[str]:
    return [
        f"{one.path.parent.name}/{one.path.name}: theirs {one.old_error or sorted(one.old_files)}, "
        f"ours {one.error or sorted(one.files)}"
        for one in compared
        if bool(one.old_error) != bool(one.error) or (not one.error and one.files != one.old_files)
    ]


def test_the_old_tool_writes_the_same_files_or_refuses_as_well(compare: Callable[[int], list[Compared]]) -> None:
    assert _differences(compare(_ALL_FILES // 10)) == []


@pytest.mark.slow
def test_the_old_tool_agrees_on_many_files_in_which_every_rule_has_and_has_not_something_to_say(
    compare: Callable[[int], list[Compared]],
) -> None:
    compared = compare(_ALL_FILES)
    assert _differences(compared) == []
    kept = [one.prepared for one in compared if one.prepared]
    said = Counter(code for one in kept for code in {remark.code for remark in one.remarks})
    assert [code for code in _REMARKS if not 0 < said[code] < len(kept)] == []
    assert set(said) == set(_REMARKS)
    refused = {one.error.what for one in compared if one.error}
    assert {"All prompts are the same.", "All completions are the same."} <= refused
    assert {(one.path.suffix.lower(), one.error is None) for one in compared} >= {
        (ending, accepted) for ending in (".csv", ".tsv", ".json", ".jsonl", ".xlsx") for accepted in (True, False)
    }
    assert {one.task for one in kept} == {"open-ended", "classification", "conditional"}
    assert {one.unchanged for one in kept} == {True, False}


def test_the_synopses_become_the_very_file_of_2022(doctor_who: Path, tmp_path: Path) -> None:
    (written,) = prepare_2022(doctor_who).write(tmp_path)
    assert written.name == "dw_synopses_prepared.jsonl"
    assert hashlib.sha256(written.read_bytes()).hexdigest() == _DOCTOR_WHO


def test_the_rows_read_are_the_rows_kept_and_the_rows_dropped(tmp_path: Path) -> None:
    for path in make_files(tmp_path, 35, _SEED):
        try:
            prepared = prepare_2022(path)
        except DataError as error:
            assert error.where
            assert error.fix
            continue
        kept = sum(map(len, prepared.parts.values()))
        assert prepared.rows_read == kept + sum(prepared.dropped.values()), path
        rows = [row for part in prepared.parts.values() for row in part.rows]
        assert len(set(rows)) == kept


def test_slashes_are_escaped_and_letters_are_not(write: Write, tmp_path: Path) -> None:
    path = write("rows.csv", 'prompt,completion\né/1,"a ""b"" \\ \x01"\nß,c\n')
    (written,) = prepare_2022(path).write(tmp_path)
    assert written.read_text(encoding="utf-8").splitlines() == [
        '{"prompt":"é\\/1 ->","completion":" a \\"b\\" \\\\ \\u0001\\n"}',
        '{"prompt":"ß ->","completion":" c\\n"}',
    ]


def test_a_common_beginning_with_a_space_leaves_the_space(write: Write) -> None:
    rows = [
        {"prompt": f"{city} ->", "completion": f" It is {kind}.\n"} for city, kind in (("Rome", "old"), ("Bonn", "x"))
    ]
    prepared = prepare_2022(write("rows.jsonl", "\n".join(map(json.dumps, rows))))
    assert list(prepared.parts["_prepared"].completions) == [" old.\n", " x.\n"]
    assert prepared.applied == ("completion_prefix",)


def test_labels_are_split_into_train_and_valid(write: Write, tmp_path: Path) -> None:
    path = write("rows.csv", "prompt,completion\n" + "".join(f"p{n},{'ab'[n % 2]}\n" for n in range(20)))
    prepared = prepare_2022(path)
    assert {name: len(part) for name, part in prepared.parts.items()} == {"_prepared_train": 16, "_prepared_valid": 4}
    # What pandas draws with random_state=42 out of twenty.
    assert list(prepared.parts["_prepared_train"].rows) == [0, 17, 15, 1, 8, 5, 11, 3, 18, 16, 13, 2, 9, 19, 4, 12]
    assert list(prepared.parts["_prepared_valid"].rows) == [6, 7, 10, 14]
    assert [written.name for written in prepared.write(tmp_path)] == [
        "rows_prepared_train.jsonl",
        "rows_prepared_valid.jsonl",
    ]


def test_rows_that_share_the_label_of_a_training_row_are_in_neither_file_and_told(write: Write) -> None:
    path = write("rows.csv", "prompt,completion\n" + "".join(f"k{n % 5},p{n},{'ab'[n % 2]}\n" for n in range(20)))
    prepared = prepare_2022(path)
    assert len(prepared.parts["_prepared_train"]) == 16
    assert len(prepared.parts["_prepared_valid"]) == 0
    assert prepared.dropped_rows == {"repeated_label": (6, 7, 10, 14)}


def test_places_of_long_rows_are_taken_for_labels_as_in_2022(write: Write) -> None:
    long = "x" * 10_001
    prepared = prepare_2022(write("rows.csv", f"prompt,completion\na,\nb,1\nc,{long}\nd,2\n"))
    (remark,) = [remark for remark in prepared.remarks if remark.code == "long_row"]
    assert remark.rows == (2,)
    assert prepared.dropped_rows == {"empty_completion": (0,), "long_row": (1,)}


def test_names_that_are_taken_get_a_number(write: Write, tmp_path: Path) -> None:
    prepared = prepare_2022(write("rows.txt", "one\ntwo"))
    names = [prepared.write(tmp_path)[0].name for _ in range(3)]
    assert names == ["rows_prepared.jsonl", "rows_prepared (1).jsonl", "rows_prepared (2).jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "rows.txt"])


def test_rows_that_need_nothing_are_not_written_again(write: Write, tmp_path: Path) -> None:
    rows = '{"prompt":"a ->","completion":" x\\n"}\n{"prompt":"b ->","completion":" y\\n"}\n'
    prepared = prepare_2022(write("rows.jsonl", rows))
    assert prepared.unchanged
    assert prepared.write(tmp_path) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_row_without_a_completion_is_dropped_and_told(write: Write) -> None:
    prepared = prepare_2022(write("rows.csv", "prompt,completion\na,x\nb,NA\nc,\nd,y\n"))
    (remark,) = [remark for remark in prepared.remarks if remark.code == "empty_completion"]
    assert remark.rows == (1, 2)
    assert prepared.dropped == {"empty_completion": 2}
    assert list(prepared.parts["_prepared"].rows) == [0, 3]


@pytest.mark.parametrize(
    ("rows", "prompts"),
    [
        ("a,1\n\n  \n \t\r\nb,2\n", ["a", "b"]),
        ('a,1\n""\n"  ",2\n', ["a", "  "]),
        ("  a,1\n\tb,2\n", ["  a", "\tb"]),
        ("a,1\rb,2\r\r,c,3\r", ["a", "b", "c"]),
        ('a"b"c,1\n"d"e"f",2\n', ['a"b"c', 'de"f"']),
        ("x" * ((1 << 18) - 23) + ",1\n   b,2\n", ["x" * ((1 << 18) - 23), " b"]),
    ],
    ids=["blank lines", "quoted blanks", "blanks in front", "old Mac", "quotes inside", "blanks at a chunk's end"],
)
def test_cells_are_cut_as_pandas_cuts_them(rows: str, prompts: list[str]) -> None:
    data = f"prompt,completion\n{rows}".encode()
    frame = read_delimited(data, "rows.csv", ",")
    assert [text for text in frame.as_text(frame.cells[0]) if text] == prompts


@pytest.mark.parametrize(
    ("name", "content", "what", "where"),
    [
        ("rows.csv", "prompt,completion\na,b\nc,d\ne,f,g\n", "This row has 3 cells where 2 are expected.", ":4"),
        ("rows.csv", 'prompt,completion\n\na,"b\n', "A double quote opens here and is never closed.", ":3"),
        ("rows.csv", "question,answer\na,b\n", "There is no column `prompt`; the columns are: question, answer.", ""),
        ("rows.csv", b"prompt,completion\na,\xff\n", "The file is not UTF-8: byte 0xff at offset 20.", ""),
        ("rows.csv", "", "The file is empty.", ""),
        ("rows.csv", "prompt,completion\na,x\na,y\n", "All prompts are the same.", ""),
        ("rows.csv", "prompt,completion\na,x\nb,x\n", "All completions are the same.", ""),
        ("rows.md", "text", "The ending of the file's name is not known.", ""),
        ("rows.json", '[{"prompt": "a", "completion": "b"}]', "record 0 is not an object", ""),
        ("rows.jsonl", '{"prompt": "a"', "The file is neither JSON nor JSON lines", ""),
        ("rows.jsonl", '{"prompt":"\\udc00","completion":"b"}', "A text holds half a character", ""),
        ("rows.xlsx", "prompt", "The workbook cannot be read: File is not a zip file.", ""),
    ],
)
def test_what_the_old_tool_refused_is_refused_with_a_reason(
    name: str, content: str | bytes, what: str, where: str, write: Write
) -> None:
    path = write(name, content)
    with pytest.raises(DataError) as refused:
        prepare_2022(path)
    assert what in refused.value.what
    assert refused.value.where == f"{path}{where}"
    assert refused.value.fix


def test_a_workbook_that_unpacks_to_far_more_than_it_holds_is_refused(write: Write) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b" " * (1 << 25))
    with pytest.raises(DataError, match="unpacks to 33,554,432 bytes"):
        prepare_2022(write("rows.xlsx", out.getvalue()))


@pytest.mark.parametrize("depth", [900, 1000, 10_000])
def test_json_that_is_nested_too_deep_is_refused(depth: int, write: Write) -> None:
    line = f'{{"prompt": {"[" * depth}{"]" * depth}, "completion": "x"}}\n'
    with pytest.raises(DataError):
        prepare_2022(write("rows.jsonl", line))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ending=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx"]),
    start=st.sampled_from([b"prompt,completion\n", b"prompt\tcompletion\n", b'{"prompt":"a","completion":', b""]),
    data=st.one_of(st.binary(max_size=60), st.text('",\t\r\n {}[]:\\u-0123eE.Nab\0', max_size=60).map(str.encode)),
)
def test_no_bytes_raise_anything_but_our_error(ending: str, start: bytes, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_bytes(start + data)
    try:
        prepared = prepare_2022(path)
    except DataError as error:
        assert error.fix
    else:
        assert prepared.rows_read >= sum(map(len, prepared.parts.values()))
