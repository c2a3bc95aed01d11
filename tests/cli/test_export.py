"""`fewtune export` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = (
    "import resource, signal, sys\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
    "from fewtune.cli import main\n"
    "sys.argv = ['fewtune', *sys.argv[1:]]\n"
    "main()\n"
)


def python(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300, check=False)


def fewtune(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return python("-m", "fewtune", *words)


@pytest.fixture
def tuned(tmp_path: Path, examples_folder: Path) -> None:
    lines = (examples_folder / "orders.csv").read_text(encoding="utf-8").splitlines()[:41]
    (tmp_path / "orders.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("train", tmp_path / "orders.csv", "--epochs", "1", "--learning-rate", "3e-3", "--quiet")
    assert fewtune(*words).returncode == 0


@pytest.mark.usefixtures("tuned")
def test_a_run_is_exported_once_and_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    full = python("-c", LIMITED, "export", "last", "--format", "gguf", "--out", tmp_path / "full")
    assert full.returncode == 7, full.stderr
    assert full.stderr.startswith("fewtune: ")
    assert "Traceback" not in full.stderr
    assert not [path for path in tmp_path.iterdir() if "full" in path.name]

    out = tmp_path / "out"
    done = fewtune("export", "last", "--format", "gguf", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema_version"] == 1
    assert document["folder"] == str(out.resolve())
    assert {path.name for path in out.iterdir()} == set(document["files"]) == {"model.gguf", "Modelfile"}
    assert document["drifts"][0]["mean"] <= document["drifts"][0]["allowed"]

    again = fewtune("export", "last", "--format", "peft", "--out", out)
    assert again.returncode == 2
    assert "not empty" in again.stderr
    assert len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("last", "--format", "onnx", "--out", "x"), "onnx"),
        (("last", "--format", "peft"), "--out"),
        (("last", "--out", "x"), "--format"),
        (("nowhere", "--format", "peft", "--out", "x"), "no run 'nowhere'"),
    ],
)
def test_bad_use_is_named(words: tuple[str, ...], expected: str) -> None:
    done = fewtune("export", *words)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
