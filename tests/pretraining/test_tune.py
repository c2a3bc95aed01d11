"""A base is tuned on exercises by the engine itself."""

from __future__ import annotations

import random
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fewtune.engine.base_model import load
from fewtune.engine.likelihood import measure
from pretraining import export, tune
from pretraining.corpus import read_books
from pretraining.exercises import pages
from pretraining.model import Llama, Shape
from pretraining.tune import Recipe, drawn, examples
from pretraining.written_exercises import message_subject

SHAPE = Shape(hidden=128, layers=2, key_heads=1, inner=96)


@pytest.fixture
def recipe(work: Path, tmp_path: Path) -> Recipe:
    torch.manual_seed(0)
    start = tmp_path / "start"
    export.write_base(Llama(SHAPE), SHAPE, work, start)
    return Recipe(start=str(start), exercises=80, seed=3)


def weights(base: Path) -> dict[str, torch.Tensor]:
    return load_file(base / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_tuned_base_answers_the_exercises_better_and_only_its_blocks_have_changed(
    recipe: Recipe, corpus: Path, tmp_path: Path
) -> None:
    tune.tune(recipe, corpus, tmp_path / "work", tmp_path / "out")
    rows = examples(recipe, corpus, load(recipe.start).encoder)
    found = [measure(load(str(base)), rows) for base in (recipe.start, tmp_path / "out")]
    before, after = (sum(sum(one.log_likelihoods) for one in likelihoods) for likelihoods in found)
    assert after > before
    old, new = weights(Path(recipe.start)), weights(tmp_path / "out")
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {name for name in old if name.endswith("_proj.weight")}


def test_a_tuning_that_was_cut_ends_in_the_same_weights(
    recipe: Recipe, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune.tune(recipe, corpus, tmp_path / "whole", tmp_path / "expected")
    seen: list[int] = []

    class Cut(tune.Log):
        def add(self, progress: tune.Progress) -> None:
            seen.append(progress.step)
            if len(seen) == 3:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(tune, "Log", Cut)
        tune.tune(recipe, corpus, tmp_path / "cut", tmp_path / "out", minutes_per_checkpoint=0)
    assert not (tmp_path / "out").exists()
    with monkeypatch.context() as patched:
        patched.setattr(tune, "Log", Cut)
        tune.tune(recipe, corpus, tmp_path / "cut", tmp_path / "out", minutes_per_checkpoint=0)
    assert seen == [1, 2, 3, 3, 4, 5], "the third step, which was not saved, is done again, and no other"
    assert same(weights(tmp_path / "out"), weights(tmp_path / "expected"))


def test_a_folder_of_another_recipe_is_refused(recipe: Recipe, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="another recipe"):
        tune.tune(recipe, corpus, tmp_path / "other", tmp_path / "out")


def test_answers_alone_are_learnt_and_the_seed_says_which(recipe: Recipe, corpus: Path) -> None:
    encoder = load(recipe.start).encoder
    rows = examples(recipe, corpus, encoder)
    assert len(rows) == recipe.exercises
    assert all(0 < row.prompt_length < len(row.ids) <= encoder.context for row in rows)
    assert rows == examples(recipe, corpus, encoder)
    assert rows != examples(Recipe(start=recipe.start, exercises=80, seed=4), corpus, encoder)


def test_most_exercises_are_messages_and_nine_in_ten_stand_alone(corpus: Path) -> None:
    books = [pages(book) for book in read_books(corpus)]
    groups = list(islice(drawn(books, random.Random(0)), 400))
    alone = sum(len(group) == 1 for group in groups)
    assert 0.85 < alone / len(groups) < 0.97
    weights = tune.WEIGHTS
    assert weights[message_subject] > 0.75 * sum(weights.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--start", "nowhere", "--exercises", "1"), "nowhere"),
        (("--start", "pocket", "--exercises", "1", "--corpus", "none.xz"), "none.xz"),
    ],
    ids=["no base", "no corpus"],
)
def test_what_cannot_be_read_is_told_in_one_line(
    given: tuple[str, ...], told: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["tune", "--corpus", str(corpus), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), *given]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match=rf"^pretraining: [^\n]*{told}"):
        tune.main()
    assert not (tmp_path / "out").exists()


def test_no_exercises_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    line = ["tune", "--corpus", "c", "--start", "pocket", "--work", "w", "--out", "o", "--exercises", "0"]
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit) as caught:
        tune.main()
    assert caught.value.code == 2
