"""Which settings make another run, and how the same one is asked for again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import fewtune
from fewtune import settings as configuration
from fewtune.errors import UsageError
from fewtune.experiment.settings import RunSettings
from fewtune.experiment.summarising import command

PLAIN = RunSettings(data="rows.csv")


def test_in_bf16_it_is_another_run_so_that_neither_goes_on_with_the_others_checkpoints() -> None:
    assert replace(PLAIN, precision="bf16").run_id("") != PLAIN.run_id("")


def test_fp32_that_is_asked_for_is_the_run_of_those_who_did_not_ask() -> None:
    assert replace(PLAIN, precision="fp32").run_id("") == PLAIN.run_id("")


def test_a_run_of_before_there_was_a_precision_keeps_its_identity() -> None:
    document = PLAIN.to_json()
    del document["precision"]
    assert RunSettings.from_json(document) == PLAIN
    assert RunSettings.from_json(document).run_id("") == "rows-53f2071e"


def test_a_stored_run_goes_on_in_its_own_precision() -> None:
    for asked in (replace(PLAIN, precision="bf16"), replace(PLAIN, four_bit=True), PLAIN):
        assert RunSettings.from_json(asked.to_json()).base_precision == asked.base_precision
    assert replace(PLAIN, four_bit=True).base_precision == "4bit"


def test_the_command_that_makes_a_run_again_sets_what_has_no_option() -> None:
    told = command(replace(PLAIN, precision="bf16", seed=3), {})
    assert told.startswith("FEWTUNE_PRECISION=bf16 fewtune run rows.csv ")
    assert "--seed 3" in told and "--precision" not in told
    assert command(replace(PLAIN, four_bit=True), {}).startswith("FEWTUNE_FOUR_BIT=True fewtune run")


def test_the_environment_decides_what_a_new_run_is_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples_folder: Path
) -> None:
    from fewtune.engine import precision

    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    monkeypatch.setenv("FEWTUNE_PRECISION", "bf16")
    with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: bf16 without CUDA takes a CPU with matrix units"):
        fewtune.train(examples_folder / "orders.csv", epochs=1, out=tmp_path / "out")
    done = fewtune.train(
        examples_folder / "orders.csv", epochs=1, learning_rate=1e-3, provider="fake", out=tmp_path / "fake"
    )
    assert done.summary.settings["precision"] is None


class TestGiven:
    def test_a_precision_is_one_of_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FEWTUNE_PRECISION", "fp16")
        with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: precision cannot be 'fp16': .*'fp32' or 'bf16'"):
            configuration.load()

    def test_beside_4_bits_it_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FEWTUNE_FOUR_BIT", "1")
        assert configuration.load().base_precision == "4bit"
        monkeypatch.setenv("FEWTUNE_PRECISION", "bf16")
        with pytest.raises(UsageError, match=r"FEWTUNE_PRECISION: .*four_bit is set too"):
            configuration.load()

    def test_alone_it_is_what_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert configuration.load().base_precision is None
        monkeypatch.setenv("FEWTUNE_PRECISION", "bf16")
        assert configuration.load().base_precision == "bf16"
