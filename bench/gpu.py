"""16 trials of a 0.5B-shaped base together on CUDA, beside TRL one after another: `python -m bench.gpu`.

Trained tokens a second in bf16 at batch 2. TRL's trials are alike, so its rate for one after another is that of one.
The matrix rate is that of an (8192 x 8192) bf16 product. Contenders take turns, each in a process that stays.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from bench import bases, rate, report
from bench.child import ChildFailed, Standing, measure
from bench.comparison import HEADINGS, Run, Turns, cells, summary
from bench.job import Job
from bench.rows import add_data_option, require
from bench.training import TOGETHER, TRL

TRIALS = 16
_BASE = "qwen2.5-0.5b"
_BATCH_SIZE = 2
_REHEARSED_STEPS = 5
_SIDE, _TIMES = 8192, 50
_STEPS_MORE = 8
"""Times as many steps as TRL, which takes a multiple of our time for each."""
_CONTENDERS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        f"{TRIALS} trials together": (TOGETHER, {"trials": TRIALS}),
        "one trial": (TOGETHER, {}),
        "TRL + PEFT (padding-free)": (TRL, {}),
        "TRL + PEFT (grouped by length)": (TRL, {"grouped": True}),
    }
)
"""The function of each, and what sets its job apart."""
_STARTED = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    device = measure("bench.gpu:device", {})["name"]
    if device is None:
        print("Nothing was measured: torch finds no CUDA device here.")
        return
    data = str(options.data.resolve())
    asked = {name: function for name, (function, _) in _CONTENDERS.items() if name in options.contenders}
    with ExitStack() as children:
        matrix = children.enter_context(Standing("bench.gpu:matrix_rate"))
        standing = {name: children.enter_context(Standing(function)) for name, function in asked.items()}
        one = Job(base=bases.base(_BASE), data=data, batch_size=_BATCH_SIZE, steps=options.steps)
        contenders = _rehearsed({name: partial(_run, name, child, one) for name, child in standing.items()})
        turns = Turns(matrix_rate=lambda: matrix.measure({})["rate"])
        measured = _measured(turns, contenders, options.repeats, options.trl_repeats)
    _show(device, one, turns, measured)
    if options.profile:
        _say("profiling")
        print(measure("bench.ours:profiled", asdict(replace(one, trials=TRIALS)))["profile"])


def _show(device: str, one: Job, turns: Turns, measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    parameters = bases.parameters(one.base)
    summaries = {name: summary(found, parameters) for name, found in measured.items()}
    peers = [name for name in summaries if name.startswith("TRL")] or list(summaries)
    best = max(peers, key=lambda name: summaries[name]["tokens_per_second"])
    print(f"**{_BASE}**, {parameters / 1e6:,.1f} million parameters, batch {_BATCH_SIZE}, bf16 on {device}")
    report.show(HEADINGS, [cells(name, found, summaries[best]) for name, found in summaries.items()])
    measured_rate = rate.described(turns.samples)
    print(rate.sentence(measured_rate))
    for name, found in measured.items():
        if "forecast_bytes" in found[0]:
            peak, told = (max(one[key] for one in found) / 2**30 for key in ("peak_device_bytes", "forecast_bytes"))
            held, first = max(one["held_device_bytes"] for one in found) / 2**30, found[0]["warm_up_seconds"]
            print(
                f"Memory of {name}: {peak:.2f} GiB at the peak, {held:.2f} GiB held, {told:.2f} GiB forecast. "
                f"The steps that record: {first:.1f} s."
            )
    report.write("gpu", {"device": device, "matrix_rate": measured_rate, "measured": measured, "summaries": summaries})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trl-repeats", type=int, default=3, help="of these, in how many TRL takes part")
    parser.add_argument("--steps", type=int, default=50, help=f"timed, of TRL; ours take {_STEPS_MORE} times as many")
    parser.add_argument("--contenders", nargs="+", default=list(_CONTENDERS), choices=list(_CONTENDERS))
    parser.add_argument("--profile", action="store_true", help="print what a step of all trials spends its time on")
    return parser


def _measured(
    turns: Turns, contenders: Mapping[str, Run], repeats: int, of_trl: int
) -> dict[str, list[dict[str, Any]]]:
    """All contenders in turn, and then those of ours alone."""
    shared = min(repeats, of_trl)
    measured = turns.measure(contenders, shared)
    alone = {name: run for name, run in contenders.items() if not name.startswith("TRL")}
    later = {name: lambda repeat, run=run: run(repeat + shared) for name, run in alone.items()}
    for name, found in turns.measure(later, repeats - shared).items():
        measured[name] += found
    return measured


def _rehearsed(contenders: Mapping[str, Run]) -> dict[str, Run]:
    """Those that work: each is run once, which also fetches kernels and memory; why one does not is told."""
    working: dict[str, Run] = {}
    for name, run in contenders.items():
        try:
            run(-1)
        except ChildFailed as error:
            _say(f"{name} is left out: {error}")
        else:
            working[name] = run
    return working


def _run(name: str, child: Standing, one: Job, repeat: int) -> dict[str, Any]:
    _say(name)
    function, differing = _CONTENDERS[name]
    steps = one.steps * (1 if function == TRL else _STEPS_MORE)
    job = replace(one, seed=100 * (repeat + 1), steps=_REHEARSED_STEPS if repeat < 0 else steps, **differing)
    return child.measure(asdict(job))


def _say(what: str) -> None:
    print(f"{time.monotonic() - _STARTED:6.1f} s  {what}", file=sys.stderr, flush=True)


def device(_job: Mapping[str, Any]) -> dict[str, str | None]:
    """Name of the CUDA device, or None; in a child, since the parent imports no torch."""
    import torch

    return {"name": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None}


def matrix_rate(_job: Mapping[str, Any]) -> dict[str, float]:
    """FLOP/s of the device in bf16; in a child."""
    import torch

    from bench.device import Clock

    left, right = (torch.randn(_SIDE, _SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(_TIMES):
        torch.mm(left, right)
    clock = Clock()
    for _ in range(_TIMES):
        torch.mm(left, right)
    return {"rate": 2 * _SIDE**3 * _TIMES / clock.read()["seconds"]}


if __name__ == "__main__":
    main()
