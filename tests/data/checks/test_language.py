from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.checks.finding import Finding
from fewtune.types import Example

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]

ENGLISH = [
    f"I would like to know {what} because {why}, and what I should do about it now."
    for what in ("where my parcel is", "when the shop is open", "who has my keys", "how this lamp works")
    for why in ("nobody has told me", "it is getting late", "my brother asked", "the line was cut", "I am abroad")
]
FRENCH = "Je voudrais savoir pourquoi ma carte a été refusée hier soir au magasin, et ce que je dois faire."
CHINESE = "为什么昨天我的卡在商店里被拒绝了？请尽快帮我查一下原因，我需要在今天之内完成付款，谢谢你们的帮助和支持。"


@pytest.mark.parametrize(("text", "code"), [(FRENCH, "fr"), (CHINESE, "zh")])
def test_a_row_in_another_language_is_shown(examples: MakeExamples, found: Found, text: str, code: str) -> None:
    rows = examples([(prompt, "a") for prompt in (*ENGLISH, text)])
    finding = found(rows, "labels")["language_mix"]
    assert (finding.rows, finding.severity, finding.recommended) == ((len(ENGLISH),), "note", False)
    assert f"({code})" in finding.sentence


def test_names_numbers_and_program_text_are_in_no_language(examples: MakeExamples, found: Found) -> None:
    odd = (
        "Bram Oona Tam Ilse Ninn Hugo Ewan Linda Magpie Drift Tallyman",
        "for i in range(10): print(i * 2, end=''); x[i] = {'a': 1}",
        "0471 8821 3344 9921 0003 7718 2231 9980 1204 5512 7781",
    )
    rows = examples([(prompt, "a") for prompt in (*ENGLISH, *odd)])
    assert "language_mix" not in found(rows, "labels")


def test_a_translation_has_a_language_on_each_side(examples: MakeExamples, found: Found) -> None:
    rows = examples([(prompt, FRENCH.replace("hier", f"hier {row}")) for row, prompt in enumerate(ENGLISH)])
    assert "language_mix" not in found(rows)


def test_languages_of_the_base_decide_what_it_cannot_read(examples: MakeExamples, found: Found) -> None:
    rows = examples([(prompt, "a") for prompt in (*ENGLISH, FRENCH)])
    assert found(rows, "labels", languages={"en"})["untrained_language"].rows == (len(ENGLISH),)
    assert found(rows, "labels", languages={"fr"})["untrained_language"].rows == tuple(range(len(ENGLISH)))
    assert "untrained_language" not in found(rows, "labels", languages={"en", "fr"})
    assert "untrained_language" not in found(rows, "labels")


def test_every_row_of_data_in_many_languages_is_judged_by_itself(examples: MakeExamples, found: Found) -> None:
    rows = examples([(prompt, "a") for prompt in (*ENGLISH, *[FRENCH] * 20)])
    findings = found(rows, "labels", languages={"en"})
    assert "language_mix" not in findings
    assert findings["untrained_language"].rows == tuple(range(len(ENGLISH), len(rows)))
