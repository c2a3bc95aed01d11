from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fewtune.engine import adapter_folder, lora
from fewtune.engine.base_model import BaseModel, load
from fewtune.errors import BaseModelError, UsageError
from fewtune.providers import local_models
from fewtune.providers.local_models import LocalModels
from fewtune.providers.trial_folder import TrialFolder
from standin.tiny_models import FAMILIES, save_model


@pytest.fixture(scope="module")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], BaseModel]:
    return lambda family: load(str(save_model(tmp_path_factory.mktemp(family), FAMILIES[family])))


@pytest.fixture(scope="module")
def base(base_of: Callable[[str], BaseModel]) -> BaseModel:
    return base_of("llama")


def save(base: BaseModel, folder: Path) -> Path:
    folder.mkdir()
    adapter_folder.save(lora.empty(base.body.groups, 2, 4, base.device), folder, base)
    return folder


def test_an_adapter_is_opened_once_and_only_the_last_ones_asked_for_stay_open(
    base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    read = local_models.open_adapter
    monkeypatch.setattr(
        local_models, "open_adapter", lambda folder, base: (opened.append(folder), read(folder, base))[1]
    )
    monkeypatch.setattr(local_models, "_OPEN", 3)
    folders = {str(n): save(base, tmp_path / str(n)) for n in range(4)}
    models = LocalModels(TrialFolder(tmp_path), folders)
    first = models.adapter("0", base)
    for name in ("0", "1", "2", "0"):
        models.adapter(name, base)
    assert models.adapter("0", base) is first and len(opened) == 3
    models.adapter("3", base)
    assert models.adapter("0", base) is first and len(opened) == 4
    models.adapter("1", base)
    assert len(opened) == 5


def test_another_adapter_in_the_same_place_is_not_taken_for_the_one_before(base: BaseModel, tmp_path: Path) -> None:
    folders = {"mine": save(base, tmp_path / "a")}
    models = LocalModels(TrialFolder(tmp_path), folders)
    first = models.adapter("mine", base)
    shutil.rmtree(tmp_path / "a")
    save(base, tmp_path / "a")
    assert models.adapter("mine", base) is not first


def test_what_is_gone_damaged_or_another_bases_is_refused(
    base: BaseModel, base_of: Callable[[str], BaseModel], tmp_path: Path
) -> None:
    folders = {name: save(base, tmp_path / name) for name in ("gone", "cut", "whole")}
    folders["other"] = save(base_of("gpt2"), tmp_path / "other")
    models = LocalModels(TrialFolder(tmp_path), folders)
    assert models.adapter("whole", base) is not None
    shutil.rmtree(folders["gone"])
    weights = folders["cut"] / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    for name in ("gone", "cut", "other"):
        with pytest.raises(BaseModelError):
            models.adapter(name, base)
    with pytest.raises(UsageError):
        models.adapter("nobody", base)
