"""Trials on a cluster of two nodes within this machine: the contract, the same numbers as `local`, and lost nodes."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from fewtune.errors import ProviderError, UsageError
from fewtune.providers.contract import (
    BASE,
    Answer,
    Checkpoint,
    Chunk,
    Event,
    Finished,
    Message,
    Point,
    Provider,
    Request,
    Score,
    Trial,
    Workspace,
)
from fewtune.providers.local import LocalProvider
from fewtune.types import Example, Plan, Usage
from providers import test_contract
from providers.test_contract import Place
from standin.ray_nodes import TwoNodes, two_nodes
from standin.tiny_models import FAMILIES, save_model

pytest.importorskip("ray", reason="the tests of --provider ray need fewtune[ray]")

PLAN = Plan(learning_rate=1e-2, epochs=3, batch_size=4, rank=4, alpha=8, warmup_steps=2)
FIRST = Trial(id="first", plan=PLAN, seed=1, train_rows=tuple(range(8)), valid_rows=(8, 9))
TRIALS = (
    FIRST,
    replace(FIRST, id="second", seed=2, plan=replace(PLAN, batch_size=2, learning_rate=3e-2, epochs=2)),
    replace(FIRST, id="third", seed=3, plan=replace(PLAN, prompt_loss_weight=0.1)),
    replace(FIRST, id="fourth", seed=4, plan=replace(PLAN, batch_size=1, epochs=2)),
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as started:
        yield started


@pytest.fixture
def cluster(nodes: TwoNodes) -> TwoNodes:
    nodes.complete()
    return nodes


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("llama"), FAMILIES["llama"]))


@pytest.fixture
def place(cluster: TwoNodes, base: str, examples: dict[int, Example]) -> Place:
    from fewtune.providers.ray_cluster import RayProvider

    return Place(base=base, examples=examples, connect=RayProvider)


@pytest.fixture
def provider(place: Place, tmp_path: Path) -> Provider:
    return place.open(tmp_path / "state")


class TestTraining(test_contract.TestTraining):
    pass


class TestStopping(test_contract.TestStopping):
    pass


class TestSampling(test_contract.TestSampling):
    pass


def train(provider: Provider, *trials: Trial) -> list[Event]:
    return list(provider.advance(dict.fromkeys(provider.start(trials))))


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every adapter that was saved."""
    files = folder.glob("*/step-*/adapter_model.safetensors")
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def points(events: Iterable[Event]) -> dict[tuple[str, int], Point]:
    """By handle and step, without what the clock says."""
    return {
        (event.handle, event.step): replace(event, usage=Usage(tokens=event.usage.tokens))
        for event in events
        if isinstance(event, Point)
    }


@pytest.fixture
def local(base: str, examples: Mapping[int, Example], tmp_path: Path) -> tuple[dict[str, str], list[Event]]:
    """What this machine alone comes to."""
    provider = LocalProvider(Workspace(base=base, examples=examples, folder=tmp_path / "local"))
    events = train(provider, *TRIALS)
    return digests(tmp_path / "local"), events


Local = tuple[dict[str, str], list[Event]]


def test_two_nodes_come_to_the_same_adapters_and_points_as_one_machine(
    place: Place, local: Local, tmp_path: Path
) -> None:
    events = train(place.open(tmp_path / "ray"), *TRIALS)
    assert digests(tmp_path / "ray") == local[0]
    assert points(events) == points(local[1])
    assert sum(isinstance(event, Finished) for event in events) == len(TRIALS)


@pytest.mark.parametrize("epochs", [0, 1, 2, 8])
def test_a_node_killed_in_the_middle_changes_nothing(
    place: Place, cluster: TwoNodes, local: Local, tmp_path: Path, epochs: int
) -> None:
    """A node is asked for no more than its next epoch before that is known to have ended, and each of the two has five
    epochs of its trials before it: until the third it surely has something to do, after the eighth it may be done."""
    provider = place.open(tmp_path / "ray")
    events = provider.advance(dict.fromkeys(provider.start(TRIALS)))
    told = [next(events)]
    while sum(isinstance(event, Checkpoint) for event in told) < epochs:
        told.append(next(events))
    cluster.kill_one()
    told += events
    assert digests(tmp_path / "ray") == local[0]
    assert points(told) == points(local[1])
    assert sum(isinstance(event, Point) for event in told) == len(points(told))
    lost = [event.text for event in told if isinstance(event, Message)]
    assert len(lost) == 1 or (epochs > 2 and not lost)
    assert all("was lost" in text for text in lost)


@pytest.mark.parametrize("seed", [0, 1])
def test_closed_after_random_events_nothing_is_lost_or_told_twice(
    place: Place, local: Local, tmp_path: Path, seed: int
) -> None:
    source, told = random.Random(seed), list[Event]()
    handles = dict.fromkeys(trial.id for trial in TRIALS)
    for _ in range(4):
        provider = place.open(tmp_path / "ray")
        provider.start(TRIALS)
        events = provider.advance(handles)
        told += islice((event for event in events if isinstance(event, Point)), source.randint(1, 6))
        events.close()
    told += place.open(tmp_path / "ray").advance(handles)
    assert digests(tmp_path / "ray") == local[0]
    assert points(told) == points(local[1])
    assert sum(isinstance(event, Point) for event in told) == len(points(told))


@pytest.mark.parametrize("versions", ["fewtune", "torch"])
def test_a_node_with_another_version_is_named_before_anything_is_trained(
    place: Place, cluster: TwoNodes, tmp_path: Path, versions: str
) -> None:
    installed = tmp_path / "packages" / f"{versions}-9.9.9.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {versions}\nVersion: 9.9.9\n")
    with cluster.third(str(installed.parent)), pytest.raises(ProviderError, match=rf"has {versions} 9\.9\.9") as caught:
        place.open(tmp_path / "ray").start(TRIALS)
    assert caught.value.fix and "pip install" in caught.value.fix
    assert not list((tmp_path / "ray").glob("*"))


def test_a_base_that_is_too_large_for_every_node_is_refused_with_the_numbers(
    cluster: TwoNodes, base: str, examples: dict[int, Example], tmp_path: Path
) -> None:
    from fewtune.providers.ray_cluster import RayProvider

    huge = replace(FIRST, plan=replace(PLAN, rank=1024, batch_size=8))
    large = enlarged(Path(base), tmp_path / "large")
    provider = RayProvider(Workspace(base=str(large), examples=examples, folder=tmp_path / "ray"))
    with pytest.raises(ProviderError, match="No node of the cluster has enough memory") as caught:
        provider.start([huge])
    assert "GiB" in caught.value.what and caught.value.fix


def test_a_base_that_the_nodes_do_not_have_is_told_with_the_node(
    cluster: TwoNodes, examples: dict[int, Example], tmp_path: Path
) -> None:
    from fewtune.providers.ray_cluster import RayProvider

    provider = RayProvider(Workspace(base=str(tmp_path / "none"), examples=examples, folder=tmp_path / "ray"))
    with pytest.raises(ProviderError, match=r"Node \S+/\w+ cannot use the base") as caught:
        provider.start(TRIALS)
    assert caught.value.fix and "--base" in caught.value.fix


def test_a_process_is_in_one_cluster_only(place: Place, tmp_path: Path) -> None:
    other = place.connect(Workspace(base=place.base, examples={}, folder=tmp_path, address="127.0.0.1:1"))
    with pytest.raises(UsageError, match="another Ray cluster"):
        other.start(TRIALS[:1])


def test_rows_are_answered_on_another_node_where_one_is_lost_and_each_text_is_whole(
    place: Place, base: str, tmp_path: Path
) -> None:
    """The last test: the session does without the lost node from then on."""
    import ray

    from fewtune.providers.ray_session import session

    requests = [Request(id=n, prompt=f"Number {n}?", max_tokens=60, temperature=0.7, seed=n) for n in range(80)]
    requests += [Request(id=n, prompt=f"Number {n}?", score=f"It is {n}.") for n in range(80)]
    alone = LocalProvider(Workspace(base=base, examples={}, folder=tmp_path / "local"))
    expected = {(type(reply), reply.id): reply for reply in alone.sample(BASE, requests)}
    replies = place.open(tmp_path / "ray").sample(BASE, iter(requests))
    told = list(islice(replies, 30))
    ray.kill(session(None).seats()[0].actor)
    told += replies
    for number in range(80):
        text = "".join(reply.text for reply in told if isinstance(reply, Chunk) and reply.id == number)
        (answer,) = (reply for reply in told if isinstance(reply, Answer) and reply.id == number)
        (score,) = (reply for reply in told if isinstance(reply, Score) and reply.id == number)
        assert text == answer.text
        assert replace(answer, seconds=0.0) == replace(expected[Answer, number], seconds=0.0)
        assert score == expected[Score, number]


def enlarged(base: Path, folder: Path) -> Path:
    """The base as if it knew a billion words: a file with a hole in it, which takes no room."""
    words = 10**9
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": words}))
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    end = 0
    for name, tensor in sorted((name, one) for name, one in header.items() if name != "__metadata__"):
        if "embed" in name or "lm_head" in name:
            tensor["shape"][0] = words
        length = 4 * math.prod(tensor["shape"])
        tensor["data_offsets"], end = [end, end + length], end + length
    told = json.dumps(header).encode()
    with weights.open("wb") as file:
        file.write(len(told).to_bytes(8, "little") + told)
        file.truncate(8 + len(told) + end)
    return folder
