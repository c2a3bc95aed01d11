"""One run of the grid by TRL + PEFT, evaluated after each epoch; runs in a child process that has imported all of it.

The clock runs from before the model is loaded to after the last evaluation; reading, splitting and tokenising the
rows are outside of it. Nothing is saved. The schedule is that of a plan of ours: warm-up, then a constant rate.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from typing import Any

from datasets import disable_progress_bars
from transformers import TrainerCallback
from trl.trainer.sft_config import SFTConfig

from bench.device import CUDA, Clock
from bench.grid import BASE, WARMUP_STEPS, GridRun, rows
from bench.trl_sft import CountingTrainer, common_settings, dataset, trainer

_EVALUATED_TOGETHER = 16
"""Rows of some 120 tokens: about as many tokens a pass as ours takes."""


def one_run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds, tokens, and the curve: epoch, seconds, validation loss."""
    logging.disable(logging.WARNING)
    disable_progress_bars()
    run = GridRun(**job)
    train, valid = rows(run.data)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        made = trainer(BASE, _settings(run, folder), dataset(train), dataset(valid))
        # The mean of batches' means is not the mean over tokens, by which a sweep chooses.
        losses = _TokenLosses(made)
        curve = _Curve(losses, clock)
        made.add_callback(curve)
        made.train()
        took = clock.read()
    return {**took, "tokens": made.tokens, "curve": curve.points}


class _TokenLosses:
    """Sums what an evaluation's batches come to, by the tokens that are trained."""

    def __init__(self, made: CountingTrainer) -> None:
        self._total, self._tokens, self._step = 0.0, 0, made.prediction_step
        made.prediction_step = self._counted  # type: ignore[method-assign]

    def _counted(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        tokens = int((inputs["labels"][..., 1:] != -100).sum())
        found = self._step(model, inputs, *arguments, **options)
        self._total += float(found[0]) * tokens
        self._tokens += tokens
        return found

    def read(self) -> float:
        """The mean since it was last read."""
        mean, self._total, self._tokens = self._total / self._tokens, 0.0, 0
        return mean


class _Curve(TrainerCallback):
    def __init__(self, losses: _TokenLosses, clock: Clock) -> None:
        self._losses, self._clock = losses, clock
        self.points: list[tuple[float, float, float]] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        self.points.append((state.epoch, self._clock.read()["seconds"], self._losses.read()))


def _settings(run: GridRun, folder: str) -> SFTConfig:
    common = common_settings(folder, run.batch_size, run.learning_rate, run.seed, grouped=run.grouped)
    order = {} if run.grouped else {"train_sampling_strategy": "random"}
    return SFTConfig(
        **{**common, **order},
        bf16=CUDA,
        num_train_epochs=run.epochs,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=WARMUP_STEPS,
        eval_strategy="epoch",
        per_device_eval_batch_size=_EVALUATED_TOGETHER,
        prediction_loss_only=True,
    )
