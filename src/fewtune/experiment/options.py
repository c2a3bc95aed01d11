"""What `run`, `sweep`, `train`, `prepare` and `estimate` take from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from fewtune.experiment.answering_options import AnsweringOptions
from fewtune.experiment.axes import Values
from fewtune.experiment.progress import Watch


class Options(TypedDict, total=False):
    """What `run`, `sweep`, `train`, `prepare` and `estimate` take besides the data; all may be left out or None."""

    base: str | None
    """`pocket`, a model folder, or a hub id; on a hosted service its model's name."""
    provider: str | None
    """`local`, `ray`, `openai`, or `fake`, which only pretends."""
    seed: int | None
    epochs: Values
    """One value, several, or text as on the command line: 4, (1, 2, 4), "1,2,4" or "1..8"."""
    batch_size: Values
    learning_rate: Values
    """Also a range, as in "1e-4..3e-3 log"."""
    rank: Values
    prompt_loss_weight: Values
    adapt_top: Values
    """Share of the blocks, from the top, to adapt; below 1 is faster."""
    seeds: Values
    """The first one trains all candidates, the others the finalists again."""
    space: str | Path | None
    """A TOML file of these, by the names of a Plan's fields; an option given besides goes before it."""
    searcher: str | None
    """`grid`, `quasi` (spread evenly), `random` or `tpe`."""
    trials: int | None
    """Candidates to try; a larger number extends a run that is finished."""
    halving: bool | None
    """Stop candidates that do worse early; `sweep` does from 4 candidates on."""
    rung_share: float | None
    """Compare all candidates on this share of the training rows first; only the better half trains on all rows."""
    median_stop: bool | None
    """In place of rungs, stop whoever is worse than the median of the others."""
    folds: int | None
    """Train the finalists on so many folds; 0 for none. `sweep` takes 5 below 60 validation rows, else 3."""
    search_on: str | None
    """A cheap base to search on; its best plans are then trained on `base`."""
    score: str | None
    """What trials are chosen by: `loss`, `exact_match`, or `auto`."""
    refit: bool | None
    """Train the winner once more on all rows but the test rows, and keep that; `run` and `sweep` do where it costs no
    money, unless `valid_file` is given; `train` does not."""
    average_refit: bool | None
    """Make it the mean of its last epochs' adapters, where folds say that this is better."""
    more_data: bool | None
    """Train the winner on parts of the rows, too, and tell what twice the data would bring."""
    gradient_accumulation: int | None
    """Batches summed before an optimizer step."""
    averaged_checkpoints: int | None
    """Take the mean of this many last epochs' adapters."""
    recipe: str | None
    """`chat` or `completion`; None is what the base is made for."""
    prompt_column: str | None
    completion_column: str | None
    prompt_template: str | None
    """The prompt from several columns, as in `{title} ({year})`."""
    group_column: str | None
    """Rows with the same value in it stay on one side of every split."""
    no_repair: Sequence[str] | None
    """Codes of findings to leave as they are."""
    repair: Sequence[str] | None
    """Codes of findings to repair though it is not recommended."""
    valid: float | None
    """Validation rows: a share below 1, or a number."""
    valid_file: str | Path | None
    """A file of validation rows; training rows that stand in it are dropped."""
    test: float | None
    task: str | None
    """`text`, `labels` or `json`; None is what the rows look like."""


class RunOptions(Options, AnsweringOptions, total=False):
    """What `run`, `sweep` and `train` take besides."""

    metrics: Sequence[str | Callable[[str, str], float]] | None
    """Of your own: functions of an answer and the expected text, or what `--metric` takes."""
    primary: str | None
    """Name of the metric that decides; by default loss for text, else exact match."""
    json_schema: str | Path | None
    """A JSON Schema for the answers; without one it is inferred from the training rows."""
    reference_columns: str | Sequence[str] | None
    """Columns whose cells are further good answers: judged by, never trained on."""

    out: str | Path | None
    """Folder for the run."""
    address: str | None
    """Of the cluster for `provider="ray"`: HOST:PORT, or `auto`; None starts one on this machine."""
    budget_minutes: float | None
    budget_usd: float | None
    budget_tokens: float | None
    track: Sequence[str] | None
    """Trackers that follow the run: `wandb`, `mlflow`, `trackio`, `tensorboard`."""
    watch: Watch | None
    """Called with every piece of progress; without one a run shows itself in a notebook and is silent elsewhere."""
