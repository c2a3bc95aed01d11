"""A Ray cluster that this process is connected to, with one actor on each of its nodes."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import tempfile
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fewtune.errors import ProviderError, UsageError
from fewtune.providers.ray_node import About, Node, versions

SECONDS_FOR_A_NODE = 120.0
"""For its actor to be there: Python with torch, over a slow file system. A node that others use takes for ever."""
_SECONDS_TO_CONNECT = 5.0
_STORE_BYTES = 100 * 2**20
"""Of shared memory for Ray's objects: rows on their way, nothing large. Containers may have as little as 64 MiB."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True, kw_only=True, eq=False)
class Seat:
    """A node, seen from the driver."""

    id: str
    name: str
    actor: Any
    about: About

    @property
    def speed(self) -> float:
        """Beside the other nodes, which compute with the same kind of device."""
        return 1.0 if self.about.device == "cuda" else self.about.cores


class Session:
    """Nodes get their actor when they are first asked for; when nobody needs the session any more, it ends.

    Actors end with it, and a cluster that was started for it. Raises ProviderError where there is no cluster.
    """

    def __init__(self, address: str | None) -> None:
        self._seats: dict[str, Seat] = {}
        self._lost: set[str] = set()
        weakref.finalize(self, _connected(address))

    def seats(self) -> tuple[Seat, ...]:
        """Every node that can train. A base is trained on one kind of device: GPUs, where there are any.

        Raises ProviderError where there is none, or where a node has other packages than this machine.
        """
        alive = {one["NodeID"]: one for one in ray.nodes() if one["Alive"] and one["NodeID"] not in self._lost}
        offered = {name: one for name, one in alive.items() if one["Resources"].get("CPU", 0) >= 1}
        self._seats = {name: seat for name, seat in self._seats.items() if name in offered}
        self._seats |= _seated({name: one for name, one in offered.items() if name not in self._seats})
        on_gpus = tuple(seat for seat in self._seats.values() if seat.about.device == "cuda")
        if not self._seats:
            raise self._nobody(len(offered))
        return on_gpus or tuple(self._seats.values())

    def _nobody(self, offered: int) -> ProviderError:
        if self._lost:
            return all_lost()
        if offered:
            return ProviderError(
                f"None of the cluster's nodes had its cores free within {SECONDS_FOR_A_NODE:g} seconds.",
                fix="See with `ray status` what holds them, and run the same command again.",
            )
        return ProviderError(
            "No node of the cluster offers a core.", fix="Start one with: ray start --address=HOST:PORT --num-cpus=N."
        )

    def lose(self, seat: Seat) -> None:
        """Do without this node from now on; if it is alive after all, what it does is ended."""
        self._lost.add(seat.id)
        self.end(seat)

    def end(self, seat: Seat) -> None:
        """Let the node's actor, and what it does, end at once; the next to be asked is a new one."""
        self._seats.pop(seat.id, None)
        ray.kill(seat.actor)


def all_lost() -> ProviderError:
    return ProviderError(
        "All nodes of the cluster were lost; trials are saved as far as their last checkpoints.",
        fix="See to the nodes (`ray status`; their memory?) and run the same command again: it resumes.",
    )


_open: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()


def session(address: str | None) -> Session:
    """The session of this address, shared by all who have it.

    Raises UsageError where the process is in another cluster: it can only be in one.
    """
    key = address or ""
    found = _open.get(key)
    if found is None:
        if others := list(_open):
            raise UsageError(
                f"This process is connected to another Ray cluster ({others[0] or 'one of its own'}).",
                fix="Close what uses it, or train from another process.",
            )
        found = _open[key] = Session(address)
    return found


def _seated(nodes: Mapping[str, Mapping[str, Any]]) -> dict[str, Seat]:
    """An actor on each of these nodes; without those that are busy, or were lost meanwhile."""
    actors = {name: _actor(name, node["Resources"]) for name, node in nodes.items()}
    asked = {actor.about.remote(): name for name, actor in actors.items()}
    if not asked:
        return {}
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=SECONDS_FOR_A_NODE)
    for reference in late:
        ray.kill(actors[asked[reference]])
    seats: dict[str, Seat] = {}
    for reference in ready:
        id = asked[reference]
        name = f"{nodes[id]['NodeManagerAddress']}/{id[:6]}"
        about = _about(reference, name)
        if about:
            _check_versions(about, name)
            seats[id] = Seat(id=id, name=name, actor=actors[id], about=about)
    return seats


def _actor(node: str, resources: Mapping[str, float]) -> Any:
    """It takes all cores, since the engine uses all of them, and one GPU if there is any."""
    options: dict[str, Any] = {
        "num_cpus": resources["CPU"],
        "num_gpus": min(1, resources.get("GPU", 0)),
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        "max_restarts": 0,
    }
    return ray.remote(Node).options(**options).remote()  # pyright: ignore[reportAttributeAccessIssue]


def _about(reference: Any, name: str) -> About | None:
    try:
        return ray.get(reference)
    except RayError as error:
        if "import" in str(error):
            raise ProviderError(
                f"fewtune cannot be imported on node {name}.",
                fix=f"Install it there: pip install 'fewtune[ray]=={versions()['fewtune']}'.",
            ) from error
        return None


def _check_versions(about: About, name: str) -> None:
    for package, here in versions().items():
        there = about.versions[package]
        if there != here:
            raise ProviderError(
                f"Node {name} has {package} {there}; this machine has {here}. Its numbers might be others.",
                fix=f"Install the same everywhere: pip install '{package}=={here}'.",
            )


def _connected(address: str | None) -> Callable[[], None]:
    """Connect; what is given back ends it. A cluster that the program is connected to already is taken as it is."""
    if ray.is_initialized():
        return _nothing
    if address is None:
        return _started()
    _check_reachable(address)
    try:
        ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        told = str(error).strip().partition("\n")[0]
        raise ProviderError(
            f"Could not join the Ray cluster at {address}: {told}", fix="See with `ray status` whether it is up."
        ) from error
    return ray.shutdown


def _nothing() -> None:
    pass


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes. Raises UsageError for what is no address, ProviderError for a silent one."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(
            f"{address!r} is no address of a Ray cluster.",
            where="--address",
            fix="Give HOST:PORT of its head, as `ray start` told it, or auto for the one that this machine is in.",
        )
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise ProviderError(
            f"Nothing answers at {address}: {reason}.",
            fix="Start the cluster with `ray start --head`, or leave out --address to use this machine alone.",
        ) from error


def _started() -> Callable[[], None]:
    """A cluster of this machine alone, which ends with this process however that ends.

    Ray listens on every network interface; the token keeps out whoever does not have it. No dashboard, and nothing
    is reported to Ray's makers.
    """
    # Sockets are in there, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="fewtune-ray-", dir="/tmp" if os.path.isdir("/tmp") else None))

    def end() -> None:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    # Else Ray would write one into the user's home, for all clusters. It reads it once in a process.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE_BYTES,
            _temp_dir=str(folder),
            **_QUIET,
        )
    except BaseException:
        end()
        raise
    return end
