"""Options that several commands share, each with its help in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[str, typer.Argument(help="File or folder of examples, or - for standard input.")]
RunName = Annotated[str, typer.Argument(help="Id of a run, the beginning of one, its folder, or `last`.")]
Base = Annotated[str | None, typer.Option("--base", help="`pocket` (built in), a model folder, or a hub id.")]
ProviderName = Annotated[str | None, typer.Option("--provider", help="Where to train: local, ray, openai.")]
Address = Annotated[
    str | None, typer.Option("--address", help="With --provider ray: HOST:PORT of a cluster, or auto; none starts one.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the run; default: below FEWTUNE_HOME.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of split, order, weights and sampling.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Epochs = Annotated[str | None, typer.Option("--epochs", help="Passes over the data, as in 1,2,4 or 1..8.")]
BatchSize = Annotated[str | None, typer.Option("--batch-size", help="Examples a step, as in 2,8.")]
LearningRate = Annotated[
    str | None,
    typer.Option("--learning-rate", help="As in 3e-4,1e-3 or '1e-4..3e-3 log'; default: around the base's prior."),
]
Rank = Annotated[str | None, typer.Option("--rank", help="Ranks of the adapter, as in 4,8 or 4..16; default: 8.")]
PromptLossWeight = Annotated[
    str | None, typer.Option("--prompt-loss-weight", help="Loss weights of a prompt token, as in 0,0.1; default: 0.")
]
Seeds = Annotated[
    str | None, typer.Option("--seeds", help="As in 0,1,2: the first trains all, the others the finalists again.")
]
Space = Annotated[Path | None, typer.Option("--space", help="TOML file with axes; options go before it.")]
Searcher = Annotated[
    str | None,
    typer.Option("--searcher", help="grid, quasi (evenly spread), random or tpe; default: grid, of ranges quasi."),
]
Trials = Annotated[
    int | None, typer.Option("--trials", help="Candidates to try; a larger number extends a finished run.")
]
Halving = Annotated[
    bool | None,
    typer.Option("--halving/--no-halving", help="Stop the worse half at each rung; sweep: from 4 candidates on."),
]
RungShare = Annotated[
    float | None,
    typer.Option("--rung-share", help="Compare all candidates on this share of the rows first, as in 0.25."),
]
MedianStop = Annotated[
    bool, typer.Option("--median-stop", help="Stop who is worse than the median of the others, in place of rungs.")
]
Folds = Annotated[
    int | None,
    typer.Option(
        "--folds", help="Train the finalists on folds too; run: 0, sweep: 5 below 60 validation rows, else 3."
    ),
]
SearchOn = Annotated[
    str | None,
    typer.Option("--search-on", help="Search on this cheap base, as on pocket; then train its best plans on --base."),
]
Score = Annotated[
    str | None, typer.Option("--score", help="What trials are chosen by: loss, exact_match or auto; default: auto.")
]
Refit = Annotated[
    bool | None,
    typer.Option(
        "--refit/--no-refit",
        help="Train the winner again, on validation rows too, and keep that; run, sweep: if it is free.",
    ),
]
AverageRefit = Annotated[
    bool, typer.Option("--average-refit", help="Average the refit's last epochs where that is better on the folds.")
]
MoreData = Annotated[
    bool,
    typer.Option("--more-data", help="Train on parts of the rows, and tell what twice the data would bring."),
]
GradientAccumulation = Annotated[
    int, typer.Option("--gradient-accumulation", help="Batches summed before an optimizer step.", min=1)
]
AdaptTop = Annotated[
    str | None,
    typer.Option("--adapt-top", help="Shares of the blocks, from the top, to adapt, as in 0.5,1; default: 1."),
]
AveragedCheckpoints = Annotated[
    int, typer.Option("--averaged-checkpoints", help="Take the mean of this many last epochs' adapters.", min=1)
]
PromptColumn = Annotated[str | None, typer.Option("--prompt-column", help="Column that holds what is given.")]
CompletionColumn = Annotated[str | None, typer.Option("--completion-column", help="Column that holds what is wanted.")]
ReferenceColumns = Annotated[
    list[str] | None,
    typer.Option("--reference-column", help="Column of further good answers, judged by only; may be repeated."),
]
PromptTemplate = Annotated[
    str | None, typer.Option("--prompt-template", help="Prompt from several columns, as in '{title} ({year})'.")
]
GroupColumn = Annotated[
    str | None, typer.Option("--group-column", help="Rows with the same value in it stay on one side of every split.")
]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="chat or completion; default: what the base is made for.")
]
Repair = Annotated[
    list[str] | None,
    typer.Option("--repair", help="Code of a finding to repair though it is not recommended; may be repeated."),
]
ValidFile = Annotated[
    Path | None, typer.Option("--valid-file", help="File of validation rows; training rows found in it are dropped.")
]
NoRepair = Annotated[
    list[str] | None, typer.Option("--no-repair", help="Code of a finding to leave as it is; may be repeated.")
]
Valid = Annotated[float | None, typer.Option("--valid", help="Validation rows: a share below 1, or a number.")]
Test = Annotated[float | None, typer.Option("--test", help="Test rows: a share below 1, or a number.")]
Shots = Annotated[
    int | None, typer.Option("--shots", help="Worked examples in the few-shot prompts; default: 3.", min=0)
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", help="Answers to each held-out row; the first is measured. Default: 1.", min=1),
]
Rivals = Annotated[
    str | None,
    typer.Option(
        "--rivals",
        help="Who answers beside the tuned model, of: base, few-shot, few-shot-nearest, majority, nearest-answer, "
        "tf-idf, runner-up; or all. Default: by the task.",
    ),
]
SentenceEncoder = Annotated[
    str | None,
    typer.Option(
        "--sentence-encoder", help="For labels, a rival over this encoder's vectors: a model folder or a hub id."
    ),
]
Reference = Annotated[
    str | None, typer.Option("--reference", help="A bigger model to stand beside, at an OpenAI-compatible address.")
]
ReferenceUrl = Annotated[
    str | None, typer.Option("--reference-url", help="Its address; the key is FEWTUNE_REFERENCE_KEY.")
]
Judge = Annotated[
    str | None, typer.Option("--judge", help="A model that compares the answers, each pair in both orders.")
]
JudgeUrl = Annotated[str | None, typer.Option("--judge-url", help="Its address; the key is FEWTUNE_JUDGE_KEY.")]
JudgeRubric = Annotated[
    Path | None, typer.Option("--judge-rubric", help="Text file that says what makes an answer good.")
]
TaskName = Annotated[str | None, typer.Option("--task", help="text, labels or json; default: what the rows look like.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Of your own, as module:function or file.py:function; may be repeated."),
]
Primary = Annotated[
    str | None, typer.Option("--primary", help="Metric that decides; default: loss for text, else exact_match.")
]
JsonSchema = Annotated[
    Path | None, typer.Option("--json-schema", help="JSON Schema of the answers; default: as the training rows are.")
]
BudgetMinutes = Annotated[
    float | None,
    typer.Option("--budget-minutes", help="Train at most so long; must be given where over 10 minutes are likely."),
]
BudgetUsd = Annotated[float | None, typer.Option("--budget-usd", help="Spend at most so much on hosted services.")]
Track = Annotated[
    list[str] | None,
    typer.Option("--track", help="Follow in wandb, mlflow, trackio or tensorboard too; may be repeated."),
]
BudgetTokens = Annotated[float | None, typer.Option("--budget-tokens", help="Train on at most so many tokens.")]
