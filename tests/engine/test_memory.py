"""Forecasts of memory against what is measured, and refusals before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from fewtune.data.encode import Encoded
from fewtune.engine import lora, memory
from fewtune.engine.base_model import BaseModel, load
from fewtune.engine.gradient import Adapters, Share, gradient
from fewtune.engine.memory import Place, Work, forecast, longest, place, refuse, widest, work
from fewtune.engine.precision import check_four_bit
from fewtune.errors import TrainingError, UsageError
from fewtune.providers.contract import Trial, Workspace
from fewtune.providers.local import LocalProvider
from fewtune.types import Example, Plan, Precision, Source
from standin.tiny_models import save_model

GIB = 2**30
MB = 2**20


def shape_of_smollm2_135m(vocabulary: int) -> transformers.LlamaConfig:
    """Five of its thirty blocks."""
    sizes = {"hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    return transformers.LlamaConfig(vocab_size=vocabulary, num_hidden_layers=5, **sizes, **ids)


@pytest.fixture(scope="module")
def small_smollm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("smollm"), shape_of_smollm2_135m))


def asked(base: str, tokens: int, rank: int, trials: int = 1, adapt_top: float = 1.0) -> tuple[Place, Work]:
    plan = Plan(learning_rate=1e-3, rank=rank, batch_size=1, adapt_top=adapt_top)
    return place(base), work([plan] * trials, [tokens])


@pytest.mark.parametrize(
    ("tokens", "rank", "adapt_top"), [(256, 8, 1.0), (1024, 8, 1.0), (256, 64, 1.0), (512, 8, 0.5), (100, 4, 1.0)]
)
@pytest.mark.parametrize("name", ["pocket", "SmolLM2"])
@pytest.mark.parametrize("kept", ["fp32", "bf16"])
def test_a_pass_takes_what_is_forecast_within_30_percent(
    kept: Precision, name: str, tokens: int, rank: int, adapt_top: float, small_smollm: str, bf16_anywhere: None
) -> None:
    base = load("pocket" if name == "pocket" else small_smollm, precision=kept)
    at, wanted = asked(base.name, tokens, rank, adapt_top=adapt_top)
    at = replace(at, precision=kept)
    told = forecast(replace(at, workers=1), wanted).activations / memory.HELD
    measured = peak_of_a_pass(base, tokens, rank, lora.upper(base.body.groups, adapt_top, base.body.layers))
    assert 0.7 * measured < told < 1.3 * measured, f"{told / MB:.1f} MB told, {measured / MB:.1f} measured"


def peak_of_a_pass(base: BaseModel, tokens: int, rank: int, groups: tuple[lora.Group, ...]) -> int:
    """Bytes that torch holds at most while it computes the gradient of one example, weights not counted."""
    numbers = np.random.default_rng(0)
    ids = tuple(map(int, numbers.integers(3, 250, tokens)))
    example = Encoded(row=0, ids=ids, prompt_length=tokens // 2)
    share = Share(slot=0, examples=(example,), total=1.0, prompt_loss_weight=0.0, beta=0.1, reference=None)
    weights = numbers.standard_normal((1, lora.size(groups, rank)), dtype=np.float32)
    adapters = Adapters(weights=weights, scales=(2.0,), rank=rank, first=groups[0].layer)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        gradient(base, adapters, [share])
    held = peak = 0
    for event in seen.profiler.kineto_results.events():
        held += event.nbytes() if event.name() == "[memory]" else 0
        peak = max(peak, held)
    return peak


_TRAIN = """
import os
import re
import sys
from pathlib import Path

from fewtune.data.encode import Encoded
from fewtune.engine.base_model import load
from fewtune.engine.free_memory import family
from fewtune.engine.trainer import train
from fewtune.engine.training import Task, begin
from fewtune.types import Plan

trials, rank = map(int, sys.argv[1:])
base = load("pocket")
rows = tuple(Encoded(row=row, ids=tuple(range(40 + row, 290 + row)), prompt_length=100) for row in range(8))
task = Task(plan=Plan(learning_rate=1e-3, rank=rank, batch_size=4), seed=0, train=rows, valid=rows[:4])
trainings = {str(number): begin(base, task) for number in range(trials)}
for _ in train(base, trainings, dict.fromkeys(trainings, 2)):
    pass
rollups = [Path(f"/proc/{process}/smaps_rollup").read_text() for process in family(os.getpid())]
print(sum(int(re.search(r"^Pss:\\s+(\\d+)", text, re.M)[1]) for text in rollups) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is held is told by Linux")
@pytest.mark.parametrize(("trials", "rank"), [(1, 8), (4, 64)])
def test_training_the_built_in_base_takes_what_is_forecast(trials: int, rank: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(trials), str(rank)], capture_output=True, text=True, check=True
    )
    measured = int(done.stdout)
    told = forecast(
        place("pocket"), work([Plan(learning_rate=1e-3, rank=rank, batch_size=4)] * trials, [250] * 12)
    ).total
    assert 0.5 * told < measured < 1.3 * told, f"{told / MB:.0f} MB told, {measured / MB:.0f} measured"


PLACES = st.builds(
    replace,
    st.just(place("pocket")),
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    precision=st.sampled_from(["fp32", "bf16", "4bit"]),
    workers=st.integers(1, 64),
    forked=st.booleans(),
    own_blocks=st.booleans(),
)
WORKS = st.builds(
    lambda trials, rank, adapt_top, longest, rows: Work(
        trials=trials, rank=rank, adapt_top=adapt_top, longest=longest, step=longest * rows, all=longest * rows * 9
    ),
    st.integers(1, 100),
    st.integers(1, 256),
    st.floats(0.01, 1.0),
    st.integers(1, 1024),
    st.integers(1, 64),
)


@given(PLACES, WORKS, st.integers(0, 64 * GIB))
def test_the_width_told_fits_and_the_next_does_not(at: Place, wanted: Work, limit: int) -> None:
    width = widest(at, wanted, limit)
    assert width == 0 or forecast(at, replace(wanted, trials=width)).total <= limit
    if width < 2**22:
        assert forecast(at, replace(wanted, trials=width + 1)).total > limit


@given(PLACES, WORKS)
def test_a_trial_more_takes_no_less_memory(at: Place, wanted: Work) -> None:
    more = replace(wanted, trials=wanted.trials + 1)
    assert forecast(at, more).total >= forecast(at, wanted).total > forecast(at, wanted).base > 0


def test_a_base_in_4_bits_is_less_than_half_of_one_in_bf16_but_for_its_ends() -> None:
    at = replace(place("pocket"), device="cuda", precision="bf16")
    small = replace(at, precision="4bit", own_blocks=False)
    wanted = Work(trials=1, rank=8, adapt_top=1.0, longest=100, step=400, all=1000)
    ends = 2 * (at.shape.parameters - at.shape.block_parameters)
    assert forecast(small, wanted).base - ends < 0.3 * (forecast(at, wanted).base - ends)
    assert (at.dtype, small.dtype) == ("bf16", "4-bit")


def test_a_base_in_bf16_takes_half_of_one_in_fp32_and_says_so(bf16_anywhere: None) -> None:
    whole, half = place("pocket"), place("pocket", precision="bf16")
    wanted = Work(trials=1, rank=8, adapt_top=1.0, longest=100, step=400, all=1000)
    assert 2 * forecast(half, wanted).base == forecast(whole, wanted).base == 4 * whole.shape.parameters
    assert (whole.dtype, half.dtype) == ("fp32", "bf16")
    base = load("pocket", precision="bf16")
    held = {tensor.data_ptr(): tensor.nbytes for tensor in tensors_of(base.body)}
    assert sum(held.values()) == pytest.approx(forecast(half, wanted).base, rel=0.01)


def tensors_of(body: Any) -> Iterator[torch.Tensor]:
    """All that the blocks and both ends hold, but for the tables of rotations."""
    yield from (body.head, body._embedding, body._norm)
    for block in body._blocks:
        yield from (tensor for tensor in vars(block).values() if tensor is not None)


def test_what_fits_is_let_pass() -> None:
    at, wanted = asked("pocket", 256, rank=8)
    refuse(at, wanted, forecast(at, wanted).total)


def refusal(at: Place, wanted: Work, limit: int) -> str:
    with pytest.raises(TrainingError) as refused:
        refuse(at, wanted, limit)
    return str(refused.value)


def test_a_base_that_is_too_large_is_refused_with_both_numbers() -> None:
    at, wanted = asked("pocket", 256, rank=8)
    large = replace(at, shape=replace(at.shape, parameters=7_000_000_000))
    told = refusal(large, wanted, 16 * GIB)
    assert "26.1 GiB of it for the base in fp32; there are 16.0 GiB" in told
    assert "smaller base" in told


def test_too_many_trials_are_told_how_many_would_fit() -> None:
    at, wanted = asked("pocket", 256, rank=64, trials=1000)
    limit = forecast(at, replace(wanted, trials=37)).total
    told = refusal(at, wanted, limit)
    assert told.startswith("1000 trials together need about")
    assert "37 of them would fit" in told


def test_a_batch_that_is_too_large_is_told_what_would_fit() -> None:
    at = replace(place("pocket"), device="cuda", precision="bf16", workers=1)
    wanted = Work(trials=1, rank=8, adapt_top=1.0, longest=100, step=10_000, all=10_000)
    limit = forecast(at, replace(wanted, step=5_000)).total
    told = refusal(at, wanted, limit)
    assert "choose a smaller batch size" in told
    tokens = int(told.partition("steps of ")[2].split()[0])
    assert 5_000 <= tokens < 10_000
    refuse(at, replace(wanted, step=tokens), limit)


def test_a_row_that_is_too_long_is_told_what_would_fit() -> None:
    at, wanted = asked("pocket", 1000, rank=8)
    limit = forecast(at, replace(wanted, longest=300, step=300)).total
    told = refusal(at, wanted, limit)
    assert "the longest, of 1000, must be shortened" in told
    assert longest(at, wanted, limit) >= 300


def test_on_a_gpu_that_is_too_small_4_bits_are_proposed_where_they_help() -> None:
    at = replace(place("pocket"), device="cuda", precision="bf16", workers=1)
    blocks = 3_000_000_000
    large = replace(at, shape=replace(at.shape, parameters=blocks + 10**6, block_parameters=blocks))
    wanted = Work(trials=1, rank=8, adapt_top=1.0, longest=9, step=9, all=9)
    assert "FEWTUNE_FOUR_BIT" in refusal(large, wanted, 4 * GIB)


@pytest.fixture
def examples() -> dict[int, Example]:
    rows = [("Capital of France?", "It is Paris."), ("Norway?", "Oslo."), ("Peru?", "Lima.")]
    return {
        row: Example(row=row, prompt=prompt, completion=answer, source=Source(file="rows.csv", line=row + 2))
        for row, (prompt, answer) in enumerate(rows)
    }


def trial(name: str = "a") -> Trial:
    return Trial(id=name, plan=Plan(learning_rate=1e-3), seed=0, train_rows=(0, 1), valid_rows=(2,))


def test_too_little_memory_is_said_before_the_base_is_loaded_and_nothing_is_started(
    examples: dict[int, Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "room", lambda at: 100 * MB)
    provider = LocalProvider(Workspace(base="pocket", examples=examples, folder=tmp_path))
    with pytest.raises(TrainingError, match=r"This training needs about \d+ MiB .* there are 100 MiB"):
        provider.start([trial()])
    assert "base" not in vars(provider)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(memory, "room", lambda at: 8 * GIB)
    assert provider.start([trial()]) == ("a",)


def test_where_nobody_knows_how_much_is_free_training_may_begin(
    examples: dict[int, Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "room", lambda at: None)
    provider = LocalProvider(Workspace(base="pocket", examples=examples, folder=tmp_path))
    assert provider.start([trial()]) == ("a",)


def test_both_answers_of_a_pair_are_counted(examples: dict[int, Example], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Work] = []
    monkeypatch.setattr(memory, "refuse", lambda at, asked, limit: seen.append(asked))
    pairs = [replace(example, rejected=example.completion) for example in examples.values()]
    for rows in (examples.values(), pairs):
        memory.check("pocket", [Plan(learning_rate=1e-3)], rows)
    assert seen[1].longest == 2 * seen[0].longest
    assert seen[1].all == 2 * seen[0].all


@pytest.mark.skipif(torch.cuda.is_available(), reason="there 4 bits can be had")
def test_4_bits_without_cuda_are_refused_by_every_door(
    examples: dict[int, Example], tmp_path: Path, examples_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fewtune

    provider = LocalProvider(Workspace(base="pocket", examples=examples, folder=tmp_path, precision="4bit"))
    monkeypatch.setenv("FEWTUNE_FOUR_BIT", "1")
    doors: list[Callable[[], object]] = [
        lambda: load("pocket", precision="4bit"),
        lambda: provider.start([trial()]),
        lambda: fewtune.run(examples_folder / "orders.csv"),
    ]
    for door in doors:
        with pytest.raises(UsageError, match=r"FEWTUNE_FOUR_BIT: A base in 4 bits takes CUDA"):
            door()


@pytest.mark.parametrize("missing", ["bitsandbytes", "accelerate"])
def test_4_bits_without_the_library_say_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UsageError, match=rf"takes {missing}.*fewtune\[cuda\]"):
        check_four_bit(torch.device("cuda"))
