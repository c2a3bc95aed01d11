"""Whether tuning is worth it, in words: what a sweep says first, and the numbers behind it."""

from __future__ import annotations

from fewtune.evaluation.comparison import SPOKEN
from fewtune.report import words
from fewtune.report.evaluation_part import Interval
from fewtune.report.summary import RivalLine, WorthPart

_SMALL = 0.0005
_SCORES = {"loss": "loss", "exact_match": "exact match"}


def sentence(worth: WorthPart) -> str:
    """`Tune: on 84 rows, each judged by what is chosen without it, the tuned model's loss is 0.520 lower than ...`"""
    hardest = next((one for one in worth.rivals if one.name == worth.hardest), None)
    if hardest is None:
        return f"Cannot be told: {worth.reason}."
    rows, rival = words.counted(worth.rows, "row"), SPOKEN[hardest.name]
    if worth.answer == "cannot be told":
        return f"Cannot be told: {rows} give no interval."
    subject = f"on {rows}, each judged by what is chosen without it, the tuned model's {_SCORES[worth.score]}"
    if worth.answer == "do not tune" and not _is_worse(hardest):
        return f"Do not tune: {subject} cannot be told from {rival}'s ({_difference(worth, hardest)})."
    answer = "Tune" if worth.answer == "tune" else "Do not tune"
    better = "higher" if (hardest.gain.value > 0) == (worth.score == "exact_match") else "lower"
    amount = _amount(worth, abs(hardest.gain.value))
    return f"{answer}: {subject} is {amount} {better} than {rival}'s ({_interval(worth, hardest)})."


def lines(worth: WorthPart) -> tuple[str, ...]:
    """Each system's score, then what tuning brings against each rival."""
    if worth.tuned is None:
        return (f"Nothing was compared: {worth.reason}.",)
    write = words.share if worth.score == "exact_match" else words.loss
    systems = [*((SPOKEN[one.name], one.score) for one in worth.rivals), ("the tuned model", worth.tuned)]
    told = "; ".join(f"{name} {write(one.value)}{_around(one.interval, worth)}" for name, one in systems)
    gains = "; ".join(f"against {SPOKEN[one.name]} {_difference(worth, one)}" for one in worth.rivals)
    name = _SCORES[worth.score]
    how = "by folds" if worth.by == "folds" else "by resampling"
    return (
        f"On {words.counted(worth.rows, 'row')}, each judged by what is chosen without it ({how}), {name} of the "
        f"answer without its stop: {told}.",
        f"Tuning brings: {gains}.",
    )


def _is_worse(rival: RivalLine) -> bool:
    return rival.gain.interval is not None and rival.gain.interval.high < 0


def _difference(worth: WorthPart, rival: RivalLine) -> str:
    if rival.gain.interval is None:
        return "no row differs" if rival.gain.value == 0 else f"{_signed(worth, rival.gain.value)}, no interval"
    return f"gain {_signed(worth, rival.gain.value)}, {_interval(worth, rival)}"


def _interval(worth: WorthPart, rival: RivalLine) -> str:
    """Of the size of the difference, whose direction is said beside it; a gain's own where it is not told apart."""
    interval = rival.gain.interval
    if interval is None:
        return "no interval"
    low, high = (-interval.high, -interval.low) if interval.high < 0 else (interval.low, interval.high)
    unit = " points" if worth.score == "exact_match" else ""
    return f"95 % interval {_number(worth, low)} to {_number(worth, high)}{unit}"


def _around(interval: Interval | None, worth: WorthPart) -> str:
    if interval is None:
        return ""
    write = words.share if worth.score == "exact_match" else words.loss
    return f" ({write(interval.low)} to {write(interval.high)})"


def _amount(worth: WorthPart, size: float) -> str:
    return f"{_number(worth, size)} points" if worth.score == "exact_match" else _number(worth, size)


def _signed(worth: WorthPart, value: float) -> str:
    return words.signed(_amount(worth, value))


def _number(worth: WorthPart, value: float) -> str:
    if worth.score == "exact_match":
        return words.score(100 * value)
    # A difference that is told from 0 is not shown as one.
    return words.loss(value) if value == 0 or abs(value) >= _SMALL else f"{value:.1g}".replace("-", "−")
