from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.report import words


@given(st.text(st.characters()))
def test_printable_text_has_nothing_that_steers_a_terminal_and_can_be_written_as_utf_8(text: str) -> None:
    shown = words.printable(text)
    assert "\x1b" not in shown and "\x9b" not in shown and "\x00" not in shown and "\u202e" not in shown
    shown.encode("utf-8")
    assert words.printable(shown) == shown


def test_printable_text_keeps_lines_tabs_and_every_script() -> None:
    assert words.printable("один\tשתיים\r\n三 🦉") == "один\tשתיים\n三 🦉"


@given(st.integers(min_value=0, max_value=10**12))
def test_a_count_is_its_digits_in_groups_of_three(number: int) -> None:
    groups = words.count(number).split(words.THIN)
    assert int("".join(groups)) == number
    assert all(len(group) == 3 for group in groups[1:])


def test_the_three_kinds_of_number_have_one_form_each() -> None:
    assert words.loss(1.23456) == "1.235"
    assert words.share(0.4567) == f"45.7{words.THIN}%"
    assert words.score(12.34) == "12.3"


@pytest.mark.parametrize("write", [words.loss, words.share, words.score])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_cannot_be_told(write, value: float) -> None:
    assert write(value) == "cannot be told"


def test_a_difference_has_its_sign_and_zero_has_none() -> None:
    assert words.signed(words.loss(0.5)) == "+0.500"
    assert words.signed(words.loss(-0.5)) == "−0.500"
    assert words.signed(words.loss(0.0)) == "0.000"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (412.7, "6 min 53 s"),
        (3725, "1 h 02 min"),
    ],
)
def test_a_duration_is_said_in_the_units_that_matter(seconds: float, shown: str) -> None:
    assert words.duration(seconds).replace(words.THIN, " ") == shown


def test_an_unknown_price_is_never_shown_as_nothing() -> None:
    assert words.dollars(None) == "not priced"
    assert words.dollars(0.0) == "$0.00"
    assert words.dollars(0.0042) == "$0.0042"
    assert words.dollars(1234.5) == "$1,234.50"


@given(st.text(), st.integers(min_value=2, max_value=80))
def test_one_line_is_one_line_and_no_longer_than_asked(text: str, most: int) -> None:
    line = words.one_line(text, most)
    assert len(line) <= most
    assert len(line.splitlines()) <= 1


def test_settings_are_said_briefly() -> None:
    shown = [words.setting(value) for value in (True, None, 3e-05, [1, 2, 4], (), "pocket")]
    assert shown == ["yes", "none", "3e-05", "1, 2, 4", "none", "pocket"]


def test_a_setting_that_was_not_given_is_not_called_nothing() -> None:
    assert [words.given(value) for value in (None, [], (), 0, [1, 2])] == ["not given"] * 3 + ["0", "1, 2"]


def test_a_search_as_large_as_its_grid_saves_nothing() -> None:
    assert words.saved(1, 1, 0.0) == "1 epoch was trained, all of the grid's."
