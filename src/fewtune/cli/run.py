"""run, train, sweep, resume: everything that trains."""

from __future__ import annotations

import typer

from fewtune.cli import options

_HELP = {
    "run": "Check and split the data, train, choose, compare with a good prompt, and write the report.",
    "sweep": "Say whether to tune at all, by rows that chose nothing, and name the best plan and those tied with it.",
    "train": "Train one plan, with a short cooldown at its end.",
}


def register(app: typer.Typer) -> None:
    for name, text in _HELP.items():
        app.command(name, help=text)(_train)
    app.command()(resume)


def _train(
    context: typer.Context,
    data: options.Data,
    base: options.Base = None,
    provider: options.ProviderName = None,
    address: options.Address = None,
    out: options.Out = None,
    seed: options.Seed = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    rank: options.Rank = None,
    prompt_loss_weight: options.PromptLossWeight = None,
    adapt_top: options.AdaptTop = None,
    seeds: options.Seeds = None,
    space: options.Space = None,
    searcher: options.Searcher = None,
    trials: options.Trials = None,
    halving: options.Halving = None,
    rung_share: options.RungShare = None,
    median_stop: options.MedianStop = False,
    folds: options.Folds = None,
    score: options.Score = None,
    search_on: options.SearchOn = None,
    refit: options.Refit = None,
    average_refit: options.AverageRefit = False,
    more_data: options.MoreData = False,
    gradient_accumulation: options.GradientAccumulation = 1,
    averaged_checkpoints: options.AveragedCheckpoints = 1,
    recipe: options.RecipeName = None,
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
    metrics: options.Metrics = None,
    primary: options.Primary = None,
    json_schema: options.JsonSchema = None,
    reference_columns: options.ReferenceColumns = None,
    shots: options.Shots = None,
    samples: options.Samples = None,
    rivals: options.Rivals = None,
    sentence_encoder: options.SentenceEncoder = None,
    reference: options.Reference = None,
    reference_url: options.ReferenceUrl = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_rubric: options.JudgeRubric = None,
    budget_minutes: options.BudgetMinutes = None,
    budget_usd: options.BudgetUsd = None,
    budget_tokens: options.BudgetTokens = None,
    track: options.Track = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """run, sweep and train take the same options and differ in what they do with them."""
    _do(str(context.info_name), context, json, quiet)


def _do(name: str, context: typer.Context, json: bool, quiet: bool) -> None:
    import fewtune
    from fewtune.cli.progress import watching
    from fewtune.cli.show import show_summary

    given = {key: value for key, value in context.params.items() if key not in ("json", "quiet")}
    with watching(quiet) as watch:
        done = getattr(fewtune, name)(**given, watch=watch)
    show_summary(done.summary, json)


def resume(
    name: options.RunName,
    address: options.Address = None,
    budget_minutes: options.BudgetMinutes = None,
    budget_usd: options.BudgetUsd = None,
    budget_tokens: options.BudgetTokens = None,
    track: options.Track = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Go on with a run that was stopped or killed."""
    import fewtune
    from fewtune.cli.progress import watching
    from fewtune.cli.show import show_summary

    with watching(quiet) as watch:
        done = fewtune.resume(
            name,
            address=address,
            budget_minutes=budget_minutes,
            budget_usd=budget_usd,
            budget_tokens=budget_tokens,
            track=track,
            watch=watch,
        )
    show_summary(done.summary, json)
