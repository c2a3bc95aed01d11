"""Bases from anywhere: none is served that brings code along, or weights that run some when they are read."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fewtune.bases.folder import locate
from fewtune.cli.app import app
from fewtune.errors import BaseModelError

_MAP = {"AutoModelForCausalLM": "evil.Model"}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    copied = tmp_path / "base"
    shutil.copytree(locate("pocket"), copied)
    (copied / "evil.py").write_text("raise SystemExit('code of the base was run')", encoding="utf-8")
    return copied


def change(base: Path, values: Mapping[str, Any]) -> None:
    path = base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def serve(base: Path) -> None:
    """At a port that is taken, so that a base which is not refused does not serve for ever."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        words = ["serve", "--base", str(base), "--port", port, "--provider", "local"]
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize(
    "values",
    [
        {"auto_map": _MAP},
        {"auto_map": {}},
        {"auto_map": _MAP, "trust_remote_code": True},
        {"text_config": {"auto_map": _MAP}},
        {"parts": [{"auto_map": _MAP}]},
    ],
)
def test_a_base_that_brings_code_along_is_not_served(base: Path, values: dict[str, Any]) -> None:
    change(base, values)
    with pytest.raises(BaseModelError, match="auto_map"):
        serve(base)
    assert "evil" not in sys.modules


class _Ends:
    def __reduce__(self) -> tuple[Any, ...]:
        return exit, ("the pickle was read",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl", "consolidated.00.pth"])
def test_a_base_with_pickled_weights_is_not_served(base: Path, name: str) -> None:
    for weights in base.glob("*.safetensors"):
        weights.unlink()
    (base / name).write_bytes(pickle.dumps(_Ends()))
    with pytest.raises(BaseModelError, match="pickled"):
        serve(base)
