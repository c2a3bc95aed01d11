"""serve, keys, backup and restore, as a user meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from fewtune.cli.app import app
from fewtune.errors import FewtuneError, OccupiedError, UsageError
from fewtune.service import starting
from fewtune.service.supervisor import Supervisor
from fewtune.store.keys import Keys
from fewtune.store.service_database import open_service_database


def fewtune(*words: str | Path) -> str:
    """What the command prints; raises what it raises."""
    return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False).stdout


def keys() -> Keys:
    return starting.open_keys(None, None)


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_busy_port_is_told_with_what_to_do_and_makes_no_key(busy: int) -> None:
    with pytest.raises(UsageError, match=rf"127.0.0.1:{busy}: .*--port"):
        fewtune("serve", "--provider", "fake", "--port", str(busy))
    assert keys().list() == [], "a key that nobody was told"


def test_it_does_not_listen_beyond_this_machine_without_a_key() -> None:
    words = ("serve", "--provider", "fake", "--host", "0.0.0.0", "--allowed-host", "a.example", "--port", "0")
    with pytest.raises(UsageError, match="fewtune keys create"):
        fewtune(*words)


def test_where_it_listens_everywhere_it_has_to_know_its_names() -> None:
    fewtune("keys", "create", "me")
    with pytest.raises(UsageError, match="--allowed-host"):
        fewtune("serve", "--provider", "fake", "--host", "0.0.0.0")


def test_a_folder_that_is_being_served_is_not_served_twice(tmp_path: Path) -> None:
    with FileLock(tmp_path / "serve.lock"), pytest.raises(OccupiedError, match="runs already"):
        fewtune("serve", "--provider", "fake", "--folder", tmp_path, "--port", "0")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--provider", "openai"), "local, fake"),
        (("--alias", "gpt-4o"), "NAME=BASE"),
        (("--base", "nowhere"), "nowhere"),
        (("--base", "pocket", "--alias", "gpt-4o=nowhere"), "nowhere"),
        (("no-such-run",), "no-such-run"),
        (("--provider", "fake", "--database", "mysql://a/b"), "postgresql://"),
    ],
)
def test_what_cannot_be_served_is_told_before_anything_is_made(
    words: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FewtuneError, match=re.escape(told)):
        fewtune("serve", "--port", "0", *words)
    assert not (Path(os.environ["FEWTUNE_HOME"]) / "service" / "service.db").exists()


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "find_spec", lambda name: None if name == "fastapi" else object())
    with pytest.raises(UsageError, match=re.escape("pip install 'fewtune[serve]'")):
        fewtune("serve")


def test_a_key_is_made_listed_and_revoked() -> None:
    secret = fewtune("keys", "create", "laptop", "--project", "mine", "--admin").strip()
    caller = keys().verify(secret)
    assert caller and (caller.project, caller.admin) == ("mine", True)
    listed = fewtune("keys", "list")
    assert "laptop" in listed and "mine" in listed and secret not in listed
    (record,) = json.loads(fewtune("keys", "list", "--json"))["keys"]
    assert "laptop" in fewtune("keys", "revoke", record["id"])
    assert keys().verify(secret) is None
    assert "revoked" in fewtune("keys", "list")


def test_the_json_of_a_new_key_has_its_secret() -> None:
    document = json.loads(fewtune("keys", "create", "laptop", "--json"))
    assert keys().verify(document["key"]["secret"])


def test_without_keys_the_list_says_how_to_make_one() -> None:
    assert "fewtune keys create NAME" in fewtune("keys", "list")


def test_a_backup_is_restored_with_its_keys(tmp_path: Path) -> None:
    secret = fewtune("keys", "create", "me").strip()
    file, place = tmp_path / "all.tar", tmp_path / "restored"
    assert str(file) in fewtune("backup", file)
    assert str(place) in fewtune("restore", file, "--folder", place)
    engine = open_service_database(place / "service.db")
    assert Keys(engine).verify(secret)
    engine.dispose()
    with pytest.raises(UsageError, match="not empty"):
        fewtune("restore", file, "--folder", place)


def test_there_is_nothing_to_back_up_where_no_service_has_been(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no service"):
        fewtune("backup", tmp_path / "all.tar")
    assert list(tmp_path.iterdir()) == []


def test_starting_imports_neither_torch_nor_what_answers_requests(tmp_path: Path) -> None:
    code = (
        "import sys; from fewtune.cli.app import app; from fewtune.service import starting, supervisor, logs\n"
        "print(sorted({'torch', 'transformers', 'fastapi', 'uvicorn', 'polars', 'openai'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def started(home: Path) -> tuple[subprocess.Popen[str], str]:
    """The process, and all that it tells until it says how to stop it."""
    words = [sys.executable, "-m", "fewtune", "serve", "--provider", "fake", "--port", "0"]
    environment = {**os.environ, "FEWTUNE_HOME": str(home)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True)
    lines: list[str] = []
    while not (lines and lines[-1].startswith("Stop with")):
        lines.append(line_of(process.stdout))
    return process, "".join(lines)


def line_of(stream: IO[str] | None) -> str:
    assert stream
    line = stream.readline()
    assert line, "it ended"
    return line


def test_the_first_start_tells_a_key_and_the_second_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, told = started(tmp_path)
    key = re.findall(r"OPENAI_API_KEY=(sk-fewtune-\S+)", told)[0]
    address = re.findall(r"OPENAI_BASE_URL=(http://127\.0\.0\.1:\d+/v1)", told)[0]
    right = httpx.get(f"{address}/models", headers={"authorization": f"Bearer {key}"}, timeout=60)
    wrong = httpx.get(f"{address}/models", headers={"authorization": "Bearer sk-fewtune-wrong"}, timeout=60)
    assert (right.status_code, wrong.status_code) == (200, 401)
    assert "fewtune keys create NAME" in wrong.json()["error"]["message"]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert process.stdout
    process.stdout.close()
    monkeypatch.setenv("FEWTUNE_HOME", str(tmp_path))
    monkeypatch.setattr(Supervisor, "run", lambda self: self._ready())
    again = fewtune("serve", "--provider", "fake", "--port", "0")
    assert "sk-fewtune-" not in again and "fewtune keys create NAME" in again
    assert keys().verify(key)
