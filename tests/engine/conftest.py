"""Tiny random bases of every family, opened through the real loading code."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import lora, precision
from fewtune.engine.attention import PackedAttention
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.lora import Adapter
from fewtune.engine.routing import route
from fewtune.engine.trainer import Event, train
from fewtune.engine.training import Task, Training, begin
from fewtune.types import Example, Plan, Source
from standin.tiny_models import FAMILIES, MIXTURES, save_model
from standin.trials import EIGHT

# Two threads that wait for a busy core are many times slower than one.
torch.set_num_threads(1)

PAIRS = (
    ("Capital of France?", "It is Paris."),
    ("Norway?", "Oslo."),
    ("Name the capital of Egypt, please.", "Cairo"),
    ("Kenya", "It is Nairobi, in the south of the country."),
    ("Peru?", "Lima"),
    ("And that of Japan, the land of the rising sun?", "Tokyo."),
    ("Cuba ✓", "Havana é"),
)
REJECTED = ("Lyon.", "It is Bergen, I think.", "No.", "Mombasa", "It is Cusco.", "Kyoto, once.", "?")


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def save(family: str) -> Path:
        return save_model(tmp_path_factory.mktemp(family.replace(" ", "_")), {**FAMILIES, **MIXTURES}[family])

    return save


@pytest.fixture(scope="session")
def _loaded(folder_of: Callable[[str], Path]) -> Callable[[str], BaseModel]:
    @cache
    def open_base(family: str) -> BaseModel:
        return load(str(folder_of(family)))

    return open_base


@pytest.fixture
def base_of(_loaded: Callable[[str], BaseModel]) -> Callable[[str], BaseModel]:
    """Loaded once for all tests; the workers and what they keep are the test's own, and end with it."""

    @cache
    def open_base(family: str) -> BaseModel:
        return replace(_loaded(family))

    return open_base


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def base(base_of: Callable[[str], BaseModel], family: str) -> BaseModel:
    return base_of(family)


@pytest.fixture(params=["llama", "gpt2", "gemma3"])
def some_family(request: pytest.FixtureRequest) -> str:
    """Our own blocks, transposed weights, and windows in some of the blocks."""
    return request.param


@pytest.fixture
def some_base(base_of: Callable[[str], BaseModel], some_family: str) -> BaseModel:
    return base_of(some_family)


@pytest.fixture
def llama(base_of: Callable[[str], BaseModel]) -> BaseModel:
    return base_of("llama")


@pytest.fixture
def bf16_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This CPU multiplies in bf16, however slowly: the same lines of ours, on other kernels of torch's."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)


@pytest.fixture
def in_bf16(folder_of: Callable[[str], Path], bf16_anywhere: None) -> Callable[[str], BaseModel]:
    """A base of that family, its matrices in bf16."""
    return lambda family: load(str(folder_of(family)), precision="bf16")


@pytest.fixture(scope="session")
def encode() -> Callable[[BaseModel], tuple[Encoded, ...]]:
    """Seven rows of very different lengths as ids of a base."""

    def rows(base: BaseModel) -> tuple[Encoded, ...]:
        return _encoded(base, [completion for _, completion in PAIRS])

    return rows


@pytest.fixture(scope="session")
def rejected() -> Callable[[BaseModel], Mapping[int, Encoded]]:
    """The same rows with worse answers."""
    return lambda base: {one.row: one for one in _encoded(base, REJECTED)}


def _encoded(base: BaseModel, completions: Sequence[str]) -> tuple[Encoded, ...]:
    return tuple(
        base.encoder.example(
            Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
        )
        for row, ((prompt, _), completion) in enumerate(zip(PAIRS, completions, strict=True))
    )


@pytest.fixture(scope="session")
def random_adapter() -> Callable[..., Adapter]:
    """An adapter whose B is not zero, so that it changes every layer."""

    def make(base: BaseModel, rank: int = 4, alpha: int = 8, seed: int = 1, top: float = 1.0) -> Adapter:
        groups = lora.upper(base.body.groups, top, base.body.layers)
        adapter = lora.empty(groups, rank, alpha, base.device)
        drawn = torch.empty(len(adapter.flat)).normal_(0.0, 0.2, generator=torch.Generator().manual_seed(seed))
        adapter.flat.copy_(drawn)
        return adapter

    return make


@pytest.fixture(scope="session")
def begin_training(
    encode: Callable[[BaseModel], tuple[Encoded, ...]], rejected: Callable[[BaseModel], Mapping[int, Encoded]]
) -> Callable[..., Training]:
    """A training over the seven rows: five to train on, two to validate with."""

    def make(
        base: BaseModel,
        plan: Plan,
        *,
        seed: int = 0,
        rows: Sequence[Encoded] | None = None,
        adapter: Adapter | None = None,
        preferences: bool = False,
    ) -> Training:
        given = rows or encode(base)
        worse = {row: one for row, one in rejected(base).items() if row < 5} if preferences else {}
        task = Task(plan=plan, seed=seed, train=tuple(given[:5]), valid=tuple(given[5:]), rejected=worse)
        return begin(base, task, adapter)

    return make


@pytest.fixture(scope="session")
def eight(
    begin_training: Callable[..., Training], random_adapter: Callable[..., Adapter]
) -> Callable[[BaseModel], dict[str, Training]]:
    """Eight trainings that differ in everything."""
    return lambda base: {name: one.begin(base, begin_training, random_adapter) for name, one in EIGHT.items()}


@pytest.fixture(scope="session")
def finish() -> Callable[..., list[Event]]:
    """Train to the end, or to a given step; what was told on the way."""

    def run(base: BaseModel, trainings: Mapping[str, Training], step: int | None = None) -> list[Event]:
        return list(train(base, trainings, {name: step or one.task.steps for name, one in trainings.items()}))

    return run


@pytest.fixture(scope="session")
def logits() -> Callable[..., torch.Tensor]:
    """Of several texts laid side by side: (T, V)."""

    def compute(base: BaseModel, texts: Sequence[Sequence[int]], adapter: Adapter | None = None) -> torch.Tensor:
        lengths = [len(text) for text in texts]
        ids = torch.tensor([token for text in texts for token in text])
        positions = torch.cat([torch.arange(length) for length in lengths])
        with torch.no_grad():
            routing = route([adapter] * len(texts), lengths)
            return base.logits(base.body.states(ids, positions, PackedAttention(lengths), routing))

    return compute


@pytest.fixture(scope="session")
def as_on_a_gpu() -> Callable[[BaseModel], AbstractContextManager[BaseModel]]:
    """The base, for which within the block every step is taken by several trainings in common passes, as on CUDA."""

    @contextmanager
    def stepping(base: BaseModel) -> Generator[BaseModel, None, None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BaseModel, "on_cpu", property(lambda _: False))
            yield replace(base)

    return stepping
