"""Write the card of a base: `python -m pretraining.card --base ... --records ...`.

What was measured elsewhere is read from the records of the run: its log, the scaling runs, what the base is worth.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined

from fewtune.data.encode import PLAIN_FRAME, Frame
from fewtune.engine.base_model import load
from fewtune.engine.continuation import Continuation, Prompt
from fewtune.engine.sampler import generate
from pretraining.corpus import HELD_OUT_LINES
from pretraining.export import read_base
from pretraining.model import CONTEXT
from pretraining.refusal import told
from pretraining.tokenizer import VOCABULARY_SIZE
from pretraining.train import flops_per_token

SAMPLE_PROMPTS = ("The old house", '"I have never', "In the year 1999, the first ship")
SAMPLE_SEED = 1


def card(base: Path, records: Path) -> str:
    """The card's text. Raises FileNotFoundError where a record is missing."""
    model, shape = read_base(base)
    run = json.loads((records / "run.json").read_text())
    measured = json.loads((records / "measured.json").read_text())
    mean = statistics.mean(one["bits_per_byte"] for one in measured)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    runs = [_run(records, one, flops_per_token(model, shape)) for one in run["runs"]]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(Path(__file__).with_name("card.md.j2").read_text())
    return template.render(
        shape=shape,
        run=run,
        runs=runs,
        parameters=parameters,
        context=CONTEXT,
        vocabulary=VOCABULARY_SIZE,
        separator=PLAIN_FRAME.separator,
        tokens=sum(one["tokens"] for one in runs),
        curve=_curve(runs),
        measured=measured,
        mean=mean,
        held_out=HELD_OUT_LINES,
        samples=list(samples(base)),
        seed=SAMPLE_SEED,
        answers=_first_answers(records / "episodes.json"),
        scaling=json.loads((records / "scaling.json").read_text()),
        worth=_means(json.loads((records / "worth.json").read_text())),
        digest=hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest(),
        size=(base / "model.safetensors").stat().st_size,
        torch=torch.__version__.partition("+")[0],
    )


def _run(records: Path, told: dict[str, Any], flops_of_token: float) -> dict[str, Any]:
    """What is told of one run and what its log says: tokens, FLOP, rate, and the looks at the held-out books."""
    log = [json.loads(line) for line in (records / told["log"]).read_text().splitlines()]
    steps = [line for line in log if "loss" in line]
    tokens = told["tokens_per_step"] * steps[-1]["step"]
    return {
        **told,
        "tokens": tokens,
        "flops": tokens * flops_of_token,
        "rate": statistics.median(line["tokens_per_second"] for line in steps),
        "share": statistics.median(line["share"] for line in steps),
        "curve": [line for line in log if "bits_per_byte" in line],
    }


def _curve(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tokens seen in all runs up to each look, and the bits per byte that it found."""
    before = accumulate((run["tokens"] for run in runs), initial=0)
    return [
        {**line, "tokens": seen + line["tokens"]}
        for seen, run in zip(before, runs, strict=False)
        for line in run["curve"]
    ]


def _first_answers(path: Path, count: int = 10) -> list[dict[str, str]]:
    """Title and answers of the first rows of a run's JSON document, each on one line."""
    rows = json.loads(path.read_text())["predictions"][:count]
    return [
        {name: " ".join(text.split()) for name, text in ({"title": row["prompt"]} | row["answers"]).items()}
        for row in rows
    ]


def _means(worth: dict[str, Any]) -> dict[str, dict[str, float]]:
    """By base and measure, the mean over the folds."""
    return {
        base: {measure: statistics.mean(values) for measure, values in found.items()} for base, found in worth.items()
    }


def samples(base: Path) -> Iterable[tuple[str, str]]:
    opened = load(str(base))
    # What goes on a text is no answer: its first space is kept.
    opened = replace(opened, encoder=replace(opened.encoder, frame=Frame(leading_space=False)))
    prompts = [
        Prompt(
            id=number,
            ids=tuple(opened.encoder.tokenizer.encode(text).ids),
            max_tokens=90,
            temperature=0.7,
            top_p=0.95,
            seed=SAMPLE_SEED,
        )
        for number, text in enumerate(SAMPLE_PROMPTS)
    ]
    found = {one.id: one.text for one in generate(opened, prompts) if isinstance(one, Continuation)}
    return [(prompt, prompt + found[number]) for number, prompt in enumerate(SAMPLE_PROMPTS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="the exported folder; its README.md is written")
    parser.add_argument("--records", type=Path, required=True, help="log, run, measured, scaling, worth, episodes")
    given = parser.parse_args()
    with told():
        text = card(given.base, given.records)
        (given.base / "README.md").write_text(text)


if __name__ == "__main__":
    main()
