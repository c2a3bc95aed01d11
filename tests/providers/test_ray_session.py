"""A cluster that is started for one command: what it opens, what it tells, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fewtune.errors import ProviderError, UsageError
from fewtune.providers.contract import Trial, Workspace
from fewtune.types import Plan

pytest.importorskip("ray", reason="the tests of --provider ray need fewtune[ray]")

_PROGRAM = """
import json, os, sys
from pathlib import Path
from fewtune.engine.free_memory import family
from fewtune.providers.ray_session import session
held = session(None)
seats = held.seats()
import ray
print(json.dumps({
    "processes": family(os.getpid())[1:],
    "nodes": len(seats),
    "address": ray.get_runtime_context().gcs_address,
    "folder": str(Path(ray._private.worker._global_node.get_session_dir_path()).parent),
}), flush=True)
sys.stdin.readline()
"""
_VISITOR = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False); print('in')"


@contextmanager
def started(stderr: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process with a cluster of its own, and what it told of it; a line to it lets it end."""
    with (
        stderr.open("w") as written,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told, stderr.read_text()
        yield process, json.loads(told)


def alive(processes: Iterable[int]) -> list[str]:
    """Those of them that still run, once they had time to end: two of Ray's own take a minute after a kill."""
    until = time.monotonic() + 150
    while True:
        left = [Path(f"/proc/{number}") for number in processes if _runs(Path(f"/proc/{number}"))]
        if not left or time.monotonic() > until:
            return [(one / "cmdline").read_text() for one in left]
        time.sleep(0.1)


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_cluster_of_ones_own_is_private_and_silent_and_ends_with_its_user(tmp_path: Path) -> None:
    with started(tmp_path / "stderr") as (process, told):
        own = [Path(f"/proc/{number}") for number in told["processes"]]
        commands = [(one / "cmdline").read_text().split("\0") for one in own]
        # Workers write their titles over what they were started with.
        titled = [command[0].startswith("ray::") for command in commands]
        environments = [
            (one / "environ").read_text() for one, is_titled in zip(own, titled, strict=True) if not is_titled
        ]
        visitor = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
        visited = subprocess.run(
            [sys.executable, "-c", _VISITOR, told["address"]], env=visitor, capture_output=True, timeout=100, text=True
        )
        process.communicate("\n")
    assert told["nodes"] == 1
    assert len(environments) > 3
    assert all("RAY_USAGE_STATS_ENABLED=0" in environment for environment in environments)
    dashboards = [command for command in commands if any(part.endswith("dashboard.py") for part in command)]
    assert all("--disable-frontend" in command or "--minimal" in command for command in dashboards)
    assert visited.returncode != 0 and "in" not in visited.stdout.split()
    assert process.returncode == 0
    assert (tmp_path / "stderr").read_text() == ""
    assert alive(told["processes"]) == []
    assert not Path(told["folder"]).exists()


@pytest.mark.slow
def test_a_killed_process_leaves_none_of_its_cluster(tmp_path: Path) -> None:
    with started(tmp_path / "stderr") as (process, told):
        process.kill()
    assert alive(told["processes"]) == []
    shutil.rmtree(told["folder"])


@pytest.mark.parametrize(
    "address", ["nowhere", "ray://127.0.0.1:10001", "http://127.0.0.1:6379", "127.0.0.1:port", ":1"]
)
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address") as caught:
        start(address, tmp_path)
    assert caught.value.where == "--address" and caught.value.fix


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_an_address_without_a_cluster_is_told_at_once(address: str, tmp_path: Path) -> None:
    with pytest.raises(ProviderError) as caught:
        start(address, tmp_path)
    assert caught.value.fix
    assert not list(tmp_path.glob("*"))


def start(address: str, folder: Path) -> None:
    from fewtune.providers.ray_cluster import RayProvider

    trial = Trial(id="a", plan=Plan(learning_rate=1e-3), seed=0, train_rows=(0,), valid_rows=())
    RayProvider(Workspace(base="pocket", examples={}, folder=folder, address=address)).start([trial])
