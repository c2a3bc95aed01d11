"""generate and export: use the result."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    app.command()(generate)
    app.command()(export)


class Format(StrEnum):
    """What `export` writes."""

    PEFT = "peft"
    MERGED = "merged"
    GGUF = "gguf"


def generate(
    model: options.RunName,
    prompt: Annotated[str | None, typer.Argument(help="What is given; without it, stdin is read.")] = None,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Longest answer, in tokens.", min=1)] = 256,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 is the most likely text; default: as judged.", min=0.0)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampling.", min=0)] = 0,
    use_base: Annotated[bool, typer.Option("--base", help="Ask the untuned base instead.")] = False,
) -> None:
    """Answer a prompt with a run's tuned model, token by token."""
    import fewtune

    run = fewtune.open_run(model)
    given = prompt if prompt is not None else sys.stdin.read()
    pieces = run.stream(given, max_tokens=max_tokens, temperature=temperature, seed=seed, tuned=not use_base)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def export(
    name: options.RunName,
    format: Annotated[
        Format,
        typer.Option(
            "--format", help="peft: the adapter; merged: base and adapter as one model; gguf: for llama.cpp and Ollama."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to be made for it.")],
    json: options.Json = False,
) -> None:
    """Write a run's tuned model as files for others, and score the held-out rows again from them."""
    import fewtune
    from fewtune.cli.exported import show_export

    show_export(fewtune.open_run(name).export(out, format=format.value), json)
