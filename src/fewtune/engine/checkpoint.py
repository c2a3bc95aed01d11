"""Folders that are either whole or not there: written aside, synced, sealed with hashes, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from fewtune.engine import adapter_folder
from fewtune.engine.base_model import BaseModel
from fewtune.engine.lora import Adapter
from fewtune.engine.training import Task, Training, begin
from fewtune.errors import from_os_error

MANIFEST = "manifest.json"
_KEPT = 2
"""Resume points kept: should the newest be damaged, the one before is used."""


def save_adapter(adapter: Adapter, folder: Path, base: BaseModel) -> None:
    """Write a PEFT-format adapter as a sealed folder; an existing one is left as it is."""
    if is_whole(folder):
        return
    temporary = _aside(folder)
    try:
        adapter_folder.save(adapter, temporary, base)
        _seal(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise from_os_error(error, "save the adapter", folder) from error


def save_training(training: Training, folder: Path) -> None:
    """Write what is needed to go on from this very step; keeps the last two such points."""
    target = folder / f"resume-{training.step:08d}"
    if is_whole(target):
        return
    temporary = _aside(target)
    tensors = {
        "adapter": training.adapter.flat,
        "first_moment": training.first_moment,
        "second_moment": training.second_moment,
        **{f"epoch_end_{number:04d}": end for number, end in enumerate(training.epoch_ends)},
    }
    numbers = {
        "step": training.step,
        "tokens": training.tokens,
        "seconds": training.seconds,
        "recent_losses": list(training.recent_losses),
    }
    try:
        # Not safetensors' own writing: a full disk must come as an OSError.
        content = to_bytes({name: tensor.detach().cpu() for name, tensor in tensors.items()})
        (temporary / "state.safetensors").write_bytes(content)
        (temporary / "state.json").write_text(json.dumps(numbers))
        _seal(temporary, target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise from_os_error(error, "save a checkpoint", folder) from error
    _remove_old(folder, target)


def _remove_old(folder: Path, newest: Path) -> None:
    """Remove all but the last whole points, and what a killed process left half written."""
    # A later point is a damaged one, or training would have gone on from there: it does not count.
    points = [point for point in _resume_points(folder) if point <= newest]
    kept = [point for point in points if point == newest or is_whole(point)][-_KEPT:]
    for old in (*set(points).difference(kept), *folder.glob("resume-????????.partial")):
        shutil.rmtree(old, ignore_errors=True)


def open_training(base: BaseModel, task: Task, folder: Path, adapter: Adapter | None = None) -> Training:
    """The training as it was last saved here, or at step 0 where nothing whole was saved."""
    training = begin(base, task, adapter)
    for point in reversed(_resume_points(folder)):
        if not is_whole(point):
            continue
        tensors = load_file(point / "state.safetensors")
        numbers = json.loads((point / "state.json").read_text())
        training.adapter.flat.copy_(tensors["adapter"])
        training.first_moment.copy_(tensors["first_moment"])
        training.second_moment.copy_(tensors["second_moment"])
        ends = sorted(name for name in tensors if name.startswith("epoch_end_"))
        training.epoch_ends = [tensors[name].to(base.device) for name in ends]
        training.step, training.tokens, training.seconds = numbers["step"], numbers["tokens"], numbers["seconds"]
        training.recent_losses.extend(numbers["recent_losses"])
        break
    return training


def copy_point(source: Path, step: int, target: Path) -> bool:
    """Let a new training go on from the point that another saved at this step; False where there is none."""
    name = f"resume-{step:08d}"
    if not is_whole(source / name):
        return False
    temporary = _aside(target / name)
    try:
        shutil.copytree(source / name, temporary, dirs_exist_ok=True)
        (temporary / MANIFEST).unlink()
        _seal(temporary, target / name)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise from_os_error(error, "branch off a trial", target) from error
    return True


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names is there, unchanged."""
    try:
        manifest: dict[str, str] = json.loads((folder / MANIFEST).read_text())
        return bool(manifest) and all(_sha256(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _resume_points(folder: Path) -> list[Path]:
    return sorted(folder.glob("resume-????????"))


def _aside(folder: Path) -> Path:
    temporary = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    except OSError as error:
        raise from_os_error(error, "make a folder for a checkpoint", temporary) from error
    return temporary


def _seal(temporary: Path, folder: Path) -> None:
    """The manifest comes last, so a folder without one was never finished."""
    manifest = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2))
    for path in temporary.iterdir():
        synchronise(path)
    synchronise(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(temporary, folder)
    synchronise(folder.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def synchronise(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
