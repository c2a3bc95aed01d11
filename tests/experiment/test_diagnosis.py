"""What the doctor finds on machines that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewtune.engine import memory, precision
from fewtune.experiment.diagnosis import diagnose, fit
from standin.tiny_models import CONTEXT, FAMILIES, MIXTURES, save_model


def test_any_base_can_be_asked_about(tmp_path: Path) -> None:
    base = str(save_model(tmp_path, FAMILIES["gpt2"]))
    found = diagnose(base)
    assert found.memory is not None
    assert (found.memory.base, found.memory.context) == (base, CONTEXT)
    assert next(check for check in found.checks if check.name == "base").told.startswith(base)


@pytest.mark.parametrize(("kind", "told"), [("mixtral", True), ("llama", False)])
def test_of_a_mixture_of_experts_it_is_said_that_only_the_attention_is_adapted(
    kind: str, told: bool, tmp_path: Path
) -> None:
    found = diagnose(str(save_model(tmp_path, {**FAMILIES, **MIXTURES}[kind])))
    check = next(check for check in found.checks if check.name == "base")
    assert check.ok
    assert ("attention only" in check.told) is told


def test_a_base_that_is_not_there_is_missing_and_nothing_is_forecast(tmp_path: Path) -> None:
    found = diagnose(str(tmp_path / "nowhere"))
    assert found.memory is None
    assert {check.name for check in found.checks if not check.ok} >= {"base", "memory"}


def test_width_and_longest_row_follow_the_memory_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "room", lambda at: None)
    unknown = fit("pocket")
    assert (unknown.width, unknown.longest_row, unknown.available_bytes) == (None, None, None)
    monkeypatch.setattr(memory, "room", lambda at: unknown.total_bytes + 10 * unknown.trial_bytes)
    some = fit("pocket").width
    monkeypatch.setattr(memory, "room", lambda at: unknown.base_bytes)
    none = fit("pocket")
    assert (none.width, none.longest_row) == (0, 0)
    assert some is not None
    assert 11 <= some < 40


def test_4_bits_that_cannot_be_had_are_a_check_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_FOUR_BIT", "yes")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = diagnose()
    assert found.memory is None
    assert "4 bits" in next(check.told for check in found.checks if check.name == "memory")


@pytest.mark.parametrize("there", [True, False])
def test_bf16_products_are_told_or_what_this_cpu_lacks_for_them(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.devices, "best", lambda: torch.device("cpu"))
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: there)
    before = diagnose().memory
    monkeypatch.setenv("FEWTUNE_PRECISION", "bf16")
    found = diagnose()
    device = next(check for check in found.checks if check.name == "device")
    assert device.ok == there
    assert before is not None
    if there:
        assert device.told.startswith("CPU, bf16 products, ")
        assert found.memory is not None
        assert (found.memory.dtype, 2 * found.memory.base_bytes) == ("bf16", before.base_bytes)
    else:
        assert "amx_bf16" in device.told
        assert found.memory is None
