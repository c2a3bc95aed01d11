from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from fewtune.evaluation.metric import Column, Metric, Row
from fewtune.evaluation.metrics import every_metric
from fewtune.evaluation.text_metrics import chrf, exact_match, rouge_l

WORDS = ("the", "a", "postmaster", "smiles", "frowns", "at", "ghost", "of", "dawn", ",", ".")
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)


def metric(name: str) -> Metric:
    return next(one for one in every_metric("text") if one.name == name)


def column(name: str, rows: list[Row]) -> Column:
    return metric(name).column(rows)


def value(name: str, rows: list[Row]) -> float:
    values = [one for one in column(name, rows).values if one is not None]
    return sum(values) / len(values)


def rows(*pairs: tuple[str, str]) -> list[Row]:
    return [Row(answer=answer, expected=expected) for answer, expected in pairs]


def scored(*rows: tuple[tuple[float, ...], str]) -> list[Row]:
    return [
        Row(answer=None, expected=text, log_likelihoods=found, greedy=tuple(one > -1 for one in found))
        for found, text in rows
    ]


def test_chrf_is_a_hundred_for_the_expected_text_and_zero_for_an_empty_answer() -> None:
    assert chrf("Postmaster Ninn smiles.", "Postmaster Ninn smiles.") == pytest.approx(100)
    assert chrf("", "Postmaster Ninn smiles.") == 0
    assert 0 < chrf("Postmaster Ninn frowns.", "Postmaster Ninn smiles.") < 100


def test_chrf_agrees_with_a_case_counted_by_hand() -> None:
    # Unigrams 2 of 3, bigrams 1 of 2, trigrams 0 of 1, in precision and recall alike: their mean is 38.9.
    assert chrf("abc", "abd") == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)


def test_an_exact_match_ignores_white_space_at_the_ends_and_nothing_else() -> None:
    assert exact_match(" billing\n", "billing") == 1
    assert exact_match("Billing", "billing") == 0
    assert exact_match("product  question", "product question") == 0


def test_rouge_l_agrees_with_the_example_of_its_paper() -> None:
    # Lin 2004, section 3.1: "police killed the gunman" against three words in order, and against two.
    assert rouge_l("Police kill the gunman.", "police killed the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    assert rouge_l("police, the gunman", "police killed the gunman") == pytest.approx(2 * 1 * 0.75 / 1.75)
    assert rouge_l("", "police") == rouge_l("", "") == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6))
def test_bleu_is_sacrebleus_of_the_whole_corpus(pairs: list[tuple[str, str]]) -> None:
    theirs = BLEU().corpus_score([one for one, _ in pairs], [[other for _, other in pairs]])
    assert value("bleu", rows(*pairs)) == pytest.approx(theirs.score, abs=1e-6)


def test_bleu_without_each_row_is_that_of_the_other_rows() -> None:
    pairs = [("the ghost smiles at the dawn", "the ghost smiles at dawn"), ("a b c d e", "a b c d f"), ("x", "y z")]
    n, whole = len(pairs), BLEU().corpus_score([a for a, _ in pairs], [[b for _, b in pairs]]).score
    without = [
        BLEU().corpus_score([a for a, _ in rest], [[b for _, b in rest]]).score
        for rest in (pairs[:place] + pairs[place + 1 :] for place in range(n))
    ]
    raw = [n * whole - (n - 1) * one for one in without]
    expected = [one - sum(raw) / n + whole for one in raw]
    assert column("bleu", rows(*pairs)).values == pytest.approx(expected)


def test_of_several_references_the_best_counts() -> None:
    row = Row(answer="good evening", expected="hello", references=("good evening", "hi"))
    for name, best in (("exact_match", 1), ("chrf", 100), ("rouge_l", 1)):
        assert value(name, [row]) == pytest.approx(best)
    assert value("bleu", [Row(answer="a b c d", expected="e", references=("a b c d",))]) == pytest.approx(100)


def test_perplexity_weighs_tokens_where_loss_weighs_rows() -> None:
    found = scored(((-1.0,), "ab"), ((-2.0, -2.0, -2.0), "abcd"))
    assert value("loss", found) == pytest.approx(1.5)
    assert math.exp(value("perplexity", found)) == pytest.approx(math.exp(7 / 4))


def test_bits_per_byte_divide_by_the_bytes_of_the_expected_text() -> None:
    assert value("bits_per_byte", scored(((-math.log(2),) * 6, " é "))) == pytest.approx(3)


def test_a_sequence_is_right_where_every_token_is() -> None:
    found = scored(((-0.5, -0.5), "a"), ((-0.5, -3.0), "b"))
    assert value("sequence_accuracy", found) == 0.5
    assert value("token_accuracy", found) == 0.75


def test_length_is_a_quotient_of_sums_and_has_no_better() -> None:
    assert value("length_ratio", rows(("a b", "a"), ("a", "a b c"))) == pytest.approx(3 / 4)
    assert metric("length_ratio").higher_is_better is None


def test_distinct_words_are_counted_over_all_answers() -> None:
    found = rows(("a b a b", ""), ("a c", ""))
    assert value("distinct_1", found) == pytest.approx(3 / 6)
    assert value("distinct_2", found) == pytest.approx(3 / 4)


def test_who_says_the_same_to_every_row_is_seen_to_repeat_itself() -> None:
    same = column("distinct_1", rows(*[("one two three", "")] * 20))
    assert sum(one or 0 for one in same.values) / 20 == pytest.approx(3 / 60)


def test_rows_without_an_answer_have_no_value_and_are_no_failure() -> None:
    for name in ("chrf", "bleu", "distinct_1", "loss", "perplexity"):
        found = column(name, [Row(answer=None, expected="a")])
        assert found.values == (None,) and found.failures == 0


def test_a_likelihood_of_zero_is_a_failure_of_its_row_alone() -> None:
    found = column("loss", scored(((-math.inf,), "a"), ((-1.0,), "b")))
    assert found.values == (None, 1.0)
    assert (found.failures, found.reason) == (1, "gave a number that is not finite")
