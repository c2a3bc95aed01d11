"""TRL's SFTTrainer with PEFT's LoRA as a contender, at its best settings for this comparison; runs in a child process.

Loss on completions only, no gradient checkpointing, no logging, saving or evaluation, bf16 on CUDA. On the CPU it is
fp32 unless bf16 is asked for: then the base is loaded in bf16 and TRL's own `bf16`, torch's autocast, is on. Rows
arrive as token ids. Two layouts can be asked for, and whoever compares takes the faster: padding-free, with exactly
the batches that ours trains on, or padded batches grouped by length. Its log-probabilities are computed for trained
tokens only, as ours are, which is TRL's own default.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from bench.device import CUDA, WARM_UP_STEPS, Clock
from bench.job import ALPHA, LEARNING_RATE, RANK, Job
from bench.rows import encoded_rows
from fewtune.bases.folder import locate
from fewtune.data.encode import Encoded


def one_trial(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job's first trial."""
    logging.disable(logging.WARNING)
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(Job(**job), folder)
        timed = Timed(trainer)
        trainer.add_callback(timed)
        trainer.train()
    return {**timed.measured, "loss": float(trainer.loss)}


class CountingTrainer(SFTTrainer):
    """Counts the tokens that it reads, padding not among them, and keeps the last loss."""

    tokens = 0
    loss: Any = float("nan")

    def training_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        mask = inputs.get("attention_mask")
        self.tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        self.loss = super().training_step(model, inputs, *arguments, **options)
        return self.loss


class Timed(TrainerCallback):
    """Measures from the end of the warm-up to the end of training."""

    measured: Mapping[str, Any]

    def __init__(self, trainer: CountingTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        if state.global_step == WARM_UP_STEPS:
            self._clock, self._tokens_before = Clock(), self._trainer.tokens
        elif state.global_step == state.max_steps:
            self.measured = {"tokens": self._trainer.tokens - self._tokens_before, **self._clock.read()}


def _trainer(job: Job, folder: str) -> CountingTrainer:
    settings = SFTConfig(
        max_steps=WARM_UP_STEPS + job.steps,
        lr_scheduler_type="constant",
        **common_settings(folder, job.batch_size, LEARNING_RATE, job.seed, grouped=job.grouped),
        bf16=CUDA or job.precision == "bf16",
    )
    return trainer(job.base, settings, dataset(_ordered(job)))


def trainer(base: str, settings: SFTConfig, train: Dataset, valid: Dataset | None = None) -> CountingTrainer:
    """With LoRA on all linear layers, at the rank and alpha that every contender has."""
    folder = locate(base)
    dtype = torch.bfloat16 if settings.bf16 else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return CountingTrainer(
        model=model,
        args=settings,
        train_dataset=train,
        eval_dataset=valid,
        processing_class=PreTrainedTokenizerFast.from_pretrained(folder),
        peft_config=lora,
    )


def common_settings(folder: str, batch_size: int, rate: float, seed: int, *, grouped: bool) -> dict[str, Any]:
    """All but how long is trained, in what precision, how the rate goes, and in which order rows come ungrouped."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": batch_size,
        "train_sampling_strategy": "group_by_length" if grouped else "sequential",
        "padding_free": not grouped,
        "max_length": None,
        "completion_only_loss": True,
        "learning_rate": rate,
        "seed": seed,
        "use_cpu": not CUDA,
        "dataloader_pin_memory": CUDA,
        "gradient_checkpointing": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _ordered(job: Job) -> list[Encoded]:
    """All rows where TRL groups them itself; else one batch after another, those of the warm-up before the timed."""
    rows = job.rows(0, encoded_rows(job.data, job.base))
    if job.grouped:
        return list(rows)
    steps = (*range(job.steps, job.steps + WARM_UP_STEPS), *range(job.steps))
    return [example for step in steps for example in job.batch(0, rows, step)]


def dataset(rows: Sequence[Encoded]) -> Dataset:
    masks = [list(map(int, row.trained)) for row in rows]
    return Dataset.from_dict({"input_ids": [list(row.ids) for row in rows], "completion_mask": masks})
