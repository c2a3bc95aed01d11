"""What the old tool said about a file once it was read, and what it did about it when every advice was taken.

Each rule looks at the rows as they are before any optional repair; the repairs are then made in the order of the
rules. So a repair can meet rows that are no longer those that its rule saw, as they did in 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from fewtune.data.legacy_completions.frame import refusal
from fewtune.data.legacy_completions.pairs import Pairs
from fewtune.data.legacy_completions.text_statistics import common_prefix, common_suffix, is_mostly_upper

FEWEST_ROWS = 100
MOST_CHARACTERS = 10_000
LONGEST_SUFFIX = 10
LONGEST_PROMPT_PREFIX = 12
LONGEST_COMPLETION_PREFIX = 4
ARROW = " ->"
PROMPT_SEPARATORS = (ARROW, "\n\n###\n\n", "\n\n===\n\n", "\n\n---\n\n", "\n\n===>\n\n", "\n\n--->\n\n")
LAST_SEPARATOR = "\n\n### =>\n\n"
COMPLETION_ENDINGS = ("\n", ".", " END", "***", "+++", "&&&", "$$$", "@@@", "%%%")
LAST_ENDING = " [END]"


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What a rule has to say."""

    code: str
    text: str
    rows: tuple[int, ...] = ()
    """Numbers of the rows it is about, among those read, from 0; empty where it is about all."""
    applied: bool = False
    """Whether something was done about it."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    remark: Remark
    repair: Callable[[Pairs], Pairs] | None = None
    """What to do about it, later; None where there is nothing to do, or it is done."""


Rule = Callable[[Pairs], Advice | None]


def _advice(code: str, text: str, rows: Sequence[int] = (), repair: Callable[[Pairs], Pairs] | None = None) -> Advice:
    return Advice(remark=Remark(code=code, text=text, rows=tuple(rows), applied=repair is not None), repair=repair)


def few_rows(pairs: Pairs) -> Advice | None:
    if len(pairs) >= FEWEST_ROWS:
        return None
    return _advice("few_rows", f"There are {len(pairs)} rows; a few hundred are better, and each doubling helps.")


def further_columns(columns: Sequence[Hashable], file: str) -> Remark | None:
    """`columns` are all of the file, those of prompt and completion under these very names."""
    others = [name for name in columns if name not in ("prompt", "completion")]
    if len(columns) <= 2:
        return None
    if not all(isinstance(name, str) for name in others):
        raise refusal("A column is named by something else than text.", file, "Give it a name, or remove it.")
    listed = ", ".join(f"`{name}`" for name in others)
    return Remark(code="further_columns", text=f"Only prompt and completion are kept, not {listed}.", applied=True)


def empty_completions(pairs: Pairs) -> tuple[Pairs, Remark | None]:
    """The rows that have a completion, and what there is to say about the others."""
    filled = list(map(bool, pairs.completions))
    if all(filled):
        return pairs, None
    rows = [row for row, keep in zip(pairs.rows, filled, strict=True) if not keep]
    text = f"In {len(rows)} rows there is no completion; they are dropped."
    return pairs.kept(filled), Remark(code="empty_completion", text=text, rows=tuple(rows), applied=True)


def classification(pairs: Pairs) -> Advice | None:
    if pairs.task != "classification":
        return None
    text = "Few completions stand for many rows, so this is classification: a small model will do, and rows to test it."
    return _advice("classification", text)


def duplicate_rows(pairs: Pairs) -> Advice | None:
    if len(set(zip(pairs.prompts, pairs.completions, strict=True))) == len(pairs):
        return None
    first = _first_of_its_kind(pairs)
    rows = [row for row, keep in zip(pairs.rows, first, strict=True) if not keep]
    text = f"In {len(rows)} rows prompt and completion are those of a row before; they are dropped."
    return _advice("duplicate_row", text, rows, lambda pairs: pairs.kept(_first_of_its_kind(pairs)))


def _first_of_its_kind(pairs: Pairs) -> list[bool]:
    seen: set[tuple[str, str]] = set()
    flags: list[bool] = []
    for pair in zip(pairs.prompts, pairs.completions, strict=True):
        flags.append(pair not in seen)
        seen.add(pair)
    return flags


def long_rows(pairs: Pairs) -> Advice | None:
    places = [] if pairs.task == "open-ended" else _long_places(pairs)
    if not places:
        return None
    rows = [pairs.rows[place] for place in places]
    text = f"{len(rows)} rows are longer than {MOST_CHARACTERS:,} characters, and are dropped."
    return _advice("long_row", text, rows, _without_long)


def _long_places(pairs: Pairs) -> list[int]:
    sizes = zip(map(len, pairs.prompts), map(len, pairs.completions), strict=True)
    return [place for place, (prompt, completion) in enumerate(sizes) if prompt + completion > MOST_CHARACTERS]


def _without_long(pairs: Pairs) -> Pairs:
    """The old tool took the places of long rows for their labels: after a row was dropped, others go."""
    unwanted = set(_long_places(pairs))
    if not unwanted.issubset(pairs.labels):
        what = "Some rows are too long, and rows before them are dropped: the old tool breaks off on such a file."
        raise refusal(what, pairs.file, f"Remove or shorten rows longer than {MOST_CHARACTERS:,} characters.")
    return pairs.kept([label not in unwanted for label in pairs.labels])


def upper_case_prompts(pairs: Pairs) -> Advice | None:
    if not is_mostly_upper(pairs.prompts):
        return None
    text = "More than a third of the letters in the prompts are capitals; the prompts are put in lower case."
    return _advice("upper_case_prompt", text, repair=lambda pairs: pairs.with_prompts(str.lower))


def upper_case_completions(pairs: Pairs) -> Advice | None:
    if not is_mostly_upper(pairs.completions):
        return None
    text = "More than a third of the letters in the completions are capitals; the completions are put in lower case."
    return _advice("upper_case_completion", text, repair=lambda pairs: pairs.with_completions(str.lower))


def prompt_separator(pairs: Pairs) -> Advice | None:
    if pairs.task == "open-ended":
        return None
    shared = common_suffix(pairs.prompts)
    if all(prompt == shared for prompt in pairs.prompts):
        fix = "Leave the prompts empty for open-ended generation, or make them different."
        raise refusal("All prompts are the same.", pairs.file, fix)
    separator = _unused_separator(pairs.prompts)
    if shared:
        return _advice("prompt_suffix", _about_suffix("prompts", shared, pairs.prompts, separator))
    text = f"The prompts do not end alike; {separator!r} is put after each, so that the end can be seen."
    return _advice("prompt_separator", text, repair=lambda pairs: pairs.with_prompts(lambda prompt: prompt + separator))


def _unused_separator(prompts: Sequence[str]) -> str:
    text = "\0".join(prompts)
    options = PROMPT_SEPARATORS[1:] if "\n" in text else PROMPT_SEPARATORS
    return next((option for option in options if option not in text), LAST_SEPARATOR)


def _about_suffix(what: str, suffix: str, texts: Sequence[str], shorter: str) -> str:
    said = f"All {what} end with {suffix!r}."
    if len(suffix) > LONGEST_SUFFIX:
        said += f" That is long; {shorter!r} would do."
    if any(suffix in text[: -len(suffix)] for text in texts):
        said += " In some it also stands before the end."
    return said


def prompt_prefix(pairs: Pairs) -> Advice | None:
    shared = common_prefix(pairs.prompts)
    if not shared or all(prompt == shared for prompt in pairs.prompts):
        return None
    text = f"All prompts begin with {shared!r}."
    if len(shared) <= LONGEST_PROMPT_PREFIX:
        return _advice("prompt_prefix", text)
    return _advice(
        "prompt_prefix",
        f"{text} A tuned model needs no such instruction; it is cut off.",
        repair=lambda pairs: pairs.with_prompts(lambda prompt: prompt[len(shared) :]),
    )


def completion_prefix(pairs: Pairs) -> Advice | None:
    shared = common_prefix(pairs.completions)
    if len(shared) <= LONGEST_COMPLETION_PREFIX or all(completion == shared for completion in pairs.completions):
        return None
    space = " " if shared.startswith(" ") else ""
    return _advice(
        "completion_prefix",
        f"All completions begin with {shared!r}; it is cut off{', but for the space' if space else ''}.",
        repair=lambda pairs: pairs.with_completions(lambda completion: space + completion[len(shared) :]),
    )


def completion_ending(pairs: Pairs) -> Advice | None:
    if pairs.task != "conditional":
        return None
    shared = common_suffix(pairs.completions)
    if all(completion == shared for completion in pairs.completions):
        fix = "Give completions that differ: a model would only repeat this one."
        raise refusal("All completions are the same.", pairs.file, fix)
    text = "\0".join(pairs.completions)
    ending = next((option for option in COMPLETION_ENDINGS if option not in text), LAST_ENDING)
    if shared:
        return _advice("completion_suffix", _about_suffix("completions", shared, pairs.completions, ending))
    said = f"The completions do not end alike; {ending!r} is put after each, at which sampling can stop."
    return _advice(
        "completion_ending", said, repair=lambda pairs: pairs.with_completions(lambda completion: completion + ending)
    )


def leading_space(pairs: Pairs) -> Advice | None:
    if pairs.completions and all(completion.startswith(" ") for completion in pairs.completions):
        return None
    text = "The completions get a space before them, as words inside a text have."
    return _advice("leading_space", text, repair=_spaced)


def _spaced(pairs: Pairs) -> Pairs:
    if not all(pairs.completions):
        what = "A completion is nothing but what all completions begin with: the old tool breaks off on such a file."
        raise refusal(what, pairs.file, "Remove the common beginning, or that row.")
    return pairs.with_completions(lambda completion: completion if completion.startswith(" ") else " " + completion)


RULES: tuple[Rule, ...] = (
    classification,
    duplicate_rows,
    long_rows,
    upper_case_prompts,
    upper_case_completions,
    prompt_separator,
    prompt_prefix,
    completion_prefix,
    completion_ending,
    leading_space,
)
