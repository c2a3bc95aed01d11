from __future__ import annotations

import pytest

from fewtune.errors import UsageError
from fewtune.search.axis import Choices, Range
from fewtune.search.space_file import read_space


def test_numbers_lists_and_typed_text_are_axes() -> None:
    text = 'epochs = [1, 2, 4]\nlearning_rate = "3e-4..3e-3 log"\nrank = 8\nprompt_loss_weight = [0, 0.1]'
    assert read_space(text, where="space.toml") == {
        "epochs": Choices(values=(1, 2, 4)),
        "learning_rate": Range(low=3e-4, high=3e-3, scale="log", whole=False),
        "rank": Choices(values=(8,)),
        "prompt_loss_weight": Choices(values=(0, 0.1)),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rates = 1e-3", r"space.toml: 'learning-rates' is no axis.*Did you mean learning_rate\?"),
        ("colour = 3", r"'colour' is no axis.*The axes are: epochs"),
        ("epochs = [1", r"not TOML"),
        ("", r"names no axis"),
        ("epochs = true", r"no list of whole numbers"),
        ("epochs = [1.5]", r"no list of whole numbers"),
        ("epochs = {low = 1}", r"no list"),
        ("epochs = []", r"epochs is empty"),
        ('epochs = "8..2"', r"space.toml: epochs has the empty range.*epochs = 2..8"),
        ("learning_rate = 10", r"space.toml: learning_rate has 10"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_space(text, where="space.toml")
