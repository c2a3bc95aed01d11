"""The doctor's table and its JSON say the same."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from fewtune.cli.app import app
from fewtune.engine.memory import spoken


def doctor(*words: str) -> str:
    done = CliRunner().invoke(app, ["doctor", *words], terminal_width=100)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_what_training_takes_is_told_before_anything_is_trained() -> None:
    told = json.loads(doctor("--json"))["memory"]
    assert told["base"] == "pocket"
    assert told["base_bytes"] >= told["parameters"] * {"fp32": 4, "bf16": 2}[told["dtype"]]
    assert told["base_bytes"] + told["program_bytes"] + told["activation_bytes"] < told["total_bytes"]
    assert told["longest_row"] == told["context"] == 1024
    shown = doctor()
    for name in ("base_bytes", "program_bytes", "activation_bytes", "total_bytes", "trial_bytes"):
        assert spoken(told[name]) in shown
    assert f"{told['width']:,}" in shown


@pytest.mark.parametrize("words", [("--base", "nowhere"), ("--base", "nowhere", "--json")])
def test_a_base_that_is_not_there_is_told_and_nothing_is_forecast(words: tuple[str, ...]) -> None:
    shown = doctor(*words)
    assert "There is no base 'nowhere'" in shown
    assert "longest row" not in shown
