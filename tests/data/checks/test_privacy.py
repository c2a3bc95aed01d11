from __future__ import annotations

from collections.abc import Callable

import pytest

from fewtune.data.checks.finding import Finding
from fewtune.types import Example, Message

MakeExamples = Callable[[list[tuple[str, str]]], tuple[Example, ...]]
Found = Callable[..., dict[str, Finding]]


@pytest.mark.parametrize(
    ("code", "secret", "recommended"),
    [
        ("secret_key", "sk-abcDEF1234567890abcdefgh", True),
        ("card_number", "4111 1111 1111 1111", True),
        ("iban", "DE89 3704 0044 0532 0130 00", False),
        ("email_address", "ann@example.org", False),
        ("phone_number", "+44 20 7946 0958", False),
    ],
)
def test_it_is_found_in_prompt_or_answer_and_never_shown(
    examples: MakeExamples, found: Found, code: str, secret: str, recommended: bool
) -> None:
    finding = found(examples([(f"It is {secret}.", "Fine."), ("What is it?", f"It is {secret}."), ("a", "b")]))[code]
    assert (finding.rows, finding.repair, finding.recommended) == ((0, 1), "mask", recommended)
    assert secret not in finding.sentence


def test_no_sentence_of_any_finding_quotes_a_secret(examples: MakeExamples, found: Found) -> None:
    secret = "ann@example.org"
    rows = [(f"Ask {secret} for {row} things of {row * 7}", f"Write to {secret}") for row in range(12)]
    labels = [(f"row {row} words {row * 7}", f"To {secret}" if row else f"to {secret}") for row in range(30)]
    for kind, pairs in (("text", rows), ("labels", labels)):
        findings = found(examples(pairs), kind)
        assert len(findings) > 1
        assert all(secret not in finding.sentence for finding in findings.values())


def test_calls_and_tools_are_looked_at_too(found: Found, conversation: Callable[..., Example]) -> None:
    call = Message(role="assistant", content="", calls='[{"to": "ann@example.org"}]', trained=True)
    assert found([conversation(0, "user: Write to her", call)])["email_address"].rows == (0,)
