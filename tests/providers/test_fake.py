from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.providers.contract import BASE, Answer, Event, Finished, Point, Request, Trial, Workspace
from fewtune.providers.fake import FakeProvider
from fewtune.types import Example, Plan


@pytest.fixture
def workspace(examples: dict[int, Example], tmp_path: Path) -> Workspace:
    return Workspace(base="fake", examples=examples, folder=tmp_path)


@pytest.fixture
def provider(workspace: Workspace) -> FakeProvider:
    return FakeProvider(workspace)


def trial(name: str, *, learning_rate: float = 1e-2, epochs: int = 4, seed: int = 0) -> Trial:
    plan = Plan(learning_rate=learning_rate, epochs=epochs, batch_size=3)
    return Trial(id=name, plan=plan, seed=seed, train_rows=tuple(range(8)), valid_rows=(8, 9))


def train(provider: FakeProvider, given: Trial) -> list[Event]:
    return list(provider.advance(dict.fromkeys(provider.start([given]))))


def valid_losses(events: list[Event]) -> list[float]:
    return [event.validation.loss for event in events if isinstance(event, Point) and event.validation]


def answer(provider: FakeProvider, model: str, request: Request) -> Answer:
    (found,) = (reply for reply in provider.sample(model, [request]) if isinstance(reply, Answer))
    return found


def test_two_runs_agree_in_every_digit(provider: FakeProvider, workspace: Workspace, tmp_path: Path) -> None:
    again = FakeProvider(Workspace(base="fake", examples=workspace.examples, folder=tmp_path / "again"))
    assert train(provider, trial("a")) == train(again, trial("a"))


def test_an_epoch_takes_as_many_steps_as_it_has_batches(provider: FakeProvider) -> None:
    steps = [event.step for event in train(provider, trial("a", epochs=2)) if isinstance(event, Point)]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_the_training_loss_falls_at_every_step(provider: FakeProvider) -> None:
    losses = [event.train_loss or 0.0 for event in train(provider, trial("a")) if isinstance(event, Point)]
    assert losses == sorted(losses, reverse=True)


def test_too_low_and_too_high_a_learning_rate_end_worse_than_one_between(provider: FakeProvider) -> None:
    last = {rate: valid_losses(train(provider, trial(str(rate), learning_rate=rate)))[-1] for rate in (1e-4, 1e-2, 1.0)}
    assert last[1e-2] < min(last[1e-4], last[1.0])


def test_another_seed_gives_another_curve(provider: FakeProvider) -> None:
    assert valid_losses(train(provider, trial("a"))) != valid_losses(train(provider, trial("b", seed=1)))


def test_the_base_echoes_and_the_tuned_model_gives_the_most_similar_rows_completion(provider: FakeProvider) -> None:
    finished = train(provider, trial("a"))[-1]
    assert isinstance(finished, Finished) and finished.model == "a@12"
    request = Request(id=0, prompt="What is the capital of Norway?")
    assert answer(provider, BASE, request).text == request.prompt
    assert answer(provider, finished.model, request).text == "It is Oslo."


def test_the_base_answers_from_worked_examples(provider: FakeProvider) -> None:
    request = Request(id=0, prompt="2 + 2", shots=(("2 + 3", "5"), ("hello", "world")))
    assert answer(provider, BASE, request).text == "5"


def test_an_answer_ends_at_a_stop_sequence(provider: FakeProvider) -> None:
    found = answer(provider, BASE, Request(id=0, prompt="one two. three", stop=(".",)))
    assert (found.text, found.stop_reason) == ("one two", "stop")


def test_a_checkpoint_that_was_not_reached_has_no_model(provider: FakeProvider) -> None:
    provider.start([trial("a")])
    list(provider.advance({"a": 4}))
    assert answer(provider, "a@3", Request(id=0, prompt="x"))
    for model in ("a@4", "a@6"):
        with pytest.raises(UsageError):
            answer(provider, model, Request(id=0, prompt="x"))


def test_a_cancel_during_training_is_not_forgotten(provider: FakeProvider) -> None:
    provider.start([trial("a")])
    events = provider.advance({"a": None})
    next(events)
    provider.cancel(["a"])
    events.close()
    (failure,) = provider.advance({"a": None})
    assert not isinstance(failure, Finished)
