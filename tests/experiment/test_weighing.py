"""What a sweep says of tuning itself."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import fewtune
from fewtune.errors import UsageError
from fewtune.evaluation import classifier
from fewtune.experiment.progress import Note, Progress
from fewtune.report.summary import Summary, WorthPart
from fewtune.report.worth import lines
from fewtune.settings import load
from fewtune.store.runs import Runs
from standin.openai_standin import BASE_MODEL, Standin

COLOURS = ("amber", "blue", "coral")
FAKE: dict[str, Any] = {"provider": "fake", "epochs": "1,2", "learning_rate": "1e-3,3e-3"}


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """Answers that are all different and long: a task whose metric is the loss."""
    path = tmp_path / "prose.csv"
    lines = [f"prompt {n},{' '.join(f'word{n}-{k}' for k in range(12))}" for n in range(40)]
    path.write_text("\n".join(["prompt,completion", *lines]))
    return path


def test_a_sweep_says_first_that_tuning_is_worth_it_and_by_which_rows(prose: Path) -> None:
    swept = fewtune.sweep(prose, **FAKE)
    assert swept.summary.verdict.startswith("Tune: on ")
    worth = swept.summary.search and swept.summary.search.worth
    assert worth is not None and worth.tuned is not None
    assert (worth.answer, worth.score, worth.by) == ("tune", "loss", "folds")
    assert {one.name for one in worth.rivals} == {"base", "few-shot"}
    for one in worth.rivals:
        assert one.gain.value == pytest.approx(one.score.value - worth.tuned.value)
    judged = {one.row for one in Runs(load().home).predictions(swept.id)}
    assert len(judged) == worth.rows == swept.summary.data.train_rows


def test_a_rate_that_ruins_the_model_is_answered_with_do_not_tune(prose: Path) -> None:
    swept = fewtune.sweep(prose, provider="fake", epochs=4, learning_rate=0.09).summary
    assert swept.verdict.startswith(
        "Do not tune: on 6 rows, each judged by what is chosen without it, the tuned model's loss is "
    )
    assert "higher than" in swept.verdict


def test_each_row_is_scored_by_models_that_were_not_trained_on_it(prose: Path) -> None:
    swept = fewtune.sweep(prose, **FAKE)
    store = Runs(load().home)
    folder = Path(store.find(swept.id).folder) / "trials"
    trained = {path.stem: path.read_text() for path in folder.glob("*.json")}
    rows = {name: set(json.loads(text)["trial"]["train_rows"]) for name, text in trained.items()}
    scored = [one for one in store.predictions(swept.id) if "@" in one.system]
    assert scored
    assert not [one for one in scored if one.row in rows[one.system.partition("@")[0]]]


def test_a_sweep_that_goes_on_scores_nothing_twice_and_says_the_same(prose: Path, tmp_path: Path) -> None:
    first = fewtune.sweep(prose, **FAKE).summary
    again = fewtune.sweep(prose, **FAKE).summary
    assert (again.verdict, again.search) == (first.verdict, first.search)


def test_a_service_that_scores_nothing_cannot_tell_and_says_why(few_rows: Path, standin: Standin) -> None:
    swept = fewtune.sweep(
        few_rows, provider="openai", base=BASE_MODEL, epochs=1, batch_size=8, budget_usd=float("inf")
    ).summary
    assert swept.verdict.startswith("Cannot be told: this provider does not tell how likely a given answer is")
    assert "Chosen: 1 epoch" in swept.verdict


def test_trials_can_be_chosen_by_exact_match_and_the_report_says_so(few_rows: Path) -> None:
    swept = fewtune.sweep(few_rows, **FAKE, score="exact_match").summary
    assert swept.search is not None and swept.search.score == "exact_match"
    assert "--score exact_match" in swept.command
    assert Summary.from_json(swept.to_json()) == swept


class TestLabels:
    """Answers that rivals without a model may give."""

    WITHOUT_MODEL = ("majority", "nearest-answer", "tf-idf")

    @pytest.fixture
    def colours(self, tmp_path: Path) -> Path:
        """A word says the label, as TF-IDF learns at once."""
        return self.write(tmp_path, [(f"thing {n} of {c} make, item{n * 7}", c) for n in range(20) for c in COLOURS])

    def write(self, folder: Path, rows: list[tuple[str, str]]) -> Path:
        path = folder / "labels.csv"
        path.write_text("\n".join(["prompt,completion", *(f'"{prompt}",{label}' for prompt, label in rows)]))
        return path

    def worth(self, path: Path, **options: Any) -> WorthPart:
        search = fewtune.sweep(path, **FAKE, **options).summary.search
        assert search is not None and search.worth is not None
        return search.worth

    def test_a_classifier_that_is_right_everywhere_is_named_and_tuning_advised_against(self, colours: Path) -> None:
        swept = fewtune.sweep(colours, **FAKE).summary
        assert swept.verdict.startswith("Do not tune: on ")
        assert "than the TF-IDF classifier's" in swept.verdict
        worth = swept.search and swept.search.worth
        assert worth is not None and worth.tuned is not None and worth.score == "exact_match"
        assert tuple(one.name for one in worth.rivals) == ("base", "few-shot", *self.WITHOUT_MODEL)
        scores = {one.name: one.score.value for one in worth.rivals}
        assert scores["tf-idf"] == 1.0
        for one in worth.rivals:
            assert one.gain.value == pytest.approx(worth.tuned.value - one.score.value)
        assert Summary.from_json(swept.to_json()) == swept
        assert "the TF-IDF classifier 100.0" in lines(worth)[0]

    @pytest.mark.parametrize("folds", [0, 4])
    def test_no_rival_has_learnt_a_row_that_it_labels(self, tmp_path: Path, folds: int) -> None:
        """Labels by chance beside words of their own: whoever has seen the row is right, others are so one in three."""
        chance = random.Random(3)
        rows = [(f"w{n}a w{n}b w{n}c w{n}d", chance.choice(COLOURS)) for n in range(90)]
        worth = self.worth(self.write(tmp_path, rows), folds=folds)
        scores = {one.name: one.score.value for one in worth.rivals}
        assert max(scores[name] for name in self.WITHOUT_MODEL) < 0.65

    def test_without_scikit_learn_one_note_says_that_its_rival_was_left_out(
        self, colours: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classifier, "is_installed", lambda: False)
        seen: list[Progress] = []
        worth = self.worth(colours, watch=seen.append)
        assert "tf-idf" not in {one.name for one in worth.rivals}
        assert sum("needs scikit-learn" in event.text for event in seen if isinstance(event, Note)) == 1

    def test_texts_are_weighed_against_base_and_prompt_alone(self, prose: Path) -> None:
        assert {one.name for one in self.worth(prose).rivals} == {"base", "few-shot"}


def test_a_score_that_nobody_tells_is_refused(few_rows: Path, standin: Standin) -> None:
    with pytest.raises(UsageError, match=r"no score 'f1'.*auto, loss, exact_match"):
        fewtune.sweep(few_rows, **FAKE, score="f1")
    with pytest.raises(UsageError, match=r"does not tell.*--score loss"):
        fewtune.sweep(few_rows, provider="openai", base=BASE_MODEL, score="exact_match", budget_usd=float("inf"))
    assert standin.requests == []
