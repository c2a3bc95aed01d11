"""16 trials of a 0.5B-shaped base together on CUDA, beside TRL one after another: `python -m bench.gpu`.

Trained tokens a second in bf16 at batch 2. TRL's trials are alike, so its rate for one after another is that of one.
The matrix rate is that of an (8192 x 8192) bf16 product.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bench import bases, rate, report
from bench.child import measure
from bench.comparison import HEADINGS, Turns, cells, summary
from bench.job import Job
from bench.rows import add_data_option, require
from bench.training import ONE_AFTER_ANOTHER, TOGETHER, TRL, contender

TRIALS = 16
_BASE = "qwen2.5-0.5b"
_BATCH_SIZE = 2
_SIDE, _TIMES = 8192, 50


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    device = measure("bench.gpu:device", {})["name"]
    if device is None:
        print("Nothing was measured: torch finds no CUDA device here.")
        return
    one = Job(base=bases.base(_BASE), data=str(options.data.resolve()), batch_size=_BATCH_SIZE, steps=options.steps)
    turns = Turns(matrix_rate=lambda: measure("bench.gpu:matrix_rate", {})["rate"])
    measured = turns.measure(_contenders(one), options.repeats)
    parameters = bases.parameters(one.base)
    summaries = {name: summary(found, parameters) for name, found in measured.items()}
    best = max((name for name in summaries if name.startswith("TRL")), key=lambda n: summaries[n]["tokens_per_second"])
    print(f"**{_BASE}**, {parameters / 1e6:,.1f} million parameters, batch {_BATCH_SIZE}, bf16 on {device}")
    report.show(HEADINGS, [cells(name, found, summaries[best]) for name, found in summaries.items()])
    measured_rate = rate.described(turns.samples)
    print(rate.sentence(measured_rate))
    report.write("gpu", {"device": device, "matrix_rate": measured_rate, "measured": measured, "summaries": summaries})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=50, help="timed steps of each trial")
    return parser


def _contenders(one: Job) -> dict[str, Any]:
    together = replace(one, trials=TRIALS)
    return {
        "TRL + PEFT (padding-free)": contender(TRL, one),
        "TRL + PEFT (grouped by length)": contender(TRL, replace(one, grouped=True)),
        "one trial": contender(TOGETHER, one),
        f"{TRIALS} trials together": contender(TOGETHER, together),
        f"{TRIALS} trials one after another": contender(ONE_AFTER_ANOTHER, together),
    }


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
