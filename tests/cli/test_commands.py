"""The command line as a user meets it: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewtune.cli.data import Format
from fewtune.data.rendering import ROW_SHAPES


def fewtune(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fewtune", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


@pytest.fixture
def orders(tmp_path: Path, examples_folder: Path) -> Path:
    lines = (examples_folder / "orders.csv").read_text(encoding="utf-8").splitlines()[:41]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


BAD_DATA = {
    "missing": (None, "no such file"),
    "empty": (b"", "empty"),
    "header alone": (b"prompt,completion\n", "no row"),
    "no columns": (b"foo,bar\n1,2\n", "'foo', 'bar'"),
    "near columns": (b"promt,complexion\n1,2\n", "Did you mean --prompt-column promt --completion-column complexion?"),
    "two of a name": (b"prompt,prompt,completion\n1,2,3\n", "same name"),
    "one row": (b"prompt,completion\na,b\n", "at least 8"),
    "neither UTF-8 nor Windows-1252": (b"prompt,completion\ncaf\x81,b\n", "UTF-8"),
    "a zip for a sheet": (b"PK\x03\x04", "ZIP archive"),
    "open quote": (b'prompt,completion\na,"b\n', "never closed"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_one_clear_line_and_exit_3(name: str, tmp_path: Path) -> None:
    content, expected = BAD_DATA[name]
    path = tmp_path / "data.csv"
    if content is not None:
        path.write_bytes(content)
    done = fewtune("run", path, "--quiet")
    assert done.returncode == 3, done.stderr
    assert expected.lower() in done.stderr.lower()
    assert str(path) in done.stderr
    assert done.stderr.startswith("fewtune: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == ([path] if content is not None else [])


BAD_USE = {
    "base": (["--base", "nowhere"], 2, "nowhere"),
    "provider": (["--provider", "nobody"], 2, "local"),
    "no key": (["--provider", "openai"], 5, "OPENAI_API_KEY"),
    "epochs": (["--epochs", "0"], 2, "--epochs"),
    "rate": (["--learning-rate", "10"], 2, "--learning-rate"),
    "batch": (["--batch-size", "400"], 2, "--batch-size"),
    "out is a file": (["--out", "orders.csv"], 2, "orders.csv"),
    "option": (["--nonsense"], 2, "--nonsense"),
}


@pytest.mark.parametrize("name", BAD_USE)
def test_bad_use_names_the_option_and_has_its_exit_code(name: str, orders: Path) -> None:
    words, code, expected = BAD_USE[name]
    done = fewtune("run", orders.name, "--quiet", *words, cwd=orders.parent)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_key_the_error_comes_before_the_data_is_read(tmp_path: Path) -> None:
    done = fewtune("run", tmp_path / "not-there.csv", "--provider", "openai", "--budget-usd", "1")
    assert done.returncode == 5
    assert "OPENAI_API_KEY" in done.stderr


def test_json_is_one_document_on_stdout_with_a_schema_version(orders: Path) -> None:
    done = fewtune("run", orders, "--provider", "fake", "--json")
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    for trial in document["trials"]:
        assert {"epochs", "batch_size", "learning_rate"} <= set(trial["plan"])
        assert "valid_loss" in trial
    assert document["chosen"] in {trial["id"] for trial in document["trials"]}
    assert document["verdict"]


def test_the_json_of_a_sweep_tells_what_was_chosen_and_what_it_saved(orders: Path) -> None:
    words = ["--epochs", "1,2,4", "--learning-rate", "1e-4..3e-3 log", "--trials", "8"]
    document = json.loads(fewtune("sweep", orders, "--provider", "fake", "--json", *words).stdout)
    for trial in document["trials"]:
        assert {"epochs", "batch_size", "learning_rate"} <= set(trial["plan"])
        assert isinstance(trial["valid_loss"], float)
        assert set(trial["usage"]) == {"tokens", "seconds", "usd"}
        assert trial["ended"] in ("finished", "dropped", "turned")
    assert document["chosen"] in {trial["id"] for trial in document["trials"]}
    assert set(document["tied"]) <= {trial["id"] for trial in document["trials"]} - {document["chosen"]}
    assert document["verdict"].startswith(("Tune: ", "Do not tune: ", "Cannot be told: "))
    assert set(document["saved_against_grid"]) == {"epochs", "grid_epochs", "share"}
    search = document["search"]
    assert (search["searcher"], search["asked"], search["rungs"], search["cut"]) == ("quasi", 8, [1, 2, 4], [])
    assert {"value", "interval", "rows", "optimism", "by"} == set(search["estimate"])
    assert len(search["finalists"]) == 2


def test_a_run_is_listed_shown_reported_and_answers(orders: Path) -> None:
    done = fewtune("run", orders, "--provider", "fake", "--quiet", "--json")
    run_id = json.loads(done.stdout)["id"]
    assert run_id in fewtune("runs").stdout
    assert json.loads(fewtune("show", "last", "--json").stdout)["id"] == run_id
    report = Path(fewtune("report", run_id).stdout.strip())
    assert "<html" in report.read_text(encoding="utf-8")
    assert fewtune("generate", run_id, "One rye loaf please").stdout.strip()


def test_prepare_writes_three_parts_and_every_change(orders: Path, tmp_path: Path) -> None:
    done = fewtune("prepare", orders, "--out", tmp_path / "out", "--json")
    document = json.loads(done.stdout)
    for name, count in document["splits"].items():
        assert len((tmp_path / "out" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()) == count
    assert document["rows_read"] == document["rows_kept"] + sum(document["dropped"].values())


@pytest.mark.parametrize("command", ["doctor", "config", "prices"])
def test_the_small_commands_speak_json_too(command: str) -> None:
    assert json.loads(fewtune(command, "--json").stdout)["schema_version"] == 1
    assert fewtune(command).returncode == 0


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "polars", "pydantic", "optuna", "sqlalchemy", "altair", "numpy", "openai")
    code = (
        "import sys\nsys.argv = ['fewtune', '--help']\nfrom fewtune.cli import main\n"
        f"try:\n    main()\nexcept SystemExit:\n    print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def _begin(orders: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fewtune", "run", str(orders), "--epochs", "30", "--learning-rate", "1e-3"]
    process = subprocess.Popen([*command, *more], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process


def _wait_for_training(home: Path) -> None:
    """Until a first checkpoint is on disk."""
    for _ in range(600):
        if list(home.glob("runs/*/trials/*/step-*")):
            return
        time.sleep(0.1)
    pytest.fail("training did not begin")


def test_ctrl_c_leaves_a_run_that_can_be_resumed_and_exits_130(orders: Path) -> None:
    home = Path(os.environ["FEWTUNE_HOME"])
    process = _begin(orders)
    _wait_for_training(home)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    run_id = re.search(r"fewtune resume (\S+)", errors)
    assert run_id
    listed = json.loads(fewtune("runs", "--json").stdout)["runs"]
    assert [(one["id"], one["state"]) for one in listed] == [(run_id.group(1), "stopped")]


def test_a_second_process_on_the_same_run_is_refused_while_the_first_works(orders: Path) -> None:
    home = Path(os.environ["FEWTUNE_HOME"])
    process = _begin(orders)
    try:
        _wait_for_training(home)
        second = fewtune("run", orders, "--epochs", "30", "--learning-rate", "1e-3", "--quiet")
        assert second.returncode == 2
        assert "Another process" in second.stderr
    finally:
        process.kill()
        process.communicate()


def test_a_run_that_was_killed_is_listed_as_stopped(orders: Path) -> None:
    home = Path(os.environ["FEWTUNE_HOME"])
    process = _begin(orders, "--quiet")
    _wait_for_training(home)
    process.kill()
    process.communicate()
    assert [one["state"] for one in json.loads(fewtune("runs", "--json").stdout)["runs"]] == ["stopped"]


def test_a_full_disk_pauses_the_run_with_exit_7(orders: Path, tmp_path: Path) -> None:
    # A file-size limit stands in for a full disk: writes beyond it fail in the same way, without being root.
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "from fewtune.cli import main\n"
        f"sys.argv = ['fewtune', 'run', {str(orders)!r}, '--epochs', '1', '--learning-rate', '1e-3', '--quiet',"
        f" '--out', {str(tmp_path / 'out')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("adapter"))
    finished = fewtune("run", orders, "--epochs", "1", "--learning-rate", "1e-3", "--quiet", "--out", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("content", "expected"),
    [("garbage [[[", "Not valid TOML"), ("seed = -4", "seed cannot be -4"), ("nonsense = 1", "no setting 'nonsense'")],
)
def test_a_settings_file_that_cannot_be_used_is_named(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "fewtune.toml").write_text(content)
    done = fewtune("config", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("fewtune: fewtune.toml: ")
    assert expected in done.stderr


@pytest.mark.parametrize("size", ["nan", "inf", "2.5", "0"])
def test_an_impossible_size_of_a_part_is_refused(size: str, orders: Path) -> None:
    done = fewtune("prepare", orders, "--valid", size)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_and_a_full_output_is(orders: Path) -> None:
    fewtune("run", orders, "--provider", "fake", "--quiet")
    shell = f"set -o pipefail; {sys.executable} -m fewtune show last | head -1"
    assert subprocess.run(["bash", "-c", shell], capture_output=True, check=False).returncode == 0
    shell = f"{sys.executable} -m fewtune show last --json > /dev/full"
    full = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert full.returncode == 7
    assert "Traceback" not in full.stderr


def test_a_run_whose_folder_is_gone_says_how_to_make_it_again(orders: Path, tmp_path: Path) -> None:
    fewtune("run", orders, "--provider", "fake", "--quiet", "--out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    for words in (["generate", "last", "A rye loaf"], ["report", "last"]):
        done = fewtune(*words)
        assert done.returncode == 2
        assert "fewtune resume" in done.stderr


def test_every_shape_of_rows_can_be_asked_for() -> None:
    assert [one.value for one in Format] == list(ROW_SHAPES)
