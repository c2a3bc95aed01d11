"""Sampled tokens a second on the built-in base, ours beside transformers: `python -m bench.sampling`.

Greedy, at the engine: prompts go in as ids. One stream is single-threaded on both sides; many streams take what the
engine takes, which is one core where they come live. With `--precisions fp32 bf16` all of it again in bf16.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from bench import report
from bench.child import measure
from bench.job import ALPHA, LEARNING_RATE, RANK
from bench.rows import add_data_option, encoded_rows, require
from bench.training import PRECISIONS
from fewtune.bases.folder import BUILT_IN, locate
from fewtune.types import Precision

if TYPE_CHECKING:
    from fewtune.engine.base_model import BaseModel
    from fewtune.engine.continuation import Prompt
    from fewtune.engine.lora import Adapter

STREAMS, ADAPTERS = 32, 8


@dataclass(frozen=True, kw_only=True)
class SamplingJob:
    data: str
    prompts: int
    max_tokens: int
    precision: Precision | None = None
    """None: what the device does unasked."""


_Contender = tuple[str, SamplingJob, int | None]
"""A function of this module, what it is asked, and its threads."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    contenders: dict[str, _Contender] = {}
    for precision in options.precisions:
        contenders |= _contenders(options, None if precision == "fp32" else precision)
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, (function, job, threads) in contenders.items():
            measured[name].append(measure(f"bench.sampling:{function}", asdict(job), threads))
            print(f"{name}: {_rate(measured[name][-1:], 'seconds'):,.0f} tokens/s", file=sys.stderr, flush=True)
    _show(measured)
    report.write("sampling", {"base": BUILT_IN, "measured": measured})


def _contenders(options: argparse.Namespace, precision: Precision | None) -> dict[str, _Contender]:
    job = SamplingJob(
        data=str(options.data.resolve()), prompts=options.prompts, max_tokens=options.max_tokens, precision=precision
    )
    many = replace(job, prompts=STREAMS)
    found: dict[str, _Contender] = {
        "transformers generate, one stream": ("transformers_one_stream", job, 1),
        "one stream": ("ours_one_stream", job, 1),
        f"{STREAMS} streams, {ADAPTERS} adapters": ("ours_many_streams", many, None),
        f"{STREAMS} live streams, {ADAPTERS} adapters": ("ours_live_streams", many, None),
    }
    return {name + (f", {precision}" if precision else ""): contender for name, contender in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.sampling", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=PRECISIONS, help="bf16 takes Intel AMX")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=8, help="of one stream, one after another")
    parser.add_argument("--max-tokens", type=int, default=128)
    return parser


def _rate(measured: Sequence[Mapping[str, Any]], clock: str) -> float:
    return statistics.median(one["tokens"] / one[clock] for one in measured)


def _show(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Each line's ratio is to the line above it: one stream to transformers, many to one, live ones to those."""
    lines: list[tuple[str, ...]] = []
    above: float | None = None
    for name, found in measured.items():
        rate, of_cpu = _rate(found, "seconds"), _rate(found, "cpu_seconds")
        above = None if name.startswith("transformers") else above
        lines.append((name, f"{rate:,.0f}", f"{of_cpu:,.0f}", "" if above is None else f"{rate / above:.1f}"))
        above = rate
    report.show(("contender", "tokens/s", "tokens/CPU-s", "of the line above"), lines)


def transformers_one_stream(job: Mapping[str, Any]) -> dict[str, Any]:
    """`generate`, one prompt after another, with its cache; in a child."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    from bench.device import Clock

    asked = SamplingJob(**job)
    dtype = torch.bfloat16 if asked.precision == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(locate(BUILT_IN), dtype=dtype)
    greedy = GenerationConfig(
        max_new_tokens=asked.max_tokens,
        do_sample=False,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )

    def generate(ids: Sequence[int]) -> list[int]:
        row = torch.tensor([ids])
        found = model.generate(row, attention_mask=torch.ones_like(row), generation_config=greedy)
        return found[0, len(ids) :].tolist()

    prompts = _prompt_ids(asked)
    generate(prompts[0])
    clock = Clock()
    tokens = sum(token != greedy.eos_token_id for ids in prompts for token in generate(ids))
    return {"tokens": tokens, **clock.read()}


def ours_one_stream(job: Mapping[str, Any]) -> dict[str, Any]:
    """The engine's sampler on the bare base, one prompt after another; in a child."""
    from bench.device import Clock
    from fewtune.engine.base_model import load

    asked = SamplingJob(**job)
    base, prompts = load(BUILT_IN, precision=asked.precision), _prompts(asked, [None])
    _sampled_tokens(base, prompts[:1])
    clock = Clock()
    tokens = sum(_sampled_tokens(base, [prompt]) for prompt in prompts)
    return {"tokens": tokens, **clock.read()}


def ours_many_streams(job: Mapping[str, Any]) -> dict[str, Any]:
    """All prompts at once, dealt out over the adapters; in a child."""
    from bench.device import Clock
    from fewtune.engine.base_model import load

    asked = SamplingJob(**job)
    base = load(BUILT_IN, precision=asked.precision)
    prompts = _prompts(asked, _adapters(base))
    _sampled_tokens(base, prompts[:ADAPTERS])
    clock = Clock()
    return {"tokens": _sampled_tokens(base, prompts), **clock.read()}


def ours_live_streams(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same from an iterator, as a service has them: what comes over HTTP is compared with this; in a child."""
    from bench.device import Clock
    from fewtune.engine.base_model import load

    asked = SamplingJob(**job)
    base = load(BUILT_IN, precision=asked.precision)
    prompts = _prompts(asked, _adapters(base))
    _sampled_tokens(base, iter(prompts[:ADAPTERS]))
    clock = Clock()
    return {"tokens": _sampled_tokens(base, iter(prompts)), **clock.read()}


def _prompt_ids(job: SamplingJob) -> list[tuple[int, ...]]:
    return [row.ids[: row.prompt_length] for row in encoded_rows(job.data, BUILT_IN)[: job.prompts]]


def _prompts(job: SamplingJob, adapters: Sequence[Adapter | None]) -> list[Prompt]:
    from fewtune.engine.continuation import Prompt

    return [
        Prompt(id=n, ids=ids, max_tokens=job.max_tokens, adapter=adapters[n % len(adapters)])
        for n, ids in enumerate(_prompt_ids(job))
    ]


def _sampled_tokens(base: BaseModel, prompts: Iterable[Prompt]) -> int:
    from fewtune.engine.continuation import Continuation
    from fewtune.engine.sampler import generate

    return sum(piece.tokens for piece in generate(base, prompts) if isinstance(piece, Continuation))


def _adapters(base: BaseModel) -> list[Adapter]:
    """New ones: they say what the base says, at the price of any adapter."""
    from fewtune.engine.training import Task, begin
    from fewtune.types import Plan

    plan = Plan(learning_rate=LEARNING_RATE, rank=RANK, alpha=ALPHA)
    return [begin(base, Task(plan=plan, seed=n, train=(), valid=())).adapter for n in range(ADAPTERS)]


if __name__ == "__main__":
    main()
