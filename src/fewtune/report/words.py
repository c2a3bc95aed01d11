"""How the report writes numbers, and how it makes text from elsewhere safe to show."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

THIN = "\u202f"
"""Narrow no-break space: between thousands, and before a unit."""

UNKNOWN = "cannot be told"

_LONG = 360
"""Characters of an answer that are shown before the rest is folded away."""

_REPAIRED = {
    "drop": "dropped",
    "strip": "white space removed",
    "relabel": "given the usual label",
    "mask": "masked",
    "unescape": "entities written as characters",
    "mend": "characters mended",
}

_SYSTEMS = {
    "base": "untuned base",
    "few-shot": "few-shot prompt",
    "few-shot-nearest": "nearest few-shot prompt",
    "tuned": "tuned model",
    "runner-up": "runner-up",
    "reference": "reference model",
    "majority": "most frequent answer",
    "nearest-answer": "nearest row's answer",
    "tf-idf": "TF-IDF classifier",
    "sentence-encoder": "sentence-encoder classifier",
}

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text from a data file or a model, with what could steer a terminal or a page made visible.

    Control characters (newline and tab are kept), direction overrides and lone surrogates become U+FFFD.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str, most: int) -> str:
    """The beginning of a text, on one line, with an ellipsis where it was cut."""
    line = " ".join(printable(text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def fold(text: str) -> tuple[str, str]:
    """A long text as the part to show and the part to fold away, parted between two words."""
    if len(text) <= 1.25 * _LONG:
        return text, ""
    cut = max(text.rfind(" ", 0, _LONG), text.rfind("\n", 0, _LONG))
    cut = cut if cut > _LONG // 2 else _LONG
    return text[:cut], text[cut:].lstrip()


def _guarded(write: Callable[[float], str], value: float) -> str:
    return write(value).replace("-", "−") if math.isfinite(value) else UNKNOWN


def loss(value: float) -> str:
    return _guarded(lambda number: f"{number:.3f}", value)


def share(value: float) -> str:
    """A share from 0 to 1, in per cent."""
    return _guarded(lambda number: f"{100 * number:.1f}{THIN}%", value)


def score(value: float) -> str:
    """A score from 0 to 100."""
    return _guarded(lambda number: f"{number:.1f}", value)


def signed(shown: str) -> str:
    """A difference, with its sign in front; a zero has none."""
    positive = not shown.startswith("−") and any(digit in shown for digit in "123456789")
    return f"+{shown}" if positive else shown


def count(number: int) -> str:
    return f"{number:,}".replace(",", THIN)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 row`, `12 rows`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}{THIN}h {minutes:02d}{THIN}min"
    return f"{minutes}{THIN}min {whole % 60:02d}{THIN}s" if minutes else f"{whole}{THIN}s"


def dollars(usd: float | None) -> str:
    """A price; cents below 10 cents are shown in full, an unknown price is never shown as zero."""
    if usd is None:
        return "not priced"
    return f"${usd:,.4f}" if 0 < usd < 0.1 else f"${usd:,.2f}"


def setting(value: object) -> str:
    """A hyperparameter's or a setting's value, as short as it can be said."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in cast("Sequence[object]", value)) or "none"
    return "none" if value is None else printable(str(value))


def is_given(value: object) -> bool:
    """Whether a setting has a value; without one its default holds, which is not the same as nothing."""
    return value is not None and value not in ([], ())


def given(value: object) -> str:
    """A setting as it was given."""
    return setting(value) if is_given(value) else "not given"


def saved(epochs: float, grid_epochs: int, share_saved: float) -> str:
    """What a search trained, against the grid of its plans."""
    took = f"{epochs:g} {'epoch was' if epochs == 1 else 'epochs were'} trained"
    if share_saved == 0:
        return f"{took}, all of the grid's."
    if share_saved > 0:
        return f"{took}, {share(share_saved)} fewer than the {count(grid_epochs)} of the grid."
    return f"{took}, folds and seeds among them; the grid alone takes {count(grid_epochs)}."


def heading(name: str) -> str:
    """`learning_rate` as `learning rate`."""
    return printable(name).replace("_", " ")


def system(name: str) -> str:
    """What readers call a way of answering."""
    return _SYSTEMS.get(name) or printable(name)


def p_value(p: float | None) -> str:
    """`p 0.012`; empty where there is none."""
    if p is None or not math.isfinite(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def rows_sum(read: int, kept: int, dropped: Mapping[str, int]) -> str:
    """`180 rows read = 175 kept + 4 dropped (duplicate row) + 1 dropped (empty completion)`."""
    parts = [f"{count(rows)} dropped ({heading(code)})" for code, rows in dropped.items()]
    return " + ".join([f"{counted(read, 'row')} read = {count(kept)} kept", *parts])


def repaired(repair: str) -> str:
    """What a repair of the data has done to a row."""
    return _REPAIRED[repair]


def place(provider: str) -> str:
    """Where a run was trained."""
    return {"local": "on this machine", "ray": "on a Ray cluster"}.get(provider, f"at {provider}")
