"""prepare: look at the data and write what would be trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    app.command()(prepare)


def prepare(
    data: options.Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: DATA_prepared.")] = None,
    base: options.Base = None,
    provider: options.ProviderName = None,
    seed: options.Seed = None,
    prompt_column: options.PromptColumn = None,
    completion_column: options.CompletionColumn = None,
    no_repair: options.NoRepair = None,
    valid: options.Valid = None,
    test: options.Test = None,
    json: options.Json = False,
) -> None:
    """Check, repair and split the data; write train.jsonl, valid.jsonl, test.jsonl and repairs.jsonl."""
    import fewtune
    from fewtune.cli.findings import show_prepared

    prepared = fewtune.prepare(
        data,
        base=base,
        provider=provider,
        seed=seed,
        prompt_column=prompt_column,
        completion_column=completion_column,
        no_repair=no_repair,
        valid=valid,
        test=test,
    )
    folder = out or Path(data).with_name(Path(data).stem + "_prepared")
    show_prepared(prepared, prepared.write(folder), json)
