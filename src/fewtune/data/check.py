"""What is wrong with the rows, found and told before anything is trained.

Each flaw has one function from the rows and their task to a Finding, or to None where there is nothing to
say. To add a check, write such a function and put it into `CHECKS`; a repair that exists needs nothing else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fewtune.data.duplicates import near_duplicates
from fewtune.data.task import Task, label_key, parses_as_json, usual_spellings
from fewtune.types import Example

_FEW_ROWS = 100
_SHARE_OF_A_LABEL = 0.02
_ROWS_OF_A_LABEL = 5
_LONGEST_QUOTE = 40


@dataclass(frozen=True, kw_only=True)
class Finding:
    code: str
    severity: Literal["error", "warning", "note"]
    """`error` where the rows cannot be trained on, `note` where nothing need be done."""
    rows: tuple[int, ...]
    """Row numbers, ascending; empty where the finding is about the data as a whole."""
    sentence: str
    repair: Literal["drop", "strip", "relabel"] | None
    """What `repair` does to the rows; None where they are only shown."""
    recommended: bool
    """Whether the repair is safe to make without asking."""


Check = Callable[[Sequence[Example], Task], Finding | None]


def check(examples: Sequence[Example], task: Task) -> tuple[Finding, ...]:
    """All findings, at most one of a code, in the order in which repairs are made."""
    found = (look(examples, task) for look in CHECKS)
    return tuple(finding for finding in found if finding)


def empty_prompt(examples: Sequence[Example], task: Task) -> Finding | None:
    rows = [example.row for example in examples if not example.prompt.strip()]
    return _finding("empty_prompt", "error", rows, "there is no prompt.", repair="drop")


def empty_completion(examples: Sequence[Example], task: Task) -> Finding | None:
    rows = [example.row for example in examples if not example.completion.strip()]
    return _finding("empty_completion", "error", rows, "there is no answer.", repair="drop")


def placeholder_completion(examples: Sequence[Example], task: Task) -> Finding | None:
    """Answers that only hold the place of one; a label of 2 % of the rows, and of five, is a label all the same."""
    held = [example for example in examples if _is_placeholder(example.completion)]
    if task.kind == "labels":
        counts = Counter(label_key(example.completion) for example in held)
        fewest = max(_ROWS_OF_A_LABEL, _SHARE_OF_A_LABEL * len(examples))
        held = [example for example in held if counts[label_key(example.completion)] < fewest]
    answers = _some(dict.fromkeys(repr(example.completion.strip()[:_LONGEST_QUOTE]) for example in held))
    rows = [example.row for example in held]
    what = f"the answer only holds the place of one ({answers})."
    return _finding("placeholder_completion", "warning", rows, what, repair="drop")


def invalid_json(examples: Sequence[Example], task: Task) -> Finding | None:
    if task.kind != "json":
        return None
    rows = [example.row for example in examples if _is_answered(example) and not parses_as_json(example.completion)]
    return _finding("invalid_json", "warning", rows, "the answer is not valid JSON, as the others are.", repair="drop")


def duplicate_row(examples: Sequence[Example], task: Task) -> Finding | None:
    rows = sorted({example.row for example in examples} - {example.row for example in _distinct(examples)})
    what = "prompt and answer are those of a row before; the first is kept."
    return _finding("duplicate_row", "warning", rows, what, repair="drop")


def stray_whitespace(examples: Sequence[Example], task: Task) -> Finding | None:
    rows = [example.row for example in examples if _is_complete(example) and _has_stray_whitespace(example)]
    what = "white space stands before or after the prompt or the answer."
    return _finding("stray_whitespace", "warning", rows, what, repair="strip")


def label_variant(examples: Sequence[Example], task: Task) -> Finding | None:
    if task.kind != "labels":
        return None
    usual = usual_spellings(examples)
    variants = {label: spelling for label, spelling in usual.items() if label != spelling}
    rows = [example.row for example in examples if example.completion.strip() in variants]
    pairs = _some(f"{label!r} for {spelling!r}" for label, spelling in variants.items())
    return _finding("label_variant", "warning", rows, f"the label is a rarer spelling ({pairs}).", repair="relabel")


def conflicting_answers(examples: Sequence[Example], task: Task) -> Finding | None:
    if task.kind != "labels":
        return None
    prompts: defaultdict[str, list[Example]] = defaultdict(list)
    for example in filter(_is_answered, examples):
        prompts[" ".join(example.prompt.split()).casefold()].append(example)
    torn = [alike for alike in prompts.values() if len({label_key(example.completion) for example in alike}) > 1]
    rows = [example.row for alike in torn for example in alike]
    what = "the prompt is that of another row but the label is not; one of them is probably wrong."
    return _finding("conflicting_answers", "warning", rows, what)


def near_duplicate(examples: Sequence[Example], task: Task) -> Finding | None:
    distinct = [example for example in _distinct(examples) if _is_answered(example)]
    clusters: defaultdict[int, list[int]] = defaultdict(list)
    for example, number in zip(distinct, near_duplicates(distinct, task), strict=True):
        clusters[number].append(example.row)
    alike = [rows for rows in clusters.values() if len(rows) > 1]
    rows = [row for cluster in alike for row in cluster]
    groups = f"{len(alike):,} group{'s' if len(alike) > 1 else ''}"
    what = f"the text is nearly that of another row ({groups} in all); a split keeps such rows together."
    return _finding("near_duplicate", "note", rows, what)


def few_rows(examples: Sequence[Example], task: Task) -> Finding | None:
    if len(examples) >= _FEW_ROWS:
        return None
    sentence = (
        f"With {_count(len(examples))} it will be hard to tell one model from another; "
        f"more good rows help most, up to {_FEW_ROWS} at least."
    )
    return Finding(code="few_rows", severity="note", rows=(), sentence=sentence, repair=None, recommended=False)


CHECKS: tuple[Check, ...] = (
    empty_prompt,
    empty_completion,
    placeholder_completion,
    invalid_json,
    duplicate_row,
    stray_whitespace,
    label_variant,
    conflicting_answers,
    near_duplicate,
    few_rows,
)
"""In the order of repair: a row that several findings would drop is counted under the first."""

_PLACEHOLDERS = frozenset(
    ("coming soon", "lorem ipsum", "n a", "tba", "tbc", "tbd", "to be announced", "to be determined", "to do", "todo")
)
_DOTS = re.compile(r"[.\u2026]{2,}|\u2026")
_NOT_WORD = re.compile(r"[\W_]+")


def _is_placeholder(answer: str) -> bool:
    words = _NOT_WORD.sub(" ", answer.casefold()).strip()
    return words in _PLACEHOLDERS or words.startswith("lorem ipsum ") or bool(_DOTS.fullmatch(answer.strip()))


def _is_complete(example: Example) -> bool:
    return bool(example.prompt.strip() and example.completion.strip())


def _is_answered(example: Example) -> bool:
    return _is_complete(example) and not _is_placeholder(example.completion)


def _has_stray_whitespace(example: Example) -> bool:
    return any(text != text.strip() for text in (example.prompt, example.completion))


def _distinct(examples: Sequence[Example]) -> list[Example]:
    """The first row of each prompt and answer."""
    first: dict[tuple[str, str], Example] = {}
    for example in examples:
        first.setdefault((example.prompt.strip(), example.completion.strip()), example)
    return list(first.values())


def _finding(
    code: str,
    severity: Literal["error", "warning", "note"],
    rows: Sequence[int],
    what: str,
    *,
    repair: Literal["drop", "strip", "relabel"] | None = None,
) -> Finding | None:
    """The Finding for these rows, None where there are none; `what` completes 'In 3 rows ...'."""
    if not rows:
        return None
    return Finding(
        code=code,
        severity=severity,
        rows=tuple(sorted(rows)),
        sentence=f"In {_count(len(rows))} {what}",
        repair=repair,
        recommended=repair is not None,
    )


def _count(rows: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def _some(names: Iterable[str]) -> str:
    """The first three, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - 3:,} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
