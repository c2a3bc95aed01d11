"""What every provider promises, asked of each of them."""

from __future__ import annotations

import importlib.util
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from json import loads
from pathlib import Path

import pytest

from fewtune.errors import FewtuneError, ProviderError, UsageError
from fewtune.providers.contract import (
    BASE,
    MODEL_FILE,
    Answer,
    Ask,
    Checkpoint,
    Chunk,
    Event,
    Failure,
    Finished,
    Point,
    Provider,
    Refusal,
    Request,
    Score,
    Trial,
    Withdrawal,
    Workspace,
    mean_of,
)
from fewtune.providers.refusal import answered
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

    def test_a_withdrawn_answer_ends_once_and_the_others_go_on(self, provider: Provider) -> None:
        def arriving() -> Iterator[Ask]:
            yield Withdrawal(id=9)
            yield from (Request(id=number, prompt="Capital of France?", max_tokens=40) for number in range(3))
            yield from (None, None, Withdrawal(id=1), None, Withdrawal(id=1))

        replies = list(provider.sample(BASE, arriving()))
        answers = [reply for reply in replies if isinstance(reply, Answer)]
        assert sorted(answer.id for answer in answers) == [0, 1, 2]
        for answer in answers:
            chunks = [reply.text for reply in replies if isinstance(reply, Chunk) and reply.id == answer.id]
            assert "".join(chunks) == answer.text
            assert answer.stop_reason != "withdrawn" or answer.id == 1

    def test_requests_name_models_of_their_own_where_they_can_be_mixed(self, provider: Provider) -> None:
        models = [BASE, finished_model(train(provider, trial()))]
        request = Request(id=0, prompt="Capital of France?", max_tokens=8)
        requests = [replace(request, id=number, model=models[number % 2]) for number in range(4)]
        replies = list(provider.sample(BASE, iter(requests)))
        if not provider.capabilities.can_mix:
            refused = [reply for reply in replies if isinstance(reply, Refusal)]
            assert {reply.id: reply.code for reply in refused} == dict.fromkeys(range(4), "unsupported")
            return
        found = {reply.id: reply.text for reply in replies if isinstance(reply, Answer)}
        for number, text in found.items():
            alone = [one for one in provider.sample(models[number % 2], [request]) if isinstance(one, Answer)]
            assert alone[0].text == text
        assert len(found) == 4

    @pytest.mark.parametrize("live", [False, True])
    def test_a_request_that_cannot_be_answered_is_refused_and_the_others_are_answered(
        self, provider: Provider, live: bool
    ) -> None:
        good = Request(id=0, prompt="Capital of France?", max_tokens=4)
        bad = replace(good, id=1, model="nobody@4")
        requests = [good, bad, replace(good, id=2)]
        replies = list(provider.sample(BASE, iter(requests) if live else requests))
        assert sorted(reply.id for reply in replies if isinstance(reply, Answer)) == [0, 2]
        (refused,) = (reply for reply in replies if isinstance(reply, Refusal))
        assert (refused.id, refused.code) == (1, "model_not_found" if provider.capabilities.can_mix else "unsupported")
        assert refused.text.isprintable()
        with pytest.raises(FewtuneError, match=re.escape(refused.text)):
            list(answered(replies))

    def test_a_refusal_alone_is_told_without_anything_else_to_do(self, provider: Provider) -> None:
        def arriving() -> Iterator[Ask]:
            yield Request(id=4, prompt="Capital of France?", model="nobody@4")
            while True:
                yield None

        reply = next(iter(provider.sample(BASE, arriving())))
        assert isinstance(reply, Refusal) and reply.id == 4

    def test_choices_are_told_with_their_text_if_and_only_if_the_capabilities_say_so(self, provider: Provider) -> None:
        request = Request(id=0, prompt="Capital of France?", max_tokens=12, alternatives=2)
        replies = list(provider.sample(BASE, iter([request])))
        if not provider.capabilities.tells_choices:
            assert [reply.code for reply in replies if isinstance(reply, Refusal)] == ["unsupported"]
            return
        (answer,) = (reply for reply in replies if isinstance(reply, Answer))
        told = [choice for reply in replies if isinstance(reply, Chunk) for choice in reply.choices]
        assert list(answer.choices) == told and len(told) == answer.tokens > 0
        assert (
            "".join(one.text for one in told).encode(errors="surrogateescape").decode(errors="replace") == answer.text
        )
        assert all(len(one.alternatives) <= 2 and one.log_likelihood <= 0 for one in told)

    @pytest.mark.parametrize("json", ["object", '{"type": "object", "properties": {"a": {"type": "boolean"}}}'])
    def test_an_answer_is_json_where_that_can_be_had(self, provider: Provider, json: str) -> None:
        request = Request(id=0, prompt="Capital of France?", max_tokens=60, json=json, temperature=1.0, seed=3)
        *_, reply = provider.sample(BASE, iter([request]))
        can = provider.capabilities.constrains
        if can is None or (can == "object" and json != "object"):
            assert isinstance(reply, Refusal) and reply.code == "unsupported"
        else:
            assert isinstance(reply, Answer)
            assert reply.stop_reason == "length" or isinstance(loads(reply.text), dict)

    def test_a_prompt_is_continued_as_it_stands_where_that_can_be_had(self, provider: Provider) -> None:
        *_, reply = provider.sample(BASE, iter([Request(id=0, prompt="Once upon", framed=False, max_tokens=4)]))
        assert isinstance(reply, Answer if provider.capabilities.can_continue else Refusal)

    def test_a_model_is_known_by_the_workspaces_name_too_and_trained_further_from_there(
        self, place: Place, tmp_path: Path
    ) -> None:
        first = place.open(tmp_path / "state")
        if not first.capabilities.can_mix:
            pytest.skip("this provider answers with one model at a time")
        events = train(first, trial())
        model = finished_model(events)
        folder = tmp_path / "kept"
        files = next(event.folder for event in events if isinstance(event, Checkpoint) and event.model == model)
        if files:
            shutil.copytree(files, folder)
        else:
            folder.mkdir()
            (folder / MODEL_FILE).write_text(model)
        named: dict[str, Path] = {}
        workspace = Workspace(base=place.base, examples=place.examples, folder=tmp_path / "state", adapters=named)
        provider, request = place.connect(workspace), Request(id=0, prompt="Capital of France?", model="ft:x+y:1@2")
        # The names are looked up anew for each request.
        assert isinstance([*provider.sample(BASE, [request])][-1], Refusal)
        named["ft:x+y:1@2"] = folder
        (own,) = (one for one in provider.sample(BASE, [request]) if isinstance(one, Answer))
        (other,) = (one for one in provider.sample(model, [replace(request, model=None)]) if isinstance(one, Answer))
        assert own.text == other.text
        child, same = (
            points(train(provider, trial(id, parent=parent))) for id, parent in (("a", model), ("b", "ft:x+y:1@2"))
        )
        assert [point.train_loss for point in child] == [point.train_loss for point in same]
        shutil.rmtree(folder)
        (refused,) = provider.sample(BASE, [request])
        assert isinstance(refused, Refusal) and refused.code == "model_unusable"
        assert str(tmp_path) not in refused.text

    @pytest.mark.parametrize("model", ["nobody", "nobody@4", "../first@4", "first@999", ""])
    def test_an_unknown_model_is_refused(self, provider: Provider, model: str) -> None:
        train(provider, trial())
        with pytest.raises((UsageError, ProviderError)):
            list(provider.sample(model, [Request(id=0, prompt="Capital of France?", max_tokens=4)]))
