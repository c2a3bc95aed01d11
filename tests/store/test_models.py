from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from fewtune.errors import UsageError
from fewtune.store.identifiers import is_id
from fewtune.store.models import ModelRecord, Models
from fewtune.store.permissions import Permissions
from standin.clock import Clock

NAME = "ft:pocket:org:../../etc:abc/def"


@pytest.fixture
def models(engine: Engine, tmp_path: Path, clock: Clock) -> Models:
    return Models(engine, tmp_path / "service", clock=clock)


@pytest.fixture
def permissions(engine: Engine) -> Permissions:
    return Permissions(engine)


def add(models: Models, name: str = NAME, **values: Any) -> ModelRecord:
    plain: dict[str, Any] = {"project": "red", "base": "pocket", "kind": "tuned", "job": "ftjob-1"}
    place = models.place(name)
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_model.safetensors").write_bytes(b"weights")
    return models.add(name=name, **{**plain, **values})


def test_a_model_is_kept_under_a_name_that_was_made_here(models: Models, tmp_path: Path) -> None:
    model = add(models, step=3, kind="checkpoint")
    assert models.get("red", NAME) == model
    assert is_id("model", model.key)
    assert model.folder == models.place(NAME) == tmp_path / "service" / "models" / model.key
    assert models.place(NAME + "x") != models.place(NAME)


def test_adding_a_model_again_leaves_it_as_it_is(models: Models, clock: Clock) -> None:
    model = add(models)
    clock.pass_by(5)
    assert add(models, step=9) == model
    assert models.list("red") == [model]
    with pytest.raises(UsageError, match="already"):
        add(models, project="blue")


def test_a_model_is_its_projects_alone_until_another_is_permitted(models: Models, permissions: Permissions) -> None:
    model = add(models)
    assert models.get("blue", NAME) is None and models.list("blue") == [] and not models.delete("blue", NAME)
    (granted,) = permissions.create("red", NAME, ["blue"]) or []
    assert models.get("blue", NAME) == model and models.list("blue") == [model]
    assert not models.delete("blue", NAME), "to use a model is not to have it"
    assert models.get("green", NAME) is None
    assert permissions.delete("red", NAME, granted.id) and not permissions.delete("red", NAME, granted.id)
    assert models.get("blue", NAME) is None


def test_permissions_are_given_by_the_models_project_once_each(models: Models, permissions: Permissions) -> None:
    add(models)
    assert permissions.create("blue", NAME, ["green"]) is None
    assert permissions.create("red", "ft:none", ["green"]) is None
    first = permissions.create("red", NAME, ["blue", "green", "blue"])
    assert first is not None and [one.project for one in first] == ["blue", "green"]
    assert permissions.create("red", NAME, ["green", "white"]) == [
        first[1],
        permissions.list("red", NAME, project="white").items[0],
    ]
    assert [one.project for one in permissions.list("red", NAME).items] == ["white", "green", "blue"]
    page = permissions.list("red", NAME, order="asc", limit=1)
    assert [one.project for one in page.items] == ["blue"] and page.has_more
    rest = permissions.list("red", NAME, order="asc", after=page.items[0].id)
    assert [one.project for one in rest.items] == ["green", "white"] and not rest.has_more
    assert permissions.list("blue", NAME).items == []
    assert not permissions.delete("blue", NAME, first[0].id)


def test_deleting_a_model_takes_its_folder_and_its_permissions(models: Models, permissions: Permissions) -> None:
    model, other = add(models), add(models, "ft:other")
    permissions.create("red", NAME, ["blue"])
    assert models.delete("red", NAME) and not models.delete("red", NAME)
    assert not model.folder.exists() and other.folder.exists()
    add(models)
    assert models.get("blue", NAME) is None, "a new model of an old name has no permissions"


def test_deleting_a_local_runs_model_leaves_the_run(models: Models, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "episodes" / "model"
    run.mkdir(parents=True)
    model = models.add(name="episodes", project="red", base="pocket", kind="run", folder=run)
    assert models.get("red", "episodes") == model and model.folder == run
    assert models.delete("red", "episodes")
    assert run.is_dir()
    for kind, folder in (("run", None), ("tuned", run)):
        with pytest.raises(ValueError, match="local run"):
            models.add(name="x", project="red", base="pocket", kind=kind, folder=folder)  # type: ignore[arg-type]


def test_sweeping_takes_old_folders_that_no_model_has(models: Models, clock: Clock) -> None:
    kept, gone = add(models), add(models, "ft:gone")
    models.delete("red", gone.name)
    gone.folder.mkdir()
    clock.now = gone.folder.stat().st_mtime + 100
    assert models.sweep(older_than=200) == 0
    assert models.sweep(older_than=50) == 1
    assert kept.folder.exists() and not gone.folder.exists()
    assert [one.name for one in models.all()] == [NAME]
