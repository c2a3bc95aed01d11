from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.errors import FewtuneError, UsageError
from fewtune.search.axis import FIELDS, Choices, Range, parse_axis


@pytest.mark.parametrize(
    ("name", "text", "axis"),
    [
        ("epochs", "4, 1,2,4", Choices(values=(4, 1, 2))),
        ("learning_rate", "1e-4..3e-3 log", Range(low=1e-4, high=3e-3, scale="log", whole=False)),
        ("learning_rate", "1e-4..3e-3", Range(low=1e-4, high=3e-3, scale="log", whole=False)),
        ("rank", "4..16 linear", Range(low=4, high=16, scale="linear", whole=True)),
        ("prompt_loss_weight", "0..1", Range(low=0, high=1, scale="linear", whole=False)),
        ("seed", "0,1", Choices(values=(0, 1))),
    ],
)
def test_lists_and_ranges_are_read_as_typed(name: str, text: str, axis: Choices | Range) -> None:
    assert parse_axis(FIELDS[name], text) == axis


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("epochs", "", r"--epochs is empty.*--epochs 1,2,4,8"),
        ("epochs", "8..2", r"empty range 8..2.*--epochs 2..8"),
        ("epochs", "4..4", r"empty range.*Use --epochs 4\."),
        ("epochs", "2.5", r"whole number.*Use --epochs 2"),
        ("epochs", "0", r"between 1 and 1000.*Use --epochs 1"),
        ("rank", "4..8..16", r"no range.*4..16"),
        ("rank", "4..16 quadratic", r"no range"),
        ("learning_rate", "0", r"not above 0.*1e-3"),
        ("learning_rate", "10", r"can train.*1e-3"),
        ("learning_rate", "3e-4..fast", r"'fast'.*not a number"),
        ("prompt_loss_weight", "0..1 log", r"begins at 0.*0..1 linear"),
        ("prompt_loss_weight", "2", r"between 0 and 1.*--prompt-loss-weight 1"),
        ("adapt_top", "nan", r"between"),
    ],
)
def test_what_cannot_be_searched_is_answered_with_what_can(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_axis(FIELDS[name], text)


def test_an_absolute_rate_and_a_multiplier_are_never_taken_for_each_other() -> None:
    rate = FIELDS["learning_rate"]
    assert parse_axis(rate, "0.5,1,2", rate="multiplier") == Choices(values=(0.5, 1, 2))
    with pytest.raises(UsageError, match="multiplier of its own rate"):
        parse_axis(rate, "1e-3", rate="multiplier")
    with pytest.raises(UsageError, match="can train an adapter"):
        parse_axis(rate, "0.5,1,2")


@given(st.sampled_from(sorted(FIELDS)), st.text(alphabet="0123456789.,e-+ naiflogier", max_size=16))
def test_any_text_gives_an_axis_or_an_error_of_ours(name: str, text: str) -> None:
    try:
        axis = parse_axis(FIELDS[name], text)
    except FewtuneError:
        return
    values = axis.values if isinstance(axis, Choices) else (axis.low, axis.high)
    assert all(FIELDS[name].low <= value <= FIELDS[name].high for value in values)


@given(st.sampled_from(["4..16", "4..16 linear", "1..64", "2,8,4"]), st.floats(0, 1, exclude_max=True))
def test_every_place_gives_a_value_within_the_ends_that_lies_there(text: str, unit: float) -> None:
    axis = parse_axis(FIELDS["rank"], text)
    value = axis.at(unit)
    assert value == int(value)
    assert axis.at(min(axis.unit(value), 1 - 1e-9)) == value
