from __future__ import annotations

import hashlib
import random
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from fewtune.engine import trainer
from fewtune.errors import BaseModelError, DataError, TrainingError, UnfinishedError, UsageError
from fewtune.providers.contract import (
    BASE,
    Answer,
    Ask,
    Checkpoint,
    Chunk,
    Event,
    Failure,
    Finished,
    Point,
    Refusal,
    Reply,
    Request,
    Score,
    Trial,
    Workspace,
    mean_of,
)
from fewtune.providers.local import LocalProvider
from fewtune.providers.refusal import answered
from fewtune.types import Example, Plan, Source, Usage
from fewtune.types import Message as Turn
from standin.chat_models import STYLES, save_chat_model
from standin.processes import forkserver
from standin.tiny_models import CONTEXT, FAMILIES, save_model
from standin.training_process import train as train_elsewhere

# Two threads that wait for a busy core are many times slower than one.
torch.set_num_threads(1)

PLAN = Plan(learning_rate=1e-2, epochs=3, batch_size=4, rank=4, alpha=8, warmup_steps=2)
FIRST = Trial(id="first", plan=PLAN, seed=1, train_rows=tuple(range(8)), valid_rows=(8, 9))
SECOND = replace(FIRST, id="second", plan=replace(PLAN, batch_size=3, learning_rate=3e-2, epochs=2), seed=2)
STEPS = {"first": 6, "second": 6}
HUGE = 0.123
"""A learning rate that the tests turn into one at which any training breaks down."""

Open = Callable[[Path], LocalProvider]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("llama"), FAMILIES["llama"]))


@pytest.fixture
def connect(base: str, examples: Mapping[int, Example]) -> Open:
    """A provider as a new process would open it on that folder."""
    return lambda folder: LocalProvider(Workspace(base=base, examples=examples, folder=folder))


@pytest.fixture
def broken_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    real = trainer.learning_rate
    monkeypatch.setattr(
        trainer,
        "learning_rate",
        lambda plan, step, steps: 1e30 if plan.learning_rate == HUGE else real(plan, step, steps),
    )


def train(provider: LocalProvider, *trials: Trial) -> list[Event]:
    return list(provider.advance(dict.fromkeys(provider.start(trials))))


def digest(folder: Path, trial: Trial, step: int | None = None) -> str:
    """SHA-256 of the adapter of a step, the last one where none is named."""
    name = f"step-{step or STEPS[trial.id]:08d}"
    return hashlib.sha256((folder / trial.id / name / "adapter_model.safetensors").read_bytes()).hexdigest()


def points(events: Iterable[Event]) -> dict[tuple[str, int], Point]:
    """By handle and step, without what the clock says."""
    return {
        (event.handle, event.step): replace(event, usage=Usage(tokens=event.usage.tokens))
        for event in events
        if isinstance(event, Point)
    }


def checkpoints(events: Iterable[Event]) -> set[tuple[str, int, int, str]]:
    return {(e.handle, e.step, e.epoch, e.model) for e in events if isinstance(e, Checkpoint)}


def endings(events: Iterable[Event]) -> list[Finished | Failure]:
    return [event for event in events if isinstance(event, Finished | Failure)]


def provider_answers(provider: LocalProvider, requests: Sequence[Request]) -> Iterator[Answer]:
    return (reply for reply in provider.sample(BASE, requests) if isinstance(reply, Answer))


def text_of(replies: Iterable[Reply]) -> str:
    (answer,) = (reply for reply in replies if isinstance(reply, Answer))
    return answer.text


@contextmanager
def disk_of(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the write fails, as on a full disk. Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestPausing:
    def test_closed_after_any_event_nothing_is_lost_and_the_adapter_is_the_same(
        self, connect: Open, tmp_path: Path
    ) -> None:
        whole = train(connect(tmp_path / "whole"), FIRST)
        for count in range(1, len(whole)):
            folder = tmp_path / f"closed after {count}"
            provider = connect(folder)
            events = provider.advance(dict.fromkeys(provider.start([FIRST])))
            before = list(islice(events, count))
            events.close()
            after = list(connect(folder).advance({"first": None}))
            assert points(before).keys().isdisjoint(points(after))
            assert {**points(before), **points(after)} == points(whole)
            assert checkpoints([*before, *after]) == checkpoints(whole)
            assert len(endings(after)) == 1
            assert digest(folder, FIRST) == digest(tmp_path / "whole", FIRST)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_two_trials_paused_at_five_random_steps_end_as_if_they_had_not_been(
        self, connect: Open, tmp_path: Path, seed: int
    ) -> None:
        random_source = random.Random(seed)
        whole = train(connect(tmp_path / "whole"), FIRST, SECOND)
        told: list[Event] = []
        for _ in range(5):
            provider = connect(tmp_path / "parts")
            events = provider.advance(dict.fromkeys(provider.start([FIRST, SECOND])))
            fresh = (event for event in events if event not in told)
            told += islice(fresh, random_source.randint(1, 3))
            events.close()
        told += connect(tmp_path / "parts").advance({"first": None, "second": None})
        assert points(told) == points(whole)
        assert checkpoints(told) == checkpoints(whole)
        for trial in (FIRST, SECOND):
            assert digest(tmp_path / "parts", trial) == digest(tmp_path / "whole", trial)

    def test_the_same_provider_goes_on_too(self, connect: Open, tmp_path: Path) -> None:
        train(connect(tmp_path / "whole"), FIRST)
        provider = connect(tmp_path / "parts")
        provider.start([FIRST])
        for target in (1, 4, None):
            list(provider.advance({"first": target}))
        assert digest(tmp_path / "parts", FIRST) == digest(tmp_path / "whole", FIRST)

    def test_a_target_of_zero_trains_nothing(self, connect: Open, tmp_path: Path) -> None:
        provider = connect(tmp_path)
        provider.start([FIRST])
        assert list(provider.advance({"first": 0})) == []

    def test_a_trial_may_join_while_another_trains(self, connect: Open, tmp_path: Path) -> None:
        train(connect(tmp_path / "whole"), FIRST, SECOND)
        provider = connect(tmp_path / "joined")
        provider.start([FIRST])
        list(provider.advance({"first": 2}))
        provider.start([SECOND])
        list(provider.advance({"first": None, "second": None}))
        for trial in (FIRST, SECOND):
            assert digest(tmp_path / "joined", trial) == digest(tmp_path / "whole", trial)

    def test_trained_together_or_alone_the_adapter_is_the_same(self, connect: Open, tmp_path: Path) -> None:
        third = replace(FIRST, id="third", seed=3, plan=replace(PLAN, prompt_loss_weight=0.1))
        train(connect(tmp_path / "together"), FIRST, SECOND, third)
        for trial in (FIRST, SECOND, third):
            train(connect(tmp_path / "alone"), trial)
            step = STEPS.get(trial.id, 6)
            assert digest(tmp_path / "together", trial, step) == digest(tmp_path / "alone", trial, step)


class TestInterruption:
    @pytest.mark.parametrize("same_process", [True, False])
    @pytest.mark.parametrize("place", ["learning_rate", "passes"])
    def test_ctrl_c_within_a_step_leaves_nothing_half_done(
        self, connect: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, same_process: bool
    ) -> None:
        whole = train(connect(tmp_path / "whole"), FIRST)
        real, calls = getattr(trainer, place), iter(range(100))

        def interrupted(*arguments: object) -> object:
            # `passes` stands after the optimizer step of an epoch's end, `learning_rate` before it.
            if next(calls) == (1 if place == "passes" else 3):
                raise KeyboardInterrupt
            return real(*arguments)

        provider = connect(tmp_path / "parts")
        provider.start([FIRST])
        told: list[Event] = []
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(trainer, place, interrupted)
            told += provider.advance({"first": None})
        provider = provider if same_process else connect(tmp_path / "parts")
        told += provider.advance({"first": None})
        later = {key: one for key, one in points(whole).items() if key in points(told)}
        assert points(told) == later
        assert ("first", 4) in later
        assert digest(tmp_path / "parts", FIRST) == digest(tmp_path / "whole", FIRST)

    @pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
    def test_killed_at_any_time_and_resumed_the_adapter_is_the_same(
        self, base: str, examples: Mapping[int, Example], connect: Open, tmp_path: Path, kills: int
    ) -> None:
        trial = replace(FIRST, plan=replace(PLAN, epochs=10 * kills))
        train(connect(tmp_path / "whole"), trial)
        workspace = Workspace(base=base, examples=examples, folder=tmp_path / "killed")
        random_source = random.Random(kills)
        killed = sum(kill_while_training(workspace, trial, random_source) for _ in range(kills))
        assert killed == kills
        rest = points(connect(tmp_path / "killed").advance({"first": None}))
        steps = sorted(step for _, step in rest)
        assert steps == list(range(steps[0], 20 * kills + 1)) and steps[0] > kills
        assert digest(tmp_path / "killed", trial, 20 * kills) == digest(tmp_path / "whole", trial, 20 * kills)


def kill_while_training(workspace: Workspace, trial: Trial, random_source: random.Random) -> bool:
    """Kill a process that trains, some events and a moment after it began; whether it was still training."""
    context = forkserver()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=train_elsewhere, args=(workspace, trial, theirs))
    process.start()
    theirs.close()
    waited: list[str] = []
    wanted = random_source.randint(3, 10)
    while waited.count("Point") < wanted:
        waited.append(ours.recv())
    time.sleep(random_source.uniform(0, 0.02))
    process.kill()
    process.join()
    code = process.exitcode
    process.close()
    ours.close()
    return code == -9


@pytest.mark.usefixtures("broken_rate")
class TestNonFinite:
    BROKEN = replace(FIRST, id="broken", plan=replace(PLAN, learning_rate=HUGE))

    def test_the_trial_fails_with_its_rows_named_and_the_others_are_as_without_it(
        self, connect: Open, tmp_path: Path, examples: Mapping[int, Example]
    ) -> None:
        alone = train(connect(tmp_path / "alone"), FIRST, SECOND)
        events = train(connect(tmp_path / "together"), FIRST, self.BROKEN, SECOND)
        (failure,) = (event for event in events if isinstance(event, Failure))
        assert (failure.handle, failure.code) == ("broken", "non_finite_loss")
        assert sum(str(examples[row].source) in failure.text for row in range(8)) == PLAN.batch_size
        assert failure.step == 2
        assert {key: one for key, one in points(events).items() if key[0] != "broken"} == points(alone)
        for trial in (FIRST, SECOND):
            assert digest(tmp_path / "together", trial) == digest(tmp_path / "alone", trial)

    def test_it_is_told_again_and_nothing_more_is_trained(self, connect: Open, tmp_path: Path) -> None:
        told = train(connect(tmp_path), self.BROKEN)
        again = list(connect(tmp_path).advance({"broken": None}))
        assert endings(again) == endings(told)
        assert not points(again)


class TestFullDisk:
    @pytest.mark.parametrize("limit", [20, 2000, 20_000])
    def test_training_stops_as_unfinished_and_goes_on_when_there_is_room(
        self, connect: Open, tmp_path: Path, limit: int
    ) -> None:
        train(connect(tmp_path / "whole"), FIRST)
        provider = connect(tmp_path / "full")
        provider.start([FIRST])
        list(provider.advance({"first": 3}))
        with disk_of(limit), pytest.raises(UnfinishedError, match="disk is full") as caught:
            list(provider.advance({"first": None}))
        assert caught.value.exit_code == 7
        assert not list((tmp_path / "full").rglob("*.partial"))
        for again in (provider, connect(tmp_path / "full")):
            list(again.advance({"first": None}))
            assert digest(tmp_path / "full", FIRST) == digest(tmp_path / "whole", FIRST)

    def test_a_trial_that_cannot_be_written_down_is_not_started(self, connect: Open, tmp_path: Path) -> None:
        provider = connect(tmp_path)
        with disk_of(20), pytest.raises(UnfinishedError):
            provider.start([FIRST])
        with pytest.raises(UsageError, match="No trial 'first'"):
            list(provider.advance({"first": None}))


class TestDamage:
    def test_with_its_newest_resume_point_damaged_a_trial_ends_the_same(self, connect: Open, tmp_path: Path) -> None:
        train(connect(tmp_path / "whole"), FIRST)
        provider = connect(tmp_path / "parts")
        provider.start([FIRST])
        list(provider.advance({"first": 3}))
        newest = max((tmp_path / "parts" / "first").glob("resume-*")) / "state.safetensors"
        content = bytearray(newest.read_bytes())
        content[-5] ^= 4
        newest.write_bytes(content)
        rest = points(connect(tmp_path / "parts").advance({"first": None}))
        assert sorted(step for _, step in rest) == [3, 4, 5, 6]
        assert digest(tmp_path / "parts", FIRST) == digest(tmp_path / "whole", FIRST)

    @pytest.mark.parametrize("kept", [0, 100, -1])
    def test_a_damaged_adapter_is_not_sampled_from(self, connect: Open, tmp_path: Path, kept: int) -> None:
        provider = connect(tmp_path)
        train(provider, FIRST)
        path = tmp_path / "first" / "step-00000006" / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(BaseModelError, match="'first@6' is damaged"):
            list(provider.sample("first@6", [Request(id=0, prompt="Capital of Peru?")]))

    def test_a_damaged_trial_file_is_named(self, connect: Open, tmp_path: Path) -> None:
        connect(tmp_path).start([FIRST])
        (tmp_path / "first" / "trial.json").write_text('{"id": "fir')
        with pytest.raises(UsageError, match=r"trial\.json"):
            list(connect(tmp_path).advance({"first": None}))


class TestRefusals:
    def test_a_row_that_the_context_cannot_hold_is_named_with_both_lengths(
        self, connect: Open, base: str, examples: dict[int, Example], tmp_path: Path
    ) -> None:
        examples[3] = replace(examples[3], completion="too long " * 60)
        provider = LocalProvider(Workspace(base=base, examples=examples, folder=tmp_path))
        provider.start([FIRST])
        with pytest.raises(DataError, match=rf"capitals\.csv:5: The row has \d{{3}} tokens.*at most {CONTEXT}"):
            list(provider.advance({"first": None}))

    def test_a_rank_above_the_width_stops_before_a_step(self, connect: Open, tmp_path: Path) -> None:
        provider = connect(tmp_path)
        provider.start([replace(FIRST, plan=replace(PLAN, rank=40))])
        with pytest.raises(TrainingError, match="Rank 40"):
            list(provider.advance({"first": None}))

    @pytest.mark.parametrize(
        ("field", "value"), [("learning_rate", 1e30), ("epochs", 0), ("batch_size", 0), ("rank", 0)]
    )
    def test_a_plan_outside_the_ranges_is_refused_with_the_range(
        self, connect: Open, tmp_path: Path, field: str, value: float
    ) -> None:
        with pytest.raises(UsageError, match=rf"{field} must be from"):
            connect(tmp_path).start([replace(FIRST, plan=replace(PLAN, **{field: value}))])

    @pytest.mark.parametrize("name", ["../outside", "a/b", "", ".", "x" * 101])
    def test_a_name_that_could_leave_the_folder_is_never_used(self, connect: Open, tmp_path: Path, name: str) -> None:
        provider = connect(tmp_path / "folder")
        for call in (
            lambda: provider.start([replace(FIRST, id=name)]),
            lambda: list(provider.advance({name: None})),
            lambda: provider.cancel([name]),
            lambda: list(provider.sample(f"{name}@4", [])),
        ):
            with pytest.raises(UsageError):
                call()
        assert list(tmp_path.iterdir()) == []

    def test_cancelling_what_was_never_started_is_refused(self, connect: Open, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="No trial 'nobody'"):
            connect(tmp_path).cancel(["nobody"])

    def test_a_parent_that_is_not_there_is_refused(self, connect: Open, tmp_path: Path) -> None:
        provider = connect(tmp_path)
        provider.start([replace(FIRST, parent="nobody@4")])
        with pytest.raises(UsageError, match="no model 'nobody@4'"):
            list(provider.advance({"first": None}))


class TestSampling:
    REQUEST = Request(id=0, prompt="Capital of Peru?", max_tokens=20)

    def test_chunks_make_up_the_answer(self, connect: Open, tmp_path: Path) -> None:
        replies = list(connect(tmp_path).sample(BASE, [self.REQUEST]))
        assert "".join(reply.text for reply in replies if isinstance(reply, Chunk)) == text_of(replies)

    def test_base_and_adapter_may_be_sampled_in_turn_with_training(self, connect: Open, tmp_path: Path) -> None:
        train(connect(tmp_path / "whole"), SECOND)
        provider = connect(tmp_path / "state")
        train(provider, FIRST)
        provider.start([SECOND])
        bare, tuned = (text_of(provider.sample(model, [self.REQUEST])) for model in (BASE, "first@6"))
        assert bare != tuned
        sampling, training = provider.sample("first@6", [self.REQUEST]), provider.advance({"second": None})
        replies = [next(sampling)]
        next(training)
        assert text_of(provider.sample(BASE, [self.REQUEST])) == bare
        replies += sampling
        assert text_of(replies) == tuned
        list(training)
        assert digest(tmp_path / "state", SECOND) == digest(tmp_path / "whole", SECOND)

    def test_live_answers_of_several_models_and_several_trainings_go_on_in_turn_and_change_nothing_of_each_other(
        self, connect: Open, tmp_path: Path
    ) -> None:
        trials, last = [SECOND, replace(SECOND, id="third", seed=3)], STEPS[SECOND.id]
        train(connect(tmp_path / "whole"), FIRST)
        alone = train(connect(tmp_path / "whole"), *trials)
        provider = connect(tmp_path / "state")
        train(provider, FIRST)
        requests = [
            replace(self.REQUEST, id=n, model=(BASE, "first@4", "first@6")[n % 3], temperature=n % 2, alternatives=1)
            for n in range(24)
        ]
        expected = {n: next(provider_answers(provider, [request])) for n, request in enumerate(requests)}

        def arriving() -> Iterator[Ask]:
            for request in requests:
                yield request
                yield from [None] * 3

        provider.start(trials)
        sampling, training = provider.sample(BASE, arriving()), provider.advance(dict.fromkeys(("second", "third")))
        replies: list[Reply] = []
        told: list[Event] = []
        for event in training:
            told.append(event)
            replies += islice(sampling, 20)
        assert any(isinstance(reply, Answer) for reply in replies)
        replies += sampling
        found = {reply.id: reply for reply in replies if isinstance(reply, Answer)}
        assert {n: (one.text, one.tokens, one.stop_reason) for n, one in found.items()} == {
            n: (one.text, one.tokens, one.stop_reason) for n, one in expected.items()
        }
        assert points(told) == points(alone)
        for trial in trials:
            assert digest(tmp_path / "state", trial, last) == digest(tmp_path / "whole", trial, last)

    def test_scores_are_the_same_with_shots_before_them_or_neighbours_beside_them(
        self, connect: Open, tmp_path: Path
    ) -> None:
        provider = connect(tmp_path)
        requests = [
            Request(id=0, prompt="Capital of Peru?", score="It is Lima."),
            Request(id=1, prompt="Peru?", score="Lima.", shots=(("Cuba?", "Havana."),)),
            Request(id=2, prompt="Norway?", score=""),
        ]
        together = {one.id: one for one in provider.sample(BASE, requests) if isinstance(one, Score)}
        for request in requests:
            (alone,) = provider.sample(BASE, [request])
            assert isinstance(alone, Score)
            assert together[request.id].log_likelihoods == pytest.approx(alone.log_likelihoods, abs=1e-5)

    def test_a_few_shot_answer_stops_at_the_delimiter(self, base: str, tmp_path: Path) -> None:
        # As the frame writes it, a prompt after one worked example is a plain prompt too.
        framed = "Cuba? -> Havana\n\n###\n\nPeru?"
        rows = {0: Example(row=0, prompt=framed, completion="Lima ### Kenya?", source=Source(file="one.csv", line=2))}
        provider = LocalProvider(Workspace(base=base, examples=rows, folder=tmp_path))
        plan = replace(PLAN, learning_rate=2e-2, epochs=60, batch_size=1, rank=8)
        train(provider, Trial(id="taught", plan=plan, seed=0, train_rows=(0,), valid_rows=()))
        whole = Request(id=0, prompt=framed, max_tokens=30)
        assert text_of(provider.sample("taught@60", [whole])) == "Lima ### Kenya?"
        few_shot = replace(whole, prompt="Peru?", shots=(("Cuba?", "Havana"),))
        assert text_of(provider.sample("taught@60", [few_shot])) == "Lima "

    @pytest.mark.parametrize("score", [None, "It is Lima."])
    def test_a_prompt_that_the_context_cannot_hold_is_refused_with_both_lengths(
        self, connect: Open, tmp_path: Path, score: str | None
    ) -> None:
        request = Request(id=0, prompt="Capital of Peru? " * 30, score=score)
        (refusal,) = connect(tmp_path).sample(BASE, [request])
        assert isinstance(refusal, Refusal) and refusal.code == "context_length_exceeded"
        with pytest.raises(DataError, match=rf"has \d{{3}} tokens.*at most {CONTEXT}"):
            list(answered([refusal]))


class TestConversations:
    TURNS = (
        Turn(role="user", content="Peru?"),
        Turn(role="assistant", content="Lima.", trained=True),
        Turn(role="user", content="And of Cuba?"),
        Turn(role="assistant", content="Havana!", trained=True),
    )

    @pytest.fixture
    def chat(self, tmp_path: Path) -> LocalProvider:
        """A chat model that was taught the conversation."""
        base = save_chat_model(tmp_path / "base", STYLES["mistral"])
        source = Source(file="one.jsonl", line=1)
        rows = {0: Example(row=0, prompt="plain", completion="Havana!", source=source, messages=self.TURNS)}
        provider = LocalProvider(Workspace(base=str(base), examples=rows, folder=tmp_path / "work"))
        plan = replace(PLAN, learning_rate=2e-2, epochs=60, batch_size=1, rank=8)
        train(provider, Trial(id="taught", plan=plan, seed=0, train_rows=(0,), valid_rows=(0,)))
        return provider

    def test_every_trained_turn_is_learnt_and_asked_for_as_it_was_trained(self, chat: LocalProvider) -> None:
        asked = Request(id=0, prompt="plain", messages=self.TURNS[:3], max_tokens=20)
        assert text_of(chat.sample("taught@60", [asked])) == "Havana!"
        first = replace(asked, messages=None, prompt="Peru?")
        assert text_of(chat.sample("taught@60", [first])) == "Lima."
        worked = replace(asked, messages=None, prompt="And of Cuba?", shots=(("Peru?", "Lima."),))
        assert text_of(chat.sample("taught@60", [worked])) == "Havana!"

    def test_a_score_is_that_of_the_answer_and_its_stop(self, chat: LocalProvider) -> None:
        (score,) = chat.sample("taught@60", [Request(id=3, prompt="", messages=self.TURNS[:3], score="Havana!")])
        assert isinstance(score, Score)
        assert len(score.log_likelihoods) == len(chat.base.encoder.completion("Havana!"))
        assert all(score.greedy)

    def test_the_recipe_can_be_chosen(self, chat: LocalProvider, tmp_path: Path) -> None:
        workspace = Workspace(base=str(tmp_path / "base"), examples={}, folder=tmp_path, recipe="completion")
        assert (chat.base.encoder.recipe, LocalProvider(workspace).base.encoder.recipe) == ("chat", "completion")


def test_a_mean_of_checkpoints_is_what_a_plan_that_averages_them_comes_to(connect: Open, tmp_path: Path) -> None:
    provider = connect(tmp_path)
    averaging = replace(FIRST, id="averaging", plan=replace(PLAN, averaged_checkpoints=2))
    request = Request(id=0, prompt="Capital of Peru?", score="It is Lima.")
    provider.start([FIRST, averaging])
    list(provider.advance({"first": None, "averaging": None}))
    (of_the_plan,) = provider.sample("averaging@6", [request])
    (of_checkpoints,) = provider.sample(mean_of(["first@4", "first@6"]), [request])
    (last,) = provider.sample("first@6", [request])
    assert isinstance(of_the_plan, Score) and isinstance(of_checkpoints, Score) and isinstance(last, Score)
    assert of_checkpoints.log_likelihoods == pytest.approx(of_the_plan.log_likelihoods, abs=1e-5)
    assert of_checkpoints.log_likelihoods != pytest.approx(last.log_likelihoods, abs=1e-4)


def test_a_child_begins_where_its_parent_ended(connect: Open, tmp_path: Path, examples: Mapping[int, Example]) -> None:
    provider = connect(tmp_path)
    train(provider, FIRST)
    one_batch = replace(FIRST, id="child", plan=replace(PLAN, batch_size=8), parent="first@6")
    begun = points(train(provider, one_batch))["child", 1].train_loss
    requests = [Request(id=row, prompt=examples[row].prompt, score=examples[row].completion) for row in range(8)]
    scores = [score for score in provider.sample("first@6", requests) if isinstance(score, Score)]
    tokens = [value for score in scores for value in score.log_likelihoods]
    assert begun == pytest.approx(-sum(tokens) / len(tokens), abs=1e-5)
