"""All that decides what a run does; two runs with equal settings and equal data are the same run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fewtune.types import Precision, precision_of

Values = tuple[float, ...] | str
"""A list, or a range as it is typed: `1e-4..3e-3 log`."""

_AXES = ("epochs", "batch_sizes", "learning_rates", "rank", "prompt_loss_weight", "adapt_top")
"""Settings of several values; in runs of version 0.1 the last three are single numbers."""
_WITHOUT_IDENTITY = ("data", "trials", "more_data")
_BEFORE: Mapping[str, Any] = {
    "score": "loss",
    "search_on": None,
    "rung_share": None,
    "median_stop": False,
    "refit": False,
    "average_refit": False,
    "task": None,
    "precision": None,
}
"""What was done before there was such a setting. So it does not count in the identity of a run, and a run that was
stored without it is still the same."""

JUDGING = ("metrics", "primary", "json_schema", "reference_columns")
"""What the answers are judged by is no part of a run's identity: when it changes, nothing is trained again."""
ANSWERING = (
    "shots",
    "samples",
    "rivals",
    "sentence_encoder",
    "reference",
    "reference_url",
    "judge",
    "judge_url",
    "judge_rubric",
    "judge_rubric_sha256",
)
"""Who answers and judges is no part of a run's identity: when it changes, nothing is trained again."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    data: str
    """Path of the data file."""
    base: str = "pocket"
    provider: str = "local"
    four_bit: bool = False
    """Keep the base in 4 bits while it is trained here."""
    precision: Literal["fp32", "bf16"] | None = None
    """In which the base is kept and multiplied while it is trained here; None leaves it to the device."""
    seed: int = 0
    """Seed of split, order, initial weights, few-shot examples and sampling."""
    epochs: Values = (1, 2, 4)
    batch_sizes: Values = (4,)
    learning_rates: Values = ()
    """Empty: around the base's prior."""
    rank: Values = (8,)
    prompt_loss_weight: Values = (0.0,)
    adapt_top: Values = (1.0,)
    """Share of the blocks, from the top, that are adapted."""
    seeds: tuple[int, ...] = ()
    """Seeds that the finalists are trained with, the first one everything else; empty: `seed` alone."""
    searcher: str | None = None
    """`grid`, `quasi`, `random` or `tpe`; None: the grid of lists, and quasi where there is a range."""
    trials: int | None = None
    """Candidates to try. No part of the run's identity: a larger number extends the run."""
    search_on: str | None = None
    """A cheap base on which the search is made; its best plans are then trained on `base`."""
    halving: bool | None = False
    """Stop candidates at rungs; None: from 4 candidates on."""
    rung_share: float | None = None
    """Share of the training rows that all candidates are compared on before the rungs; None: no such rung."""
    median_stop: bool = False
    """Stop candidates by the median rule, in place of rungs."""
    folds: int | None = 0
    """Folds that the finalists are trained on; None: 5 below 60 validation rows, else 3."""
    score: str = "auto"
    """What trials are chosen by: `loss`, `exact_match`, or `auto`."""
    refit: bool | None = False
    """Train the winner once more, on validation rows too; None: unless it costs money or the rows were given."""
    average_refit: bool = False
    """Make it the mean of its last epochs' adapters where folds say that this is better."""
    more_data: bool = False
    """Train the winner on parts of its rows, to tell what more would bring. No part of the run's identity: it
    changes nothing about the model, so it may be asked afterwards."""
    gradient_accumulation: int = 1
    averaged_checkpoints: int = 1
    cooldown: float = 0.0
    valid: float | int | None = None
    """Share or number of validation rows; None leaves it to the size of the data."""
    test: float | int | None = None
    valid_file: str | None = None
    """Path of a file of validation rows; then none are taken from the data."""
    recipe: str | None = None
    """`chat` or `completion`; None is what the base is made for."""
    prompt_column: str | None = None
    completion_column: str | None = None
    prompt_template: str | None = None
    """The prompt put together from several columns, as in `{title} ({year})`."""
    group_column: str | None = None
    """Rows with the same value in it stay on one side of every split."""
    refused_repairs: tuple[str, ...] = ()
    """Codes of findings that are left as they are."""
    accepted_repairs: tuple[str, ...] = ()
    """Codes of findings that are repaired though it is not recommended."""
    evaluate: bool = True
    """Judge base, few-shot prompt and tuned model on the test rows."""
    task: str | None = None
    """`text`, `labels` or `json`; None is what the rows look like."""
    metrics: tuple[str, ...] = ()
    """The user's own, as `module:function`, `file.py:function` or the name of an entry point."""
    primary: str | None = None
    """Name of the metric that decides; None is the task's."""
    json_schema: str | None = None
    """Path of a JSON Schema for the answers; None infers one from the training rows."""
    reference_columns: tuple[str, ...] = ()
    """Columns of further good answers: they decide nothing about what is trained on."""
    samples: int = 1
    """Answers to each held-out row; the first one is measured."""
    shots: int = 3
    """Worked examples in the few-shot prompt; fewer where the context is short."""
    rivals: tuple[str, ...] | None = None
    """Who answers beside the tuned model; None leaves it to the task."""
    sentence_encoder: str | None = None
    """A model folder or a hub id; for labels a rival learns over its vectors."""
    reference: str | None = None
    """Name of a bigger model, ..."""
    reference_url: str | None = None
    """... and the OpenAI-compatible address where it is; None is the environment's, or OpenAI's."""
    judge: str | None = None
    """Name of a model that compares answers."""
    judge_url: str | None = None
    judge_rubric: str | None = None
    """Path of a file that says what makes an answer good."""
    judge_rubric_sha256: str | None = None
    """Of what stood in it, so that the same command with another rubric judges again."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSettings:
        """Read back what `to_json` wrote; raises ValueError for anything else."""
        # A stored document is an edge like any other, so it is validated there, and only there.
        from pydantic import TypeAdapter

        axes = {name: values[name] for name in _AXES if name in values}
        values = {**_BEFORE, **values}
        lists = {name: (value,) if isinstance(value, int | float) else value for name, value in axes.items()}
        read = TypeAdapter(cls).validate_python({**values, **lists})
        # Whole numbers stay whole, as they are in the run's identity.
        whole = {name: tuple(value) for name, value in lists.items() if not isinstance(value, str)}
        return replace(read, **whole)

    @property
    def base_precision(self) -> Precision | None:
        return precision_of(self.four_bit, self.precision)

    @property
    def answering(self) -> dict[str, Any]:
        """Who answers and judges."""
        return {name: getattr(self, name) for name in ANSWERING}

    @property
    def judging(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in JUDGING)

    @property
    def judges_anew(self) -> bool:
        """Whether it is judged by code or a file of the user's, which may have changed since."""
        return bool(self.metrics or self.json_schema)

    def run_id(self, data_sha256: str) -> str:
        """Readable name and a digest of settings and data: the same command finds its run again."""
        told = {
            name: value
            for name, value in self.to_json().items()
            if name not in (*_WITHOUT_IDENTITY, *JUDGING, *ANSWERING)
            and not (name in _BEFORE and value == _BEFORE[name])
        }
        if self.precision == "fp32":
            # Where it can be asked for, it is what the device does unasked.
            del told["precision"]
        # Shots counted once: with the usual number a run of then is still the same.
        told["shots"] = RunSettings.shots
        digest = hashlib.sha256(json.dumps([told, data_sha256], sort_keys=True).encode()).hexdigest()
        stem = "".join(c if c.isalnum() else "-" for c in Path(self.data).stem.lower()).strip("-")
        return f"{stem[:40] or 'run'}-{digest[:8]}"
