"""A Ray cluster of two nodes within this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

_NODE: dict[str, Any] = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}


class TwoNodes:
    """Of which one may be killed: the next to ask for the cluster finds two again."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args=_NODE)
        self._second = self._cluster.add_node(**_NODE)
        self._killed = False
        self.address: str = self._cluster.address

    def complete(self) -> None:
        if self._killed:
            self._second = self._cluster.add_node(**_NODE)
            self._killed = False

    def kill_one(self) -> None:
        """At once, with all processes on it: those that train first, which would outlive the node by a moment."""
        for started in self._second.all_processes["raylet"]:
            for process in _descendants(started.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._killed = True

    @contextmanager
    def third(self, packages: str) -> Iterator[None]:
        """A node more, which finds packages in this folder before all others."""
        path = os.pathsep.join([packages, *filter(None, [os.environ.get("PYTHONPATH")])])
        node = self._cluster.add_node(**_NODE, env_vars={"PYTHONPATH": path})
        try:
            yield
        finally:
            self._cluster.remove_node(node, allow_graceful=True)

    def close(self) -> None:
        self._cluster.shutdown()


def _descendants(process: int) -> Iterator[int]:
    with suppress(OSError):
        for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """This process is connected to them within the block, and its providers share one actor on each."""
    import ray

    from fewtune.providers.ray_session import session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes = TwoNodes()
        try:
            ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
            held = session(None)
            yield nodes
            del held
        finally:
            ray.shutdown()
            nodes.close()
