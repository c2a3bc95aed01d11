from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fewtune.evaluation.memorization import NOTHING, Training

WORDS = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=5)


def longest(training: list[str], answers: list[str]) -> int:
    """Every run of every answer, looked for in every training text."""
    runs = {tuple(words[i:j]) for t in training for words in [t.split()] for i in range(9) for j in range(i + 1, 10)}
    spans = (tuple(words[i:j]) for a in answers for words in [a.split()] for i in range(9) for j in range(i + 1, 10))
    return max((len(span) for span in spans if span in runs), default=0)


@given(WORDS, WORDS)
def test_the_longest_span_is_the_one_that_comparing_everything_finds(training: list[str], answers: list[str]) -> None:
    span = Training(training).longest_span(answers)
    assert span.words == longest(training, answers)
    if span.words:
        assert span.text in answers[span.answer]
        assert f" {span.text} " in f" {training[span.source]} "
        assert len(span.text.split()) == span.words


def test_a_span_is_shown_as_it_stands_in_the_answer_though_case_and_punctuation_do_not_count() -> None:
    training = Training(["Nothing.", "the captain, asleep at the wheel, dreams"])
    span = training.longest_span(["Then The Captain (asleep) at the wheel!"])
    assert (span.words, span.text, span.source) == (6, "The Captain (asleep) at the wheel", 1)


def test_a_span_never_runs_over_the_end_of_a_text() -> None:
    assert Training(["one two", "three four"]).longest_span(["zero one two three four", "two", "three"]).words == 2


def test_where_nothing_is_shared_there_is_no_span() -> None:
    assert Training(["one two"]).longest_span(["three", ""]) == NOTHING
    assert Training([]).longest_span(["three"]) == NOTHING
    assert Training(["one two"]).longest_span([]) == NOTHING


def test_answers_that_differ_from_a_training_text_in_details_are_near_copies() -> None:
    text = "The crew finds a door that was not there yesterday, and behind it the same corridor again."
    other = "Bram sells the ship to a man with no shadow and buys it back before breakfast, at a loss."
    training = Training([text])
    assert training.near_copies([text.replace(",", ""), text.replace("corridor", "corridors"), other, ""]) == 2
