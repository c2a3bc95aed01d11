"""prepare: look at the data and write what would be trained on."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewtune.cli import options

if TYPE_CHECKING:
    from fewtune.experiment.preparation import Decide


class Recipe(StrEnum):
    CHAT = "chat"
    COMPLETION = "completion"
    OPENAI_2022 = "openai-2022"


class Format(StrEnum):
    """What the written rows look like."""

    OPENAI_COMPLETION = "openai-completion"
    OPENAI_CHAT = "openai-chat"
    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    TRL = "trl"


def register(app: typer.Typer) -> None:
    app.command()(prepare)


def prepare(
    context: typer.Context,
    data: options.Data,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; default: DATA_prepared.")] = None,
    recipe: Annotated[
        Recipe | None,
        typer.Option(
            "--recipe", help="Default: what the base is made for. openai-2022: as OpenAI's old tool, to the byte."
        ),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", help="Shape of the rows written; default: that of the recipe.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Make the recommended repairs without asking, as without a terminal.")
    ] = False,
    folds: Annotated[
        int, typer.Option("--folds", help="Also write so many divisions for cross-validation.", min=0)
    ] = 0,
    base: options.Base = None,
    provider: options.ProviderName = None,
    seed: options.Seed = None,
    prompt_column: options.PromptColumn = None,
    completion_column: options.CompletionColumn = None,
    prompt_template: options.PromptTemplate = None,
    group_column: options.GroupColumn = None,
    no_repair: options.NoRepair = None,
    repair: options.Repair = None,
    valid: options.Valid = None,
    valid_file: options.ValidFile = None,
    test: options.Test = None,
    task: options.TaskName = None,
    json: options.Json = False,
) -> None:
    """Check, repair and split the data; write the three parts, every change, and a report on the data."""
    if recipe is Recipe.OPENAI_2022:
        _as_in_2022(context, data, out, json)
        return
    import fewtune
    from fewtune.cli.findings import show_prepared

    taken = ("data", "out", "format", "yes", "folds", "json")
    given: dict[str, Any] = {name: value for name, value in context.params.items() if name not in taken}
    prepared = fewtune.prepare(data, decide=None if yes or json else _asking(), **given)
    shape = format.value if format else None
    show_prepared(prepared, prepared.write(_folder(data, out), format=shape, folds=folds), json)


def _folder(data: str, out: Path | None) -> Path:
    if out is not None:
        return out
    given = Path("stdin" if data == "-" else data)
    return given.with_name(given.stem + "_prepared")


def _asking() -> Decide | None:
    """Questions for a person at a terminal; None where there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from fewtune.cli.findings import ask

    return ask


def _as_in_2022(context: typer.Context, data: str, out: Path | None, json: bool) -> None:
    from fewtune.cli.legacy import prepare_as_in_2022
    from fewtune.errors import UsageError

    allowed = ("data", "out", "recipe", "json", "yes")
    others = [name for name, value in context.params.items() if name not in allowed and value]
    if others:
        option = others[0].replace("_", "-")
        raise UsageError(f"--{option} has no meaning with --recipe openai-2022.", fix="Leave it out.")
    prepare_as_in_2022(data, out, json)
