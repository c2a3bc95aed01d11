from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fewtune.report.word_changes import Part, word_changes

TEXTS = st.text(alphabet="ab \n.", max_size=40)


@given(TEXTS.map(str.strip), TEXTS.map(str.strip))
def test_what_stayed_and_went_is_the_old_text_and_what_stayed_and_came_the_new_one(before: str, after: str) -> None:
    parts = word_changes(before, after)

    def text(*kinds: str) -> str:
        joined = "".join(part.text for part in parts if part.kind in kinds)
        return joined.replace("␣", " ").replace("↵\n", "\n")

    assert text("same", "removed") == before
    assert text("same", "added") == after


def test_white_space_that_goes_can_be_seen() -> None:
    assert word_changes(" a\n", "a") == (
        Part(text="␣", kind="removed"),
        Part(text="a", kind="same"),
        Part(text="↵\n", kind="removed"),
    )


def test_of_a_dropped_text_everything_went() -> None:
    assert word_changes("a b", None) == (Part(text="a b", kind="removed"),)
    assert word_changes("", None) == ()


def test_a_very_long_text_is_cut() -> None:
    (part,) = word_changes("x" * 10_000, None)
    assert len(part.text) == 2001
