"""estimate and prices: what it would take, before anything is spent."""

from __future__ import annotations

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    app.command()(estimate)
    app.command()(prices)


def estimate(
    data: options.Data,
    base: options.Base = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    recipe: options.RecipeName = None,
    prompt_column: options.PromptColumn = None,
    completion_column: options.CompletionColumn = None,
    prompt_template: options.PromptTemplate = None,
    json: options.Json = False,
) -> None:
    """Tokens, dollars and time of a sweep, on this machine and at hosted services."""
    import fewtune
    from fewtune.cli.offers import show_estimate

    found = fewtune.estimate(
        data,
        base=base,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        recipe=recipe,
        prompt_column=prompt_column,
        completion_column=completion_column,
        prompt_template=prompt_template,
    )
    show_estimate(found, json)


def prices(json: options.Json = False) -> None:
    """The price table, each price with its source and the date it was read."""
    from fewtune.cli.offers import show_prices
    from fewtune.cost import prices as table

    show_prices(table.load(), json)
