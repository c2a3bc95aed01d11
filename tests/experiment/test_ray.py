"""A whole sweep on a cluster of two nodes within this machine, beside the same one on this machine alone."""

from __future__ import annotations

import csv
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import UsageError
from fewtune.experiment.progress import Note, Progress, Training
from fewtune.report.summary import Summary
from standin.ray_nodes import two_nodes
from standin.tiny_models import FAMILIES, save_model

pytest.importorskip("ray", reason="the tests of --provider ray need fewtune[ray]")


@pytest.fixture
def short_rows(tmp_path: Path) -> Path:
    """Thirty rows that a base of a few tokens reads, no two alike."""
    source = random.Random(0)

    def word() -> str:
        return "".join(source.choice("bdfgklmnprstvz") + source.choice("aeiou") for _ in range(3))

    rows = [(f"Where is {word()} {word()}?", f"It is in {word()}, {word()}.") for _ in range(30)]
    path = tmp_path / "short.csv"
    with path.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows([("prompt", "completion"), *rows])
    return path


def outcome(summary: Summary) -> object:
    """All that two sweeps have to agree in."""
    trials = [(one.id, one.plan, one.valid_loss, one.ended, one.tokens) for one in summary.trials]
    return trials, summary.chosen, summary.tied, summary.saved_against_grid


def digests(folder: Path) -> dict[str, str]:
    files = [
        *folder.glob("trials/*/step-*/adapter_model.safetensors"),
        folder / "adapter" / "adapter_model.safetensors",
    ]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_a_cluster_chooses_the_same_winner_with_the_same_adapters_also_when_a_node_is_killed(
    short_rows: Path, tmp_path: Path
) -> None:
    base = save_model(tmp_path / "base", FAMILIES["llama"])
    axes: dict[str, Any] = {"epochs": "1,2,4", "batch_size": "2,8", "learning_rate": "1e-3,3e-3,1e-2,3e-2", "folds": 2}
    alone = fewtune.sweep(short_rows, base=str(base), **axes, out=tmp_path / "local").summary
    with two_nodes() as nodes:
        whole = fewtune.sweep(short_rows, base=str(base), **axes, provider="ray", out=tmp_path / "ray").summary
        assert outcome(whole) == outcome(alone)
        assert digests(tmp_path / "ray") == digests(tmp_path / "local")

        seen: list[Progress] = []

        def watch(event: Progress) -> None:
            seen.append(event)
            if sum(isinstance(one, Training) for one in seen) == 40 and isinstance(event, Training):
                nodes.kill_one()

        halved = fewtune.sweep(
            short_rows, base=str(base), **axes, provider="ray", out=tmp_path / "killed", watch=watch
        ).summary
    assert sum("was lost" in event.text for event in seen if isinstance(event, Note)) == 1
    assert outcome(halved) == outcome(alone)
    assert digests(tmp_path / "killed") == digests(tmp_path / "local")


def test_an_address_is_for_a_cluster_only(few_rows: Path) -> None:
    with pytest.raises(UsageError, match="no address") as caught:
        fewtune.sweep(few_rows, provider="fake", address="127.0.0.1:6379")
    assert caught.value.where == "--address"
