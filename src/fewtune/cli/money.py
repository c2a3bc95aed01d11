"""estimate and prices: what it would take, before anything is spent."""

from __future__ import annotations

import typer

from fewtune.cli import options


def register(app: typer.Typer) -> None:
    app.command()(estimate)
    app.command()(prices)


def estimate(
    context: typer.Context,
    data: options.Data,
    base: options.Base = None,
    provider: options.ProviderName = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    rank: options.Rank = None,
    seeds: options.Seeds = None,
    space: options.Space = None,
    searcher: options.Searcher = None,
    trials: options.Trials = None,
    halving: options.Halving = None,
    rung_share: options.RungShare = None,
    median_stop: options.MedianStop = False,
    folds: options.Folds = None,
    refit: options.Refit = None,
    more_data: options.MoreData = False,
    search_on: options.SearchOn = None,
    recipe: options.RecipeName = None,
    prompt_column: options.PromptColumn = None,
    completion_column: options.CompletionColumn = None,
    prompt_template: options.PromptTemplate = None,
    json: options.Json = False,
) -> None:
    """Tokens, dollars and time of the sweep that the same options would make, here and at hosted services."""
    import fewtune
    from fewtune.cli.offers import show_estimate

    given = {key: value for key, value in context.params.items() if key != "json"}
    show_estimate(fewtune.estimate(**given), json)


def prices(json: options.Json = False) -> None:
    """The price table, each price with its source and the date it was read."""
    from fewtune.cli.offers import show_prices
    from fewtune.cost import prices as table

    show_prices(table.load(), json)
