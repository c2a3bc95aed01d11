from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.formats.conftest import WriteFile
from data.formats.specimens import WHOLE, read_through
from fewtune.data.formats import open_data
from fewtune.errors import DataError

READ_STANDARD_INPUT = """
from fewtune.data.formats import open_data
opened = open_data("-")
table, = opened.tables
print(table.file, opened.sha256, *table.columns, sum(1 for _ in table.records))
"""


def refusal(path: Path | str) -> DataError:
    with pytest.raises(DataError) as caught:
        open_data(str(path))
    assert caught.value.where and caught.value.fix
    return caught.value


@pytest.mark.parametrize("ending", sorted(WHOLE))
def test_every_format_is_read_by_its_ending_in_any_case(write: WriteFile, ending: str) -> None:
    assert read_through(write(f"data.{ending.upper()}", WHOLE[ending])) >= 2


@pytest.mark.parametrize("ending", sorted(set(WHOLE) - {"txt"}))
def test_standard_input_is_read_by_its_content(ending: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", READ_STANDARD_INPUT], input=WHOLE[ending], capture_output=True, check=True
    )
    file, sha256, *columns, count = result.stdout.decode().split()
    assert (file, sha256) == ("stdin", hashlib.sha256(WHOLE[ending]).hexdigest())
    assert columns[0] == "prompt"
    assert int(count) >= 2


def test_nothing_on_standard_input_is_told() -> None:
    result = subprocess.run([sys.executable, "-c", READ_STANDARD_INPUT], input=b"", capture_output=True, check=False)
    assert b"DataError: stdin: The file is empty." in result.stderr


def test_the_copy_of_standard_input_is_removed(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", READ_STANDARD_INPUT]
    subprocess.run(command, input=b"a,b\n1,2\n", env=environment, capture_output=True, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_folder_are_read_in_order_and_the_rest_is_told(write: WriteFile, tmp_path: Path) -> None:
    write("b.csv", "a,b\n1,2\n")
    write("a.jsonl", '{"x": 1}\n')
    write(".hidden.csv", "a")
    write("readme.md", "x")
    (tmp_path / "inner.csv").mkdir()
    opened = open_data(str(tmp_path))
    assert [table.file for table in opened.tables] == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")]
    assert opened.tables[0].notes == (f"Of the folder {tmp_path} these are not read: 'inner.csv/', 'readme.md'.",)
    assert opened.tables[1].notes == ()
    assert [len(list(table.records)) for table in opened.tables] == [1, 1]


def test_the_hash_of_a_folder_is_that_of_the_names_and_digests_of_its_files(write: WriteFile, tmp_path: Path) -> None:
    digests = {
        name: hashlib.sha256(write(name, content).read_bytes()) for name, content in [("a.txt", "x"), ("b.txt", "y")]
    }
    write("notes.md", "not part of it")
    listing = "".join(f"{digest.hexdigest()}  {name}\n" for name, digest in digests.items())
    before = open_data(str(tmp_path)).sha256
    assert before == hashlib.sha256(listing.encode()).hexdigest()
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert open_data(str(tmp_path)).sha256 != before


def test_more_files_than_may_be_open_at_once_are_read(write: WriteFile, tmp_path: Path) -> None:
    for number in range(1500):
        write(f"{number:04}.csv", f"a,b\n{number},x\n")
    assert sum(len(list(table.records)) for table in open_data(str(tmp_path)).tables) == 1500


def test_a_folder_without_data_is_told_with_what_is_in_it(write: WriteFile, tmp_path: Path) -> None:
    write("picture.png", b"x")
    assert "'picture.png'" in refusal(tmp_path).what


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("sheet.xls", "save it as .xlsx"),
        ("data.csv.gz", "Unpack it first"),
        ("data.zip", "Unpack it first"),
        ("paper.PDF", "Copy its records to a table"),
        ("letter.docx", "Copy its records to a table"),
        ("rows.feather", ".parquet"),
        ("picture.png", "Save the records as CSV"),
        ("nothing", "Save the records as CSV"),
    ],
)
def test_other_endings_get_a_sentence_with_what_to_do(write: WriteFile, name: str, fix: str) -> None:
    error = refusal(write(name, "a,b\n1,2\n"))
    assert fix in (error.fix or "")


def test_a_missing_file_is_answered_with_the_nearest_name(write: WriteFile) -> None:
    path = write("tickets_of_march.csv", "prompt,completion\na,b\n")
    error = refusal(path.with_name("ticket_of_march.csv"))
    assert error.what == "There is no such file."
    assert "Did you mean 'tickets_of_march.csv'?" in (error.fix or "")


def test_impossible_paths_are_refused(tmp_path: Path) -> None:
    for name in ("a\0b.csv", "x" * 5000 + ".csv", "\ud800.csv"):
        refusal(tmp_path / name)


def test_links_are_followed_and_one_that_leads_nowhere_is_told(write: WriteFile, tmp_path: Path) -> None:
    write("data.csv", "a,b\n1,2\n")
    (tmp_path / "link.csv").symlink_to("data.csv")
    (tmp_path / "folder").symlink_to(tmp_path)
    assert read_through(tmp_path / "link.csv") == 1
    assert read_through(tmp_path / "folder") == 2
    (tmp_path / "lost.csv").symlink_to("gone.csv")
    assert "leads nowhere" in refusal(tmp_path / "lost.csv").what


@pytest.mark.skipif(os.name == "nt", reason="no such files on Windows")
def test_pipes_and_devices_are_refused_without_being_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        assert "not a regular file" in refusal(tmp_path / name).what


@pytest.mark.skipif(os.name == "nt", reason="no such permissions on Windows")
def test_a_file_without_permission_is_told_as_such(write: WriteFile) -> None:
    path = write("secret.csv", "prompt,completion\na,b\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in refusal(path).what
