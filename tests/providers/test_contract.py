"""What every provider promises, asked of each of them."""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fewtune.errors import ProviderError, UsageError
from fewtune.providers.contract import (
    BASE,
    Answer,
    Checkpoint,
    Chunk,
    Event,
    Failure,
    Finished,
    Point,
    Provider,
    Request,
    Score,
    Trial,
    Workspace,
    mean_of,
)
from fewtune.types import Example, Plan
from standin.openai_standin import BASE_MODEL

BATCH_SIZE, EPOCHS, ROWS = 4, 2, 8
STEPS = EPOCHS * ROWS // BATCH_SIZE


@dataclass(frozen=True, kw_only=True)
class Place:
    """Opens a provider on a folder; the same folder again is another process going on."""

    base: str
    examples: Mapping[int, Example]
    connect: Callable[[Workspace], Provider]

    def open(self, folder: Path) -> Provider:
        return self.connect(Workspace(base=self.base, examples=self.examples, folder=folder))


def fake(request: pytest.FixtureRequest, examples: Mapping[int, Example]) -> Place:
    from fewtune.providers.fake import FakeProvider

    return Place(base="fake", examples=examples, connect=FakeProvider)


def openai(request: pytest.FixtureRequest, examples: Mapping[int, Example]) -> Place:
    from fewtune.providers.openai_compatible import OpenAIProvider

    request.getfixturevalue("standin")
    return Place(base=BASE_MODEL, examples=examples, connect=lambda place: OpenAIProvider(place, poll_seconds=0.001))


def local(request: pytest.FixtureRequest, examples: Mapping[int, Example]) -> Place:
    spec = importlib.util.find_spec("fewtune.bases")
    folders = (spec.submodule_search_locations if spec else None) or []
    if not any(weights for folder in folders for weights in Path(folder, "pocket").glob("*.safetensors")):
        pytest.skip("the built-in base has no weights here")
    pytest.importorskip("torch")
    from fewtune.providers.local import LocalProvider

    return Place(base="pocket", examples=examples, connect=LocalProvider)


@pytest.fixture(params=[fake, openai, local], ids=lambda make: make.__name__)
def place(request: pytest.FixtureRequest, examples: dict[int, Example]) -> Place:
    return request.param(request, examples)


@pytest.fixture
def provider(place: Place, tmp_path: Path) -> Provider:
    return place.open(tmp_path / "state")


def trial(name: str = "first", *, learning_rate: float = 0.003, seed: int = 1, parent: str | None = None) -> Trial:
    return Trial(
        id=name,
        plan=Plan(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=learning_rate, warmup_steps=0),
        seed=seed,
        train_rows=tuple(range(ROWS)),
        valid_rows=(8, 9),
        parent=parent,
    )


def train(provider: Provider, *trials: Trial) -> list[Event]:
    return list(provider.advance(dict.fromkeys(provider.start(trials))))


def points(events: Iterable[Event]) -> list[Point]:
    return [event for event in events if isinstance(event, Point)]


def endings(events: Iterable[Event]) -> list[Finished | Failure]:
    return [event for event in events if isinstance(event, Finished | Failure)]


def curve(events: Iterable[Event]) -> dict[int, tuple[float | None, float | None]]:
    """Training and validation loss by step."""
    return {point.step: (point.train_loss, point.validation and point.validation.loss) for point in points(events)}


def finished_model(events: Iterable[Event]) -> str:
    (ending,) = endings(events)
    assert isinstance(ending, Finished)
    return ending.model


class TestTraining:
    def test_a_trial_started_twice_keeps_its_handle(self, provider: Provider) -> None:
        first = provider.start([trial("a"), trial("b", seed=2)])
        assert provider.start([trial("a"), trial("b", seed=2)]) == first
        assert len(set(first)) == 2
        assert all(isinstance(handle, str) for handle in first)

    def test_another_process_starts_the_same_trial_under_the_same_handle(self, place: Place, tmp_path: Path) -> None:
        first = place.open(tmp_path).start([trial()])
        assert place.open(tmp_path).start([trial()]) == first

    def test_steps_rise_to_the_last_one(self, provider: Provider) -> None:
        steps = [point.step for point in points(train(provider, trial()))]
        assert steps == sorted(set(steps))
        assert steps[-1] == STEPS

    def test_a_point_tells_steps_epoch_and_loss(self, provider: Provider) -> None:
        for point in points(train(provider, trial())):
            assert point.steps in (0, STEPS)
            assert math.isclose(point.epoch, point.step * EPOCHS / STEPS)
            assert point.train_loss is not None and point.train_loss > 0

    def test_the_last_step_is_validated(self, provider: Provider) -> None:
        last = points(train(provider, trial()))[-1]
        assert last.validation is not None and last.validation.loss > 0
        assert 0 <= last.validation.token_accuracy <= 1

    def test_row_losses_are_told_if_and_only_if_the_capabilities_say_so(self, provider: Provider) -> None:
        for point in points(train(provider, trial())):
            if point.validation is not None and provider.capabilities.returns_row_losses:
                assert len(point.validation.row_losses or ()) == 2
            elif point.validation is not None:
                assert point.validation.row_losses is None

    def test_a_trial_without_validation_rows_is_trained_and_leaves_its_checkpoints(self, provider: Provider) -> None:
        events = train(provider, replace(trial(), valid_rows=()))
        assert [point.step for point in points(events)][-1] == STEPS
        if provider.capabilities.returns_row_losses:
            assert not [point for point in points(events) if point.validation]
        assert [event.epoch for event in events if isinstance(event, Checkpoint)][-1] == EPOCHS
        assert finished_model(events)

    def test_every_handle_ends_once_and_after_its_points(self, provider: Provider) -> None:
        events = train(provider, trial("a"), trial("b", seed=2))
        assert Counter(ending.handle for ending in endings(events)) == {"a": 1, "b": 1}
        for handle in ("a", "b"):
            own = [event for event in events if event.handle == handle]
            assert isinstance(own[-1], Finished)

    def test_every_epoch_leaves_a_checkpoint_with_files_only_where_promised(self, provider: Provider) -> None:
        checkpoints = [event for event in train(provider, trial()) if isinstance(event, Checkpoint)]
        assert [(checkpoint.epoch, checkpoint.step) for checkpoint in checkpoints] == [(1, 2), (2, 4)]
        assert len({checkpoint.model for checkpoint in checkpoints}) == EPOCHS
        for checkpoint in checkpoints:
            assert (checkpoint.folder is not None) == provider.capabilities.returns_checkpoints

    def test_after_the_end_no_point_is_repeated_and_the_ending_is_told_again(
        self, place: Place, tmp_path: Path
    ) -> None:
        provider = place.open(tmp_path)
        told = train(provider, trial())
        for again in (provider, place.open(tmp_path)):
            events = list(again.advance({"first": None}))
            assert endings(events) == endings(told)
            # Checkpoints may be told again: their files, or names, are still good.
            assert all(event in told and isinstance(event, Checkpoint) for event in events[:-1])

    def test_an_unknown_handle_is_refused(self, provider: Provider) -> None:
        with pytest.raises((UsageError, ProviderError)):
            list(provider.advance({"nobody": None}))

    def test_a_trial_that_could_leave_the_folder_is_refused(self, provider: Provider) -> None:
        with pytest.raises(UsageError):
            provider.start([trial("../outside")])

    def test_a_plan_outside_the_ranges_is_refused(self, provider: Provider) -> None:
        low, _ = provider.capabilities.ranges.get("learning_rate", (1.0, 1.0))
        if low == 1.0:
            pytest.skip("any learning rate will do here")
        with pytest.raises(UsageError, match="learning_rate"):
            provider.start([trial(learning_rate=0.0)])


class TestStopping:
    def test_a_cancelled_trial_fails_as_cancelled_and_the_other_goes_on(self, provider: Provider) -> None:
        provider.start([trial("a"), trial("b", seed=2)])
        provider.cancel(["a"])
        ends = {ending.handle: ending for ending in endings(provider.advance({"a": None, "b": None}))}
        cancelled = ends["a"]
        assert isinstance(cancelled, Failure) and cancelled.code == "cancelled"
        assert isinstance(ends["b"], Finished)

    def test_cancelling_what_has_ended_changes_nothing(self, provider: Provider) -> None:
        ended = endings(train(provider, trial()))
        provider.cancel(["first"])
        assert endings(provider.advance({"first": None})) == ended

    def test_a_closed_iterator_goes_on_elsewhere_to_the_same_end(self, place: Place, tmp_path: Path) -> None:
        whole = train(place.open(tmp_path / "whole"), trial())
        events = place.open(tmp_path / "parts").advance(dict.fromkeys(place.open(tmp_path / "parts").start([trial()])))
        before = [next(event for event in events if isinstance(event, Point))]
        events.close()
        after = list(place.open(tmp_path / "parts").advance({"first": None}))
        assert before[0].step not in curve(after)
        if place.open(tmp_path / "parts").capabilities.can_pause:
            assert {**curve(before), **curve(after)} == curve(whole)
            assert points(after)[-1].validation == points(whole)[-1].validation
        assert isinstance(endings(after)[0], Finished)

    def test_a_target_is_where_training_pauses(self, place: Place, tmp_path: Path) -> None:
        provider = place.open(tmp_path)
        if not provider.capabilities.can_pause:
            pytest.skip("this provider cannot pause")
        provider.start([trial()])
        to_three = list(provider.advance({"first": 3}))
        assert [point.step for point in points(to_three)] == [1, 2, 3]
        assert not endings(to_three)
        rest = list(place.open(tmp_path).advance({"first": None}))
        assert [point.step for point in points(rest)] == [4]
        assert len(endings(rest)) == 1

    def test_a_trial_starts_from_anothers_checkpoint_or_is_refused(self, provider: Provider) -> None:
        parent = finished_model(train(provider, trial()))
        if not provider.capabilities.can_fork:
            with pytest.raises(UsageError):
                provider.start([trial("child", parent=parent)])
            return
        alone = points(train(provider, trial("alone")))[0]
        child = points(train(provider, trial("child", parent=parent)))[0]
        assert child.train_loss is not None and alone.train_loss is not None
        assert child.train_loss < alone.train_loss


class TestSampling:
    def test_every_request_ends_in_one_answer_made_of_its_chunks(self, provider: Provider) -> None:
        requests = [
            Request(id=7, prompt="Capital of France?", max_tokens=12),
            Request(id=3, prompt="Capital of Chad?", shots=(("Capital of Peru?", "It is Lima."),), max_tokens=12),
        ]
        for model in (BASE, finished_model(train(provider, trial()))):
            replies = list(provider.sample(model, iter(requests)))
            answers = {reply.id: reply for reply in replies if isinstance(reply, Answer)}
            assert sorted(reply.id for reply in replies if isinstance(reply, Answer)) == [3, 7]
            for number, answer in answers.items():
                chunks = [reply.text for reply in replies if isinstance(reply, Chunk) and reply.id == number]
                assert "".join(chunks) == answer.text
                assert 0 <= answer.tokens <= 12 and answer.seconds >= 0

    def test_max_tokens_is_kept_and_told_as_the_reason(self, provider: Provider) -> None:
        model = finished_model(train(provider, trial()))
        replies = provider.sample(model, [Request(id=0, prompt="Capital of France?", max_tokens=1)])
        (answer,) = (reply for reply in replies if isinstance(reply, Answer))
        assert answer.tokens <= 1
        assert answer.stop_reason == "length" or answer.tokens == 0

    def test_a_checkpoint_answers_while_the_trial_is_not_over(self, provider: Provider) -> None:
        provider.start([trial()])
        events = provider.advance({"first": None})
        model = next(event.model for event in events if isinstance(event, Checkpoint))
        events.close()
        replies = list(provider.sample(model, [Request(id=0, prompt="Capital of Italy?", max_tokens=4)]))
        assert isinstance(replies[-1], Answer)

    def test_scores_are_given_if_and_only_if_the_capabilities_say_so(self, provider: Provider) -> None:
        request = Request(id=5, prompt="Capital of France?", score="It is Paris.")
        if not provider.capabilities.can_score:
            with pytest.raises(ProviderError):
                list(provider.sample(BASE, [request]))
            return
        (score,) = provider.sample(BASE, [request])
        assert isinstance(score, Score) and score.id == 5
        assert len(score.log_likelihoods) == len(score.greedy) > 1
        assert all(value <= 0 for value in score.log_likelihoods)

    def test_the_mean_of_checkpoints_scores_between_them_where_it_can_be_had(self, provider: Provider) -> None:
        if not provider.capabilities.can_average:
            pytest.skip("this provider makes no means")
        models = [event.model for event in train(provider, trial()) if isinstance(event, Checkpoint)]
        request = Request(id=0, prompt="Capital of France?", score="It is Paris.")

        def scored(model: str) -> float:
            (score,) = provider.sample(model, [request])
            assert isinstance(score, Score)
            return sum(score.log_likelihoods)

        first, last = scored(models[0]), scored(models[-1])
        assert first < scored(mean_of(models)) < last
        assert scored(mean_of([models[-1]] * 2)) == pytest.approx(last, rel=1e-6)

    def test_training_makes_the_taught_answer_more_likely(self, provider: Provider) -> None:
        if not provider.capabilities.can_score:
            pytest.skip("this provider gives no scores")
        model = finished_model(train(provider, trial()))
        request = Request(id=0, prompt="Capital of France?", score="It is Paris.")
        (before,), (after,) = provider.sample(BASE, [request]), provider.sample(model, [request])
        assert isinstance(before, Score) and isinstance(after, Score)
        assert sum(after.log_likelihoods) > sum(before.log_likelihoods)

    def test_a_score_agrees_with_the_validation_of_the_same_row(
        self, provider: Provider, examples: dict[int, Example]
    ) -> None:
        if not (provider.capabilities.can_score and provider.capabilities.returns_row_losses):
            pytest.skip("this provider gives no scores or no row losses")
        events = train(provider, trial())
        validation = points(events)[-1].validation
        assert validation is not None and validation.row_losses is not None
        requests = [Request(id=r, prompt=examples[r].prompt, score=examples[r].completion) for r in (8, 9)]
        scores = {reply.id: reply for reply in provider.sample(finished_model(events), requests)}
        for row, loss in zip((8, 9), validation.row_losses, strict=True):
            score = scores[row]
            assert isinstance(score, Score)
            assert -sum(score.log_likelihoods) / len(score.log_likelihoods) == pytest.approx(loss, rel=1e-3)

    @pytest.mark.parametrize("model", ["nobody", "nobody@4", "../first@4", "first@999", ""])
    def test_an_unknown_model_is_refused(self, provider: Provider, model: str) -> None:
        train(provider, trial())
        with pytest.raises((UsageError, ProviderError)):
            list(provider.sample(model, [Request(id=0, prompt="Capital of France?", max_tokens=4)]))
