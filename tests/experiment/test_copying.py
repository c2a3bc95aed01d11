"""What a model knows by heart, and what a run tells of copies and forgetting, on the built-in base."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.bases.folder import open_encoder
from fewtune.experiment.copying import by_heart
from fewtune.experiment.forgetting import forgetting
from fewtune.providers import connect
from fewtune.providers.contract import BASE, Answer, Provider, Request, Workspace
from fewtune.types import Example, Source

PROMPTS = (
    "Two rye loaves for Friday, please.",
    "What is the capital of France?",
    "Is it raining? yes or no",
    "cat",
    "My parcel never came.",
    "The kettle leaks.",
    "Copy: blue",
    "Can I pay by card?",
)


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return connect("local", Workspace(base="pocket", examples={}, folder=tmp_path))


def row(number: int, completion: str) -> Example:
    source = Source(file="data.csv", line=number + 2)
    return Example(row=number, prompt=PROMPTS[number], completion=completion, source=source)


def is_cut_as_written(answer: Answer) -> bool:
    """Whether the text, encoded, has as many tokens as were written: a text can be made of others too."""
    return answer.tokens + 1 == len(open_encoder("pocket").completion(answer.text))


def test_what_a_model_would_write_at_temperature_0_is_known_by_heart_and_nothing_else(provider: Provider) -> None:
    asked = [Request(id=number, prompt=prompt, max_tokens=50) for number, prompt in enumerate(PROMPTS)]
    replies = [one for one in provider.sample(BASE, asked) if isinstance(one, Answer)]
    written = [row(one.id, one.text) for one in replies if one.stop_reason == "stop" and is_cut_as_written(one)]
    assert len(written) >= 2
    assert by_heart(written, provider, BASE, 0) == (len(written), len(written))
    others = [row(one.row, one.completion + " and a half") for one in written]
    assert by_heart([*written[:1], *others[1:]], provider, BASE, 0) == (1, len(written))


def test_the_base_has_forgotten_nothing_of_itself(provider: Provider) -> None:
    found = forgetting(provider, provider.base.encoder, BASE)  # type: ignore[attr-defined]
    assert found is not None
    assert found.before == found.after < 2
    assert found.interval is None


def test_a_run_tells_what_was_copied_and_what_was_forgotten(few_rows: Path) -> None:
    run = fewtune.run(few_rows, epochs=2, batch_size=8, learning_rate=3e-3, rivals="base,nearest-answer")
    part = run.summary.evaluation
    assert part and part.forgetting
    assert set(part.copying) == {"base", "tuned"}
    tuned = part.copying["tuned"]
    assert run.summary.refit and tuned.tried == run.summary.refit.rows > run.summary.data.train_rows
    assert tuned.expected_longest_words > 0
    assert (tuned.longest_words > 0) == bool(tuned.longest_source) == bool(tuned.longest_text)
    assert part.forgetting.after > part.forgetting.before
