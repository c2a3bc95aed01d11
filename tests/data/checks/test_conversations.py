from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.finding import Finding
from fewtune.types import Example, Message

Found = Callable[..., dict[str, Finding]]
Make = Callable[..., Example]

CALL = Message(role="assistant", content="", calls='[{"id": "c1", "function": {"name": "f"}}]', trained=True)
RESULT = Message(role="tool", content="12", call_id="c1")


def test_a_usual_conversation_raises_nothing(found: Found, conversation: Make) -> None:
    rows = [
        conversation(0, "system: Be kind.", "user: Hello", "assistant: Good day."),
        conversation(1, "system: Be brief.", "user: How many?", CALL, RESULT, "assistant: Twelve."),
    ]
    assert found(rows) == {}


def test_a_conversation_of_which_nothing_is_learnt_is_dropped(found: Found, conversation: Make) -> None:
    rows = [conversation(0, "user: Hello", "assistant: Not this one!"), conversation(1, "user: Hi", "assistant: Yes.")]
    findings = found(rows)
    assert (findings["no_trained_turn"].rows, findings["no_trained_turn"].repair) == ((0,), "drop")
    assert "empty_completion" not in findings


def test_a_missing_system_message_is_noted_where_others_have_one(found: Found, conversation: Make) -> None:
    plain = [conversation(row, "user: Hello", "assistant: Good day.") for row in range(2)]
    assert "no_system_message" not in found(plain)
    instructed = conversation(2, "developer: Be kind.", "user: Hi there", "assistant: Yes, gladly.")
    assert found([*plain, instructed])["no_system_message"].rows == (0, 1)


def test_turns_that_are_missing_or_out_of_order_are_shown(found: Found, conversation: Make) -> None:
    rows = [
        conversation(0, "system: Greet.", "assistant: Welcome."),
        conversation(1, "system: Greet.", "user: One", "user: Two", "assistant: Both."),
        conversation(2, "user: Hello", "system: Be kind.", "assistant: Yes."),
        conversation(3, "system: Greet.", "user: Hello", "assistant: Hm.", "user: Bye"),
    ]
    findings = found(rows)
    assert findings["no_user_message"].rows == (0,)
    assert findings["role_order"].rows == (0, 1, 2)
    assert findings["last_turn_not_assistant"].rows == (3,)


def test_a_call_needs_an_answer_unless_it_is_what_is_learnt(found: Found, conversation: Make) -> None:
    rows = [
        conversation(0, "user: How many?", CALL, "assistant: I do not know."),
        conversation(1, "user: How many then?", CALL, RESULT, "assistant: Twelve."),
        conversation(2, "user: How many are left?", CALL),
    ]
    assert found(rows)["unanswered_call"].rows == (0,)
