"""Tiny random bases of every family, opened through the real loading code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch

from fewtune.data.encode import Encoded
from fewtune.engine import lora
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.lora import Adapter
from fewtune.engine.trainer import Task, Training, begin
from fewtune.types import Example, Plan, Source
from standin.tiny_models import FAMILIES, save_model

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


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def save(family: str) -> Path:
        return save_model(tmp_path_factory.mktemp(family), FAMILIES[family])

    return save


@pytest.fixture(scope="session")
def base_of(folder_of: Callable[[str], Path]) -> Callable[[str], BaseModel]:
    @cache
    def open_base(family: str) -> BaseModel:
        base = load(str(folder_of(family)))
        lora.attach(base)
        return base

    return open_base


@pytest.fixture(params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def base(base_of: Callable[[str], BaseModel], family: str) -> BaseModel:
    return base_of(family)


@pytest.fixture
def llama(base_of: Callable[[str], BaseModel]) -> BaseModel:
    return base_of("llama")


@pytest.fixture(scope="session")
def encode() -> Callable[[BaseModel], tuple[Encoded, ...]]:
    """Seven rows of very different lengths as ids of a base."""

    def rows(base: BaseModel) -> tuple[Encoded, ...]:
        return tuple(
            base.encoder.example(
                Example(row=row, prompt=prompt, completion=completion, source=Source(file="rows.csv", line=row + 2))
            )
            for row, (prompt, completion) in enumerate(PAIRS)
        )

    return rows


@pytest.fixture(scope="session")
def random_adapter() -> Callable[..., Adapter]:
    """An adapter whose B is not zero, so that it changes every layer."""

    def make(base: BaseModel, rank: int = 4, alpha: int = 8, seed: int = 1) -> Adapter:
        adapter = lora.create(lora.attach(base), rank, alpha, seed, base.device)
        adapter.flat.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(seed))
        return adapter

    return make


@pytest.fixture(scope="session")
def begin_training(encode: Callable[[BaseModel], tuple[Encoded, ...]]) -> Callable[..., Training]:
    """A training over the seven rows: five to train on, two to validate with."""

    def make(base: BaseModel, plan: Plan, *, seed: int = 0, rows: Sequence[Encoded] | None = None) -> Training:
        given = rows or encode(base)
        return begin(base, Task(plan=plan, seed=seed, train=tuple(given[:5]), valid=tuple(given[5:])))

    return make
