"""The options of `run` that say who answers the held-out rows, and who judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict, cast

from fewtune.errors import UsageError
from fewtune.experiment.judging import read_rubric
from fewtune.experiment.rivals import read_rivals
from fewtune.experiment.settings import RunSettings


class AnsweringOptions(TypedDict, total=False):
    shots: int | None
    """Worked examples in the few-shot prompts; 3 unless given."""
    samples: int | None
    """Answers to each held-out row, to see how much they differ; the first one is measured. 1 unless given."""
    rivals: str | Sequence[str] | None
    """Who answers beside the tuned model, as in "base,few-shot,nearest-answer", or "all"; by default by the task."""
    sentence_encoder: str | None
    """For labels, a rival over the vectors of this encoder: a model folder or a hub id; needs `fewtune[encoder]`."""
    reference: str | None
    """A bigger model to stand beside, by its name at an OpenAI-compatible address."""
    reference_url: str | None
    """That address; OPENAI_BASE_URL or OpenAI's own unless given. The key is FEWTUNE_REFERENCE_KEY."""
    judge: str | None
    """A model that says which answers it prefers, tuned or rival, in both orders."""
    judge_url: str | None
    """Its address; the key is FEWTUNE_JUDGE_KEY."""
    judge_rubric: str | Path | None
    """A text file that says what makes an answer good."""


def with_answering(settings: RunSettings, options: Mapping[str, Any]) -> RunSettings:
    """The settings with these options read. Raises UsageError for what cannot be, or where nothing is evaluated."""
    given = cast(
        AnsweringOptions,
        {name: options[name] for name in AnsweringOptions.__annotations__ if options.get(name) is not None},
    )
    if not settings.evaluate:
        if given:
            name = min(given).replace("_", "-")
            raise UsageError(
                f"--{name} says who answers, but only `run` asks.", fix="Use `fewtune run`, or leave it out."
            )
        return settings
    rubric = given.get("judge_rubric")
    return replace(
        settings,
        shots=_count("shots", given.get("shots"), settings.shots, 0),
        samples=_count("samples", given.get("samples"), settings.samples, 1),
        rivals=read_rivals(given.get("rivals")),
        sentence_encoder=given.get("sentence_encoder"),
        reference=given.get("reference"),
        reference_url=given.get("reference_url"),
        judge=given.get("judge"),
        judge_url=given.get("judge_url"),
        judge_rubric=None if rubric is None else str(rubric),
        judge_rubric_sha256=None if rubric is None else sha256(read_rubric(str(rubric)).encode()).hexdigest(),
    )


def _count(name: str, given: int | None, usual: int, least: int) -> int:
    if given is None:
        return usual
    if given < least:
        raise UsageError(f"--{name} is {given}.", fix=f"Give {least} or more.")
    return given
