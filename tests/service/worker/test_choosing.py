"""Plans, names, words and options: what is decided without a process."""

from __future__ import annotations

import pytest

from fewtune.providers.contract import Point, Score, Validation
from fewtune.service.worker import telling
from fewtune.service.worker.archive import slug
from fewtune.service.worker.job import JobError
from fewtune.service.worker.naming import tuned_name
from fewtune.service.worker.planning import automatic_batch, automatic_epochs, choose, usual_rate
from fewtune.service.worker.preparing import overlapping
from fewtune.service.worker.rows import Rows, first_training_row, first_validation_row
from fewtune.service.worker.sweep_options import sweep_arguments
from fewtune.service.worker.verdict import verdict
from fewtune.types import Example, Source


def test_what_is_left_to_us_becomes_a_number_and_what_is_given_stays() -> None:
    asked = {"n_epochs": "auto", "batch_size": 7, "learning_rate_multiplier": 0.5}
    found = choose(asked, base="pocket", provider="local", rows=50, method="supervised")
    assert found.hyperparameters == {"n_epochs": 4, "batch_size": 7, "learning_rate_multiplier": 0.5}
    assert found.plan.learning_rate == 0.5 * usual_rate("pocket", "local")
    assert (found.plan.epochs, found.plan.batch_size) == (4, 7)


@pytest.mark.parametrize(("rows", "epochs"), [(1, 25), (10, 10), (25, 4), (1000, 4), (10_000, 2), (1_000_000, 1)])
def test_few_rows_are_seen_more_often_and_many_less(rows: int, epochs: int) -> None:
    assert automatic_epochs(rows) == epochs


@pytest.mark.parametrize(("rows", "batch"), [(2, 2), (100, 4), (5000, 10), (10**7, 256)])
def test_the_batch_grows_with_the_rows(rows: int, batch: int) -> None:
    assert automatic_batch(rows) == batch


@pytest.mark.parametrize(
    ("model", "suffix", "name"),
    [
        ("gpt-4o-mini-2024-07-18", "mine", "ft:gpt-4o-mini-2024-07-18:acme:mine:12345678"),
        ("pocket", None, "ft:pocket:acme::12345678"),
        ("ft:pocket:acme:old:abcdefgh", "new", "ft:pocket:acme:new:12345678"),
        ("meta-llama/Llama-3.1-8B", None, "ft:meta-llama/Llama-3.1-8B:acme::12345678"),
    ],
)
def test_models_are_named_as_openai_names_them(model: str, suffix: str | None, name: str) -> None:
    assert tuned_name(model, organisation="acme", suffix=suffix, job="ftjob-xxxx12345678") == name


def test_bases_that_differ_in_signs_alone_have_folders_of_their_own() -> None:
    assert slug("a/b") != slug("a-b")
    assert "/" not in slug("../../etc/passwd") and ".." not in slug("../../etc/passwd")


def test_of_many_steps_each_kth_is_told_and_every_one_with_validation() -> None:
    told = [step for step in range(1, 5001) if telling.is_told(_point(step, 5000))]
    assert len(told) <= 1002 and told[0] == 1 and told[-1] == 5000
    valid = Validation(loss=1.0, token_accuracy=0.5, sequence_accuracy=None, row_losses=None)
    assert telling.is_told(_point(3, 5000, valid)) and not telling.is_told(_point(3, 5000))
    assert all(telling.is_told(_point(step, 1000)) for step in range(1, 1001))


def test_a_single_row_has_no_interval_and_a_clear_gain_has_one_above_zero() -> None:
    def scores(*losses: float) -> list[Score]:
        return [Score(id=place, log_likelihoods=(-loss,), greedy=(True,)) for place, loss in enumerate(losses)]

    text, data = verdict(scores(2.0), scores(1.0), started_from="the base")
    assert data["interval"] is None and "cannot be told" in text
    text, data = verdict(scores(2, 3, 4, 5, 6, 3), scores(1, 1.5, 2, 2.2, 3, 1.1), started_from="the base")
    assert data["interval"][0] > 0 and text.endswith("the tuned model is better.")


def test_rows_of_several_jobs_share_one_mapping() -> None:
    rows = Rows()
    for number in (3, 4):
        training = [_example(first_training_row(number) + place) for place in range(2)]
        rows.put(number, training, [_example(first_validation_row(number))])
    assert rows[first_training_row(4) + 1].row == first_training_row(4) + 1
    assert rows[first_validation_row(3)].row == first_validation_row(3)
    assert len(rows) == len(set(rows)) == 6
    rows.drop(3)
    for missing in (first_training_row(3), first_training_row(4) + 2, first_validation_row(4) + 1):
        assert rows.get(missing) is None


def test_rows_that_are_nearly_the_same_overlap() -> None:
    text = "The quick brown fox jumps over the lazy dog near the river bank"
    training = [_example(0, text), _example(1, "Something else altogether, of no importance")]
    validation = [_example(2, text.upper() + "!"), _example(3, "A third thing that nobody has seen before")]
    assert overlapping(training, validation) == [3]
    assert overlapping(training, []) == []


@pytest.mark.parametrize(
    ("asked", "arguments"),
    [
        ("true", ["--budget-minutes=60"]),
        ('{"epochs": [1, 2], "trials": 3, "halving": true}', ["--epochs=1,2", "--trials=3", "--halving"]),
        ("learning_rate=1e-4,1e-3 budget-minutes=5", ["--learning-rate=1e-4,1e-3", "--budget-minutes=5"]),
    ],
)
def test_a_sweep_takes_a_few_options(asked: str, arguments: list[str]) -> None:
    assert set(arguments) <= set(sweep_arguments(asked))


@pytest.mark.parametrize(
    "asked",
    [
        '{"out": "/etc"}',
        '{"judge_url": "http://evil"}',
        '{"metrics": "os:system"}',
        '{"epochs": "--out=/etc"}',
        '{"epochs": "1\\n2"}',
        '{"epochs": {"a": 1}}',
        '{"halving": false}',
        "{",
        "json_schema=/etc/passwd",
        "space=x.toml",
    ],
)
def test_no_option_of_a_sweep_names_a_file_or_an_address(asked: str) -> None:
    with pytest.raises(JobError):
        sweep_arguments(asked)


def _point(step: int, steps: int, validation: Validation | None = None) -> Point:
    return Point(handle="x", step=step, steps=steps, epoch=1.0, train_loss=1.0, validation=validation)


def _example(row: int, prompt: str = "p") -> Example:
    return Example(row=row, prompt=prompt, completion="c", source=Source(file="f", line=row + 1))
