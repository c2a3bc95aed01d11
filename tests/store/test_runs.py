from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.errors import UnfinishedError, UsageError
from fewtune.store.runs import (
    CheckpointRecord,
    PointRecord,
    PredictionRecord,
    ReplyRecord,
    RunRecord,
    Runs,
    TrialRecord,
    now,
)

RUN = RunRecord(
    id="episodes-1a2b",
    created_at="2026-01-01T00:00:00+00:00",
    state="running",
    folder="/somewhere/episodes-1a2b",
    data_path="episodes.csv",
    data_sha256="0" * 64,
    settings={"epochs": [1, 2], "learning_rates": []},
    summary=None,
    error=None,
)
TRIAL = TrialRecord(
    id="t1",
    plan={"epochs": 2},
    seed=0,
    handle="t1",
    state="running",
    failure=None,
    tokens=0,
    seconds=0.0,
    usd=None,
)
POINT = PointRecord(
    trial_id="t1",
    step=1,
    epoch=0.5,
    train_loss=2.5,
    train_token_accuracy=0.25,
    learning_rate=0.01,
    gradient_norm=1.0,
    tokens=100,
    seconds=0.5,
    valid_loss=None,
    valid_token_accuracy=None,
    valid_sequence_accuracy=None,
    valid_row_losses=None,
)
VALIDATED = replace(POINT, step=2, epoch=1.0, valid_loss=1.5, valid_row_losses=[1.0, 2.0])


@pytest.fixture
def store(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def begin(store: Runs, *names: str) -> None:
    for name in names:
        store.begin(replace(RUN, id=name, folder=f"/somewhere/{name}"))


class TestRuns:
    def test_what_was_begun_is_found_as_it_was_written(self, store: Runs, tmp_path: Path) -> None:
        store.begin(RUN)
        assert store.get(RUN.id) == store.find(RUN.id) == RUN
        assert Runs(tmp_path).all() == [RUN]

    def test_what_was_paid_is_kept_when_the_rest_of_a_run_is_forgotten(self, store: Runs) -> None:
        begin(store, "one", "two")
        reply = ReplyRecord(
            purpose="judge",
            question="ab12",
            text="A",
            stop_reason="stop",
            prompt_tokens=10,
            tokens=2,
            seconds=0.5,
            usd=None,
        )
        for said in (reply, replace(reply, text="B", usd=0.1)):
            store.put_reply("one", said)
        store.put_reply("one", replace(reply, purpose="reference"))
        store.forget("one")
        assert [(one.purpose, one.text, one.usd) for one in store.replies("one")] == [
            ("judge", "B", 0.1),
            ("reference", "A", None),
        ]
        assert store.replies("two") == []

    def test_a_run_ends_with_its_summary(self, store: Runs) -> None:
        store.begin(RUN)
        store.end(RUN.id, "finished", {"verdict": "better", "rows": [1, 2]})
        assert store.get(RUN.id) == replace(RUN, state="finished", summary={"verdict": "better", "rows": [1, 2]})

    def test_an_error_is_kept_until_the_run_begins_again(self, store: Runs) -> None:
        store.begin(RUN)
        store.end(RUN.id, "failed", error="the disk is full")
        assert store.find(RUN.id).error == "the disk is full"
        store.begin(replace(RUN, created_at=now(), settings={"epochs": [9]}))
        assert store.all() == [replace(RUN, settings={"epochs": [9]})]

    def test_a_run_that_moved_is_known_at_its_new_folder(self, store: Runs) -> None:
        store.begin(RUN)
        store.begin(replace(RUN, folder="/elsewhere"))
        assert store.find("/elsewhere").id == RUN.id

    def test_an_unknown_id_is_no_run(self, store: Runs) -> None:
        assert store.get("nothing") is None

    def test_the_newest_comes_first_even_within_one_second(self, store: Runs) -> None:
        begin(store, "b", "c", "a")
        store.begin(replace(RUN, id="old", created_at="2025-12-31T23:59:59+00:00"))
        assert [run.id for run in store.all()] == ["a", "c", "b", "old"]


class TestFind:
    def test_by_the_beginning_of_its_id(self, store: Runs) -> None:
        begin(store, "episodes-1a", "capitals-2b")
        assert store.find("epi").id == "episodes-1a"

    def test_by_its_folder_however_it_is_written(
        self, store: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.begin(replace(RUN, folder=str(tmp_path / "out")))
        monkeypatch.chdir(tmp_path)
        for name in (str(tmp_path / "out"), "out", "./out/"):
            assert store.find(name).id == RUN.id

    def test_last_is_the_newest(self, store: Runs) -> None:
        begin(store, "first", "second")
        assert store.find("last").id == "second"

    def test_a_whole_id_wins_over_a_longer_one_that_begins_so(self, store: Runs) -> None:
        begin(store, "episodes-1", "episodes-12")
        assert store.find("episodes-1").id == "episodes-1"

    def test_an_ambiguous_beginning_is_refused_with_the_runs_it_could_mean(self, store: Runs) -> None:
        begin(store, "episodes-1", "episodes-2", "capitals")
        with pytest.raises(
            UsageError, match=r"More than one run begins with 'epi'.*episodes-2, episodes-1\."
        ) as caught:
            store.find("epi")
        assert "capitals" not in str(caught.value)

    def test_an_unknown_name_is_refused_with_the_runs_that_there_are(self, store: Runs) -> None:
        begin(store, "episodes-1")
        with pytest.raises(UsageError, match=r"no run 'x'.*episodes-1"):
            store.find("x")

    @pytest.mark.parametrize("name", ["x", "last"])
    def test_where_there_is_none_yet_that_is_said(self, store: Runs, name: str) -> None:
        with pytest.raises(UsageError, match="none yet"):
            store.find(name)


class TestParts:
    def test_everything_comes_back_as_it_was_written(self, store: Runs) -> None:
        checkpoint = CheckpointRecord(trial_id="t1", epoch=1, step=2, model="t1@2", folder=None)
        store.put_trial("r", TRIAL)
        store.put_points("r", [VALIDATED, POINT])
        store.put_checkpoint("r", checkpoint)
        assert store.trials("r") == [TRIAL]
        assert store.points("r") == [POINT, VALIDATED]
        assert store.checkpoints("r") == [checkpoint]

    def test_written_twice_it_is_there_once(self, store: Runs) -> None:
        for _ in range(2):
            store.put_trial("r", TRIAL)
            store.put_points("r", [POINT, VALIDATED])
            store.put_predictions("r", [PredictionRecord(system="base", row=3, text="a")])
        assert (len(store.trials("r")), len(store.points("r")), len(store.predictions("r"))) == (1, 2, 1)

    def test_what_is_written_last_stands(self, store: Runs) -> None:
        store.put_trial("r", TRIAL)
        store.put_trial("r", replace(TRIAL, state="finished", tokens=9, usd=0.5))
        assert store.trials("r") == [replace(TRIAL, state="finished", tokens=9, usd=0.5)]

    def test_runs_do_not_see_each_others_parts(self, store: Runs) -> None:
        store.put_points("one", [POINT])
        store.put_points("two", [VALIDATED])
        assert store.points("one") == [POINT]
        assert store.points("none") == []

    def test_nothing_to_write_is_nothing_written(self, store: Runs) -> None:
        store.put_points("r", [])
        assert store.points("r") == []


class TestPredictions:
    ANSWER = PredictionRecord(system="tuned", row=1, text="Lima", tokens=2, stop_reason="stop", seconds=0.1)
    SCORE = PredictionRecord(system="tuned", row=1, log_likelihoods=[-0.5, -1.0], greedy=[True, False])
    BOTH = replace(ANSWER, log_likelihoods=[-0.5, -1.0], greedy=[True, False])

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_answer_and_score_of_a_row_come_together_in_either_order(self, store: Runs, order: tuple[int, int]) -> None:
        for number in order:
            store.put_predictions("r", [(self.ANSWER, self.SCORE)[number]])
        assert store.predictions("r") == [self.BOTH]

    def test_also_when_one_writing_holds_answers_of_some_rows_and_scores_of_others(self, store: Runs) -> None:
        other = replace(self.BOTH, row=2)
        store.put_predictions("r", [self.ANSWER, replace(self.SCORE, row=2)])
        store.put_predictions("r", [self.SCORE, replace(self.ANSWER, row=2)])
        assert store.predictions("r") == [self.BOTH, other]

    def test_an_empty_answer_is_an_answer(self, store: Runs) -> None:
        store.put_predictions("r", [self.ANSWER])
        store.put_predictions("r", [replace(self.ANSWER, text="", tokens=0)])
        (stored,) = store.predictions("r")
        assert (stored.text, stored.tokens) == ("", 0)

    def test_a_row_of_which_nothing_is_known_may_be_written(self, store: Runs) -> None:
        store.put_predictions("r", [PredictionRecord(system="base", row=5)])
        assert store.predictions("r") == [PredictionRecord(system="base", row=5)]


class TestTrouble:
    def test_a_full_disk_asks_to_be_run_again(self, store: Runs, tmp_path: Path) -> None:
        store.begin(RUN)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(UnfinishedError, match=r"could not be written.*it resumes") as caught:
                store.put_points("r", [replace(VALIDATED, step=n, valid_row_losses=[1.0] * 200) for n in range(50)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.exit_code == 7
        assert Runs(tmp_path).all() == [RUN]

    def test_the_time_is_utc_to_the_second(self) -> None:
        assert now().endswith("+00:00")
        assert len(now()) == len("2026-01-01T00:00:00+00:00")
