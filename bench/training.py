"""Trained tokens a second, ours beside TRL + PEFT: `python -m bench.training`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from bench import bases, rate, report
from bench.child import cores, measure
from bench.comparison import HEADINGS, Run, Turns, cells, summary, tokens_per_second
from bench.job import Job
from bench.rows import add_data_option, require
from fewtune.types import Precision

TRIALS = 8
TRL = "bench.trl_sft:one_trial"
TOGETHER = "bench.ours:together"
ONE_AFTER_ANOTHER = "bench.ours:one_after_another"
_TIMED_ROWS = {"pocket": 64, "smollm2-135m": 8}
"""Of a single trial: enough to be measured, few enough to be measured often."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
_STEPS_FEWER = 4
"""By how much each of eight trials trains fewer steps than one alone does; in all it is still the larger sample."""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    require(options.data)
    results: list[dict[str, Any]] = []
    with rate.MatrixRate() as machine:
        turns = Turns(matrix_rate=machine.sample)
        for base in options.bases:
            for batch_size in options.batches:
                job = _job(options, base, batch_size)
                results.append(_compare(turns, base, job, options.repeats, options.precisions))
    measured_rate = rate.described(turns.samples)
    for result in results:
        _show(result)
    print(rate.sentence(measured_rate))
    report.write("training", {"matrix_rate": measured_rate, "results": results})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    add_data_option(parser)
    parser.add_argument("--bases", nargs="+", default=list(_TIMED_ROWS), choices=list(_TIMED_ROWS))
    parser.add_argument("--batches", nargs="+", type=int, default=[2, 8], help="examples a step")
    parser.add_argument("--precisions", nargs="+", default=["fp32"], choices=PRECISIONS, help="bf16 takes Intel AMX")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, help="timed steps of a single trial; default: by base and batch size")
    return parser


def _job(options: argparse.Namespace, base: str, batch_size: int) -> Job:
    steps = options.steps or max(1, _TIMED_ROWS[base] // batch_size)
    return Job(base=bases.base(base), data=str(options.data.resolve()), batch_size=batch_size, steps=steps)


def _compare(turns: Turns, base: str, alone: Job, repeats: int, precisions: Sequence[Precision]) -> dict[str, Any]:
    print(f"{base}, batch {alone.batch_size}", file=sys.stderr, flush=True)
    tried: dict[str, Any] = {}
    contenders: dict[str, Run] = {}
    for precision in precisions:
        # fp32 is what a CPU does unasked.
        job = alone if precision == "fp32" else replace(alone, precision=precision)
        found, trl, trl_run = _fastest_trl(turns, job)
        tried |= found
        contenders |= {trl: trl_run, **_ours(job)}
    measured = turns.measure(contenders, repeats)
    parameters = bases.parameters(alone.base)
    return {
        "base": base,
        "parameters": parameters,
        "batch_size": alone.batch_size,
        "trl_settings_tried": tried,
        "measured": measured,
        "summaries": {name: summary(found, parameters) for name, found in measured.items()},
    }


def _ours(alone: Job) -> dict[str, Run]:
    eight = replace(alone, trials=TRIALS, steps=max(1, alone.steps // _STEPS_FEWER))
    runs = {
        "one trial": contender(TOGETHER, alone),
        f"{TRIALS} trials together": contender(TOGETHER, eight),
        f"{TRIALS} trials one after another": contender(ONE_AFTER_ANOTHER, eight),
    }
    return {name + _said(alone.precision): run for name, run in runs.items()}


def _fastest_trl(turns: Turns, job: Job) -> tuple[dict[str, Any], str, Run]:
    """Everything that was measured, and the name and the run of the fastest: first a layout, then threads."""
    said = _said(job.precision)
    runs = {trl_name(grouped, 1) + said: contender(TRL, replace(job, grouped=grouped), 1) for grouped in (False, True)}
    tried = turns.measure(runs, 1)
    if cores() > 1:
        grouped = _fastest(tried) == trl_name(True, 1) + said
        wider = {trl_name(grouped, cores()) + said: contender(TRL, replace(job, grouped=grouped), cores())}
        runs, tried = runs | wider, tried | turns.measure(wider, 1)
    name = _fastest(tried)
    return tried, name, runs[name]


def _fastest(tried: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    return max(tried, key=lambda name: tokens_per_second(tried[name][0]))


def trl_name(grouped: bool, threads: int) -> str:
    layout = "grouped by length" if grouped else "padding-free"
    return f"TRL + PEFT ({layout}, {threads} {'thread' if threads == 1 else 'threads'})"


def _said(precision: Precision | None) -> str:
    return f", {precision}" if precision else ""


def contender(function: str, job: Job, threads: int | None = None) -> Run:
    """Measures the job in a child; every repeat trains other rows, all contenders the same ones."""

    def run(repeat: int) -> dict[str, Any]:
        return measure(function, asdict(replace(job, seed=100 * repeat)), threads)

    return run


def _show(result: Mapping[str, Any]) -> None:
    print(f"**{result['base']}**, {result['parameters'] / 1e6:,.1f} million parameters, batch {result['batch_size']}")
    lines: list[tuple[str, ...]] = []
    peer: Mapping[str, Any] = {}
    for name, found in result["summaries"].items():
        # Each precision begins with TRL's fastest in it.
        peer = found if name.startswith("TRL") else peer
        lines.append(cells(name, found, peer))
    report.show(HEADINGS, lines)


if __name__ == "__main__":
    main()
