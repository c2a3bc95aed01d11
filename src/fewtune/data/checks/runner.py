"""All checks, in the order in which their repairs are made.

Each flaw has one function, named after its code, from the Material to a Finding, or to None where there is
nothing to say. To add a check, write such a function and put it into `CHECKS`; a repair that exists needs
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from fewtune.data.checks.answers import (
    empty_completion,
    empty_prompt,
    invalid_json,
    placeholder_completion,
    repeated_answer,
    truncated_answer,
)
from fewtune.data.checks.conversations import (
    last_turn_not_assistant,
    no_system_message,
    no_trained_turn,
    no_user_message,
    role_order,
    unanswered_call,
)
from fewtune.data.checks.duplicates import conflicting_answers, duplicate_row, near_duplicate
from fewtune.data.checks.finding import Finding
from fewtune.data.checks.labels import class_imbalance, label_variant, single_label
from fewtune.data.checks.language import language_mix, untrained_language
from fewtune.data.checks.material import Material
from fewtune.data.checks.privacy import card_number, email_address, iban, phone_number, secret_key
from fewtune.data.checks.size import few_rows, over_long, too_long
from fewtune.data.checks.text_damage import (
    encoding_damage,
    html_entity,
    html_tag,
    markdown,
    mojibake,
    stray_whitespace,
)
from fewtune.data.checks.wording import common_completion_prefix, common_prompt_prefix, same_prompt, upper_case

Check = Callable[[Material], Finding | None]

CHECKS: tuple[Check, ...] = (
    empty_prompt,
    empty_completion,
    no_trained_turn,
    placeholder_completion,
    repeated_answer,
    invalid_json,
    duplicate_row,
    too_long,
    over_long,
    truncated_answer,
    encoding_damage,
    untrained_language,
    language_mix,
    mojibake,
    html_entity,
    secret_key,
    iban,
    card_number,
    email_address,
    phone_number,
    stray_whitespace,
    label_variant,
    conflicting_answers,
    single_label,
    class_imbalance,
    near_duplicate,
    same_prompt,
    common_prompt_prefix,
    common_completion_prefix,
    upper_case,
    html_tag,
    markdown,
    no_system_message,
    no_user_message,
    last_turn_not_assistant,
    unanswered_call,
    role_order,
    few_rows,
)
"""A row that several findings would drop is counted under the first."""


def check(rows: Material) -> tuple[Finding, ...]:
    """All findings, at most one of a code, in the order in which repairs are made."""
    found = (look(rows) for look in CHECKS)
    return tuple(finding for finding in found if finding)
