from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.checks.finding import Finding
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]
TEXT, LABELS, JSON = "text", "labels", "json"


def test_white_space_is_found_at_the_ends_but_not_inside(examples: MakeExamples, found: Found) -> None:
    rows = examples([(" a", "b"), ("c", "d\t"), ("e  e", "f\n\nf"), ("", " ")])
    finding = found(rows, TEXT)["stray_whitespace"]
    assert (finding.rows, finding.repair) == ((0, 1), "strip")


@pytest.mark.parametrize(
    ("broken", "whole"), [("cafÃ©", "café"), ("â€œHiâ€\x9d", "“Hi”"), ("Â£5", "£5"), ("cafÃƒÂ©", "café")]
)
def test_characters_read_in_a_wrong_encoding_are_mended(
    examples: MakeExamples, found: Found, broken: str, whole: str
) -> None:
    finding = found(examples([("a", f"It says {broken} here."), ("b", "It says naïve “café” – 5 °C.")]))["mojibake"]
    assert (finding.rows, finding.repair, finding.recommended) == ((0,), "mend", True)
    assert repr(whole)[1:-1] in finding.sentence


def test_lost_characters_are_shown_and_never_guessed(examples: MakeExamples, found: Found) -> None:
    finding = found(examples([("a", "caf\ufffd"), ("b", "café")]))["encoding_damage"]
    assert (finding.rows, finding.recommended) == ((0,), False)


def test_entities_are_remains_but_not_in_html(examples: MakeExamples, found: Found) -> None:
    rows = [
        ("a", "salt &amp; pepper"),
        ("b", "<p>salt &amp; pepper</p>"),
        *((f"{row}", "x & y; a < b") for row in range(5)),
    ]
    findings = found(examples(rows))
    assert (findings["html_entity"].rows, findings["html_entity"].repair) == ((0,), "unescape")
    assert findings["html_tag"].rows == (1,)


def test_what_most_rows_have_is_their_habit(examples: MakeExamples, found: Found) -> None:
    rows = examples([(f"{row}", "<p>a</p>" if row % 2 else "b &lt; c ```d```") for row in range(6)])
    assert not {"html_tag", "html_entity", "markdown"} & set(found(rows))


def test_markdown_is_noted_where_fewer_than_one_in_twenty_answers_have_any(
    examples: MakeExamples, found: Found
) -> None:
    rows = [(f"{row}", f"plain words {row}") for row in range(40)]
    assert found(examples([*rows, ("x", "This is **bold**")]))["markdown"].rows == (40,)
    assert "markdown" not in found(examples([*rows, *((f"{row}", f"**bold {row}**") for row in range(50, 55))]))
