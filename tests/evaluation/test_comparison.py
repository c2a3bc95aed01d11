from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.errors import DataError
from fewtune.evaluation.comparison import (
    Compared,
    Measured,
    Verdict,
    compare,
    corrected,
    raised,
    summarise,
    verdict_sentence,
)
from fewtune.statistics import Interval

GENERATOR = np.random.default_rng(11)
HARDNESS = GENERATOR.normal(3.0, 0.8, size=31)
BASE = HARDNESS.tolist()
TUNED = (HARDNESS - 0.8 + GENERATOR.normal(0, 0.2, size=31)).tolist()
NOISY = (HARDNESS + GENERATOR.normal(0, 0.2, size=31) - 0.01).tolist()


def compared(value: float, low: float, high: float, verdict: Verdict, n: int = 31) -> Compared:
    return Compared(value=value, interval=Interval(low=low, high=high), verdict=verdict, n=n)


def test_a_summary_has_the_mean_and_an_interval_around_it() -> None:
    measured = summarise(BASE, binary=False)
    assert measured.n == 31
    assert measured.interval is not None
    assert measured.interval.low < measured.value < measured.interval.high


def test_a_share_has_wilsons_interval_even_when_every_row_is_right() -> None:
    measured = summarise([1.0] * 20, binary=True)
    assert measured.value == 1
    assert measured.interval is not None and measured.interval.low == pytest.approx(0.8389, abs=5e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_one_row_has_a_value_but_no_interval(binary: bool) -> None:
    measured = summarise([1.0], binary=binary)
    assert (measured.value, measured.interval, measured.n) == (1.0, None, 1)


def test_nothing_measured_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match="test part"):
        summarise([], binary=False)


def test_a_value_between_zero_and_one_is_no_binary_value() -> None:
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        summarise([0.5, 1.0], binary=True)


def test_a_lower_loss_on_the_same_rows_is_better_and_the_other_way_round_worse() -> None:
    assert compare(TUNED, BASE, higher_is_better=False, binary=False).verdict == "better"
    assert compare(BASE, TUNED, higher_is_better=False, binary=False).verdict == "worse"
    assert compare(TUNED, BASE, higher_is_better=True, binary=False).verdict == "worse"


def test_a_win_inside_the_noise_is_a_tie() -> None:
    result = compare(NOISY, BASE, higher_is_better=False, binary=False)
    assert result.value != 0
    assert result.verdict == "tied"


@pytest.mark.parametrize("binary", [True, False])
def test_one_row_cannot_tell(binary: bool) -> None:
    assert compare([1.0], [0.0], higher_is_better=True, binary=binary).verdict == "cannot be told"


@pytest.mark.parametrize("binary", [True, False])
def test_two_systems_that_give_the_same_on_every_row_are_tied(binary: bool) -> None:
    rows = [0.0, 1.0, 1.0, 0.0, 1.0]
    assert compare(rows, rows, higher_is_better=True, binary=binary).verdict == "tied"


def test_a_loss_that_is_not_finite_cannot_be_compared() -> None:
    assert compare([math.nan, *TUNED[1:]], BASE, higher_is_better=False, binary=False).verdict == "cannot be told"


@pytest.mark.parametrize(("wins", "losses", "verdict"), [(6, 0, "better"), (0, 6, "worse"), (5, 0, "tied")])
def test_the_exact_sign_test_decides_between_shares(wins: int, losses: int, verdict: str) -> None:
    tuned = [1.0] * wins + [0.0] * losses + [1.0] * 20
    other = [0.0] * wins + [1.0] * losses + [1.0] * 20
    result = compare(tuned, other, higher_is_better=True, binary=True)
    assert result.verdict == verdict
    assert result.value == pytest.approx((wins - losses) / len(tuned))
    assert result.interval is not None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60), st.booleans())
def test_swapping_two_systems_swaps_the_verdict(rows: list[tuple[bool, bool]], higher: bool) -> None:
    first, second = [float(a) for a, _ in rows], [float(b) for _, b in rows]
    there = compare(first, second, higher_is_better=higher, binary=True)
    back = compare(second, first, higher_is_better=higher, binary=True)
    swapped = {"better": "worse", "worse": "better", "tied": "tied"}
    assert back.verdict == swapped[there.verdict]
    assert back.value == -there.value


def test_the_sentence_recommends_a_model_that_beats_every_rival_and_names_the_hardest() -> None:
    sentence = verdict_sentence(
        {"base": compared(-1.9, -2.2, -1.7, "better"), "few-shot": compared(-0.82, -1.03, -0.6, "better")},
        metric="loss",
        higher_is_better=False,
    )
    assert sentence == (
        "Use the tuned model: on 31 held-out rows its loss is 0.82 lower than the few-shot prompt's "
        "(95 % interval 0.60 to 1.03)."
    )


def test_the_sentence_advises_against_tuning_when_nothing_beats_the_prompt_beyond_noise() -> None:
    sentence = verdict_sentence(
        {"base": compared(0.4, 0.2, 0.6, "better"), "few-shot": compared(0.03, -0.14, 0.2, "tied")},
        metric="exact match",
        higher_is_better=True,
    )
    assert sentence == (
        "Do not tune: on 31 held-out rows the tuned model's exact match cannot be told from the few-shot prompt's "
        "(difference 0.03, 95 % interval −0.14 to 0.20)."
    )


def test_the_sentence_warns_of_a_model_that_is_worse_than_any_rival() -> None:
    sentence = verdict_sentence(
        {"base": compared(0.5, 0.3, 0.7, "worse"), "few-shot": compared(-0.2, -0.3, -0.1, "better")},
        metric="loss",
        higher_is_better=False,
    )
    assert sentence.startswith("Do not use the tuned model: on 31 held-out rows its loss is 0.50 higher than the")
    assert "untuned base" in sentence


@pytest.mark.parametrize(
    ("n", "words"), [(1, "one held-out row"), (3, "only 3 held-out rows"), (9, "9 held-out rows give no interval")]
)
def test_the_sentence_claims_nothing_where_nothing_can_be_told(n: int, words: str) -> None:
    unknown = Compared(value=-2.0, interval=None, verdict="cannot be told", n=n)
    assert verdict_sentence({"base": unknown}, metric="loss", higher_is_better=False) == f"Cannot be told: {words}."


def test_the_sentence_tells_shares_in_points_as_the_tables_do() -> None:
    tied = {"tf-idf": compared(-0.1852, -0.377, 0.0196, "tied")}
    assert verdict_sentence(tied, metric="share of right labels", higher_is_better=True, share=True) == (
        "Do not tune: on 31 held-out rows the tuned model's share of right labels cannot be told from the TF-IDF "
        "classifier's (difference −18.5 points, 95 % interval −37.7 to 2.0 points)."
    )
    better = {"base": compared(0.5, 0.25, 0.75, "better")}
    sentence = verdict_sentence(better, metric="share of right labels", higher_is_better=True, share=True)
    assert sentence.endswith("is 50.0 points higher than the untuned base's (95 % interval 25.0 to 75.0 points).")


def test_the_sentence_says_when_there_was_no_rival() -> None:
    assert verdict_sentence({}, metric="loss", higher_is_better=False).startswith("Cannot be told")


def test_identical_rows_are_reported_as_such() -> None:
    same = compare(BASE, BASE, higher_is_better=False, binary=False)
    sentence = verdict_sentence({"base": same}, metric="loss", higher_is_better=False)
    assert sentence.endswith("cannot be told from the untuned base's (no row differs).")


def test_the_p_of_values_says_what_the_interval_says() -> None:
    generator = np.random.default_rng(3)
    for shift in np.linspace(0, 0.6, 40):
        tuned = (HARDNESS + generator.normal(shift, 1.0, size=31)).tolist()
        found = compare(tuned, BASE, higher_is_better=True, binary=False)
        assert found.interval is not None and found.p is not None
        assert (found.p < 0.05) == found.interval.excludes(0)


def test_of_several_rivals_a_win_has_to_be_surer_than_of_one() -> None:
    barely = compare([1.0] * 6 + [0.0] * 4, [0.0] * 10, higher_is_better=True, binary=True)
    assert (barely.verdict, barely.p) == ("better", pytest.approx(1 / 32))
    sure = compare([1.0] * 10, [0.0] * 10, higher_is_better=True, binary=True)
    among = corrected({"base": sure, "few-shot": barely, "other": barely}, higher_is_better=True)
    assert (among["base"].verdict, among["base"].p) == ("better", pytest.approx(3 / 512))
    assert (among["few-shot"].verdict, among["few-shot"].p) == ("tied", pytest.approx(2 / 32))
    assert among["few-shot"].interval == barely.interval


def test_a_rival_that_gave_no_test_does_not_count_among_the_others() -> None:
    barely = compare([1.0] * 6 + [0.0] * 4, [0.0] * 10, higher_is_better=True, binary=True)
    same = compare(BASE, BASE, higher_is_better=False, binary=False)
    found = corrected({"base": barely, "copy": same}, higher_is_better=True)
    assert found == {"base": barely, "copy": same}
    assert (same.p, same.verdict) == (None, "tied")


def test_what_was_measured_in_logarithms_is_shown_raised() -> None:
    found = raised(Measured(value=2.0, interval=Interval(low=1.0, high=3.0), n=9))
    assert found.value == pytest.approx(math.e**2)
    assert found.interval is not None and found.interval.low == pytest.approx(math.e)
    assert math.isfinite(raised(Measured(value=9999.0, interval=None, n=1)).value)
