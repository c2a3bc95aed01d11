"""The report as one HTML file that needs nothing else: no network, no font, no other file."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from fewtune.errors import from_os_error
from fewtune.report import charts, curves, metrics, sizes, tables, views, words
from fewtune.report.summary import Interval, PredictionLine, Summary, SystemLine
from fewtune.report.word_changes import word_changes

SHOWN_PREDICTIONS = 12
SHOWN_ROWS = 6
_WIDE, _NARROW = 880, 350
_LONG = 360
"""Characters of an answer that are shown before the rest is folded away."""

SCRIPT = """
for (const choice of document.querySelectorAll('input[name=show]'))
  choice.addEventListener('change', () => { document.querySelector('details.rest').open = choice.value !== 'all' })
"""
"""Unfolds the rest of the predictions when one kind of them is asked for; the filter itself is CSS."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    system: str
    text: str
    right: bool | None
    """Whether it is the expected answer; None where the task has no single right one."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    line: PredictionLine
    answers: tuple[Answer, ...]
    kinds: tuple[str, ...]
    """`fixed`: only the tuned model is right; `broken`: another is right and it is not; `wrong`: it is not."""


def render(summary: Summary) -> str:
    """The whole page. Every text of the run is escaped, and the page forbids itself to load or run anything else."""
    predictions = _predictions(summary)
    answer, reason = verdict_parts(summary.verdict)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            summary=summary,
            answer=answer,
            reason=reason,
            day=_day(summary.created),
            primary=metrics.primary(summary),
            bars=_bars(summary),
            comparison=tables.comparison(summary),
            sweep=tables.sweep(summary),
            predictions=predictions,
            kinds=_kinds(predictions),
            charts=_charts(summary),
            views=views.views(summary, _WIDE, _NARROW),
            snippets=snippets(summary),
            script=Markup(SCRIPT),
            script_hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
            shown_predictions=SHOWN_PREDICTIONS,
        )
    )


def write(summary: Summary, path: Path) -> None:
    """Put the page at `path`, whole or not at all: a reader never sees half of it, nor does a crash leave one.

    Raises UnfinishedError when the disk is full, UsageError when the path cannot be written.
    """
    write_page(render(summary), path)


def write_page(page: str, path: Path) -> None:
    """The same for a page that is there already."""
    try:
        _replace(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise from_os_error(error, "write the report", path) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("fewtune.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    shown: dict[str, Any] = {
        "words": words,
        "tables": tables,
        "fold": fold,
        "css": _css_name,
        "word_changes": word_changes,
        "SHOWN_ROWS": SHOWN_ROWS,
    }
    cast("dict[str, Any]", made.globals).update(shown)
    return made


def _finalize(value: Any) -> Any:
    return words.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _day(created: str) -> str:
    """`22 November 2026, 18:07 UTC`; a time that is not ISO 8601 is shown as it is."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def verdict_parts(verdict: str) -> tuple[str, str]:
    """`Use the tuned model: on 19 rows ...` as the answer and its reason; a verdict without a colon is all answer."""
    answer, _, reason = verdict.partition(": ")
    return (answer, reason[:1].upper() + reason[1:]) if len(answer) <= 60 else (verdict, "")


def _css_name(system: str) -> str:
    return system if system in ("base", "few-shot", "tuned") else "other"


def fold(text: str) -> tuple[str, str]:
    """A long text as the part to show and the part to fold away, parted between two words."""
    if len(text) <= 1.25 * _LONG:
        return text, ""
    cut = max(text.rfind(" ", 0, _LONG), text.rfind("\n", 0, _LONG))
    cut = cut if cut > _LONG // 2 else _LONG
    return text[:cut], text[cut:].lstrip()


@dataclass(frozen=True, kw_only=True)
class Bar:
    system: SystemLine
    value: str
    interval: str
    left: float
    """Where the interval begins on the common scale, in per cent; likewise `middle` and `right`."""
    middle: float
    right: float


def _bars(summary: Summary) -> tuple[Bar, ...]:
    """The systems on the primary metric's scale, the tuned one first, as the top of the page shows them."""
    metric = metrics.primary(summary)
    if metric is None:
        return ()
    found = [(system, system.metrics[metric.name]) for system in summary.systems if metric.name in system.metrics]
    spans = [value.interval or Interval(low=value.value, high=value.value) for _, value in found]
    low, high = min(span.low for span in spans), max(span.high for span in spans)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2) if high > low else 50.0

    bars = (
        Bar(
            system=system,
            value=metric.write(value.value),
            interval=metric.interval(value.interval),
            left=place(span.low),
            middle=place(value.value),
            right=place(span.high),
        )
        for (system, value), span in zip(found, spans, strict=True)
    )
    return tuple(sorted(bars, key=lambda bar: ("tuned", "few-shot", "base", "other").index(_css_name(bar.system.name))))


def _charts(summary: Summary) -> dict[str, tuple[Markup, Markup]]:
    """Each chart drawn for a wide and for a narrow page; those with nothing to draw are left out."""
    drawn: dict[str, tuple[Markup, Markup]] = {}
    drawings = (("comparison", charts.comparison), ("curves", curves.learning_curves), ("sizes", sizes.sizes))
    for name, draw in drawings:
        wide, narrow = draw(summary, _WIDE), draw(summary, _NARROW)
        if wide and narrow:
            drawn[name] = (Markup(wide), Markup(narrow))
    return drawn


def _predictions(summary: Summary) -> tuple[Prediction, ...]:
    return tuple(_prediction(line, summary) for line in summary.predictions)


def _prediction(line: PredictionLine, summary: Summary) -> Prediction:
    judge = tables.judge(summary.data.task)
    single = summary.data.task in ("labels", "json")
    answers = tuple(
        Answer(system=name, text=text, right=judge(text, line.expected) == 1 if single else None)
        for name, text in line.answers.items()
    )
    tuned = [answer.right for answer in answers if answer.system == "tuned"]
    others = any(answer.right for answer in answers if answer.system != "tuned")
    if not single or not tuned:
        return Prediction(line=line, answers=answers, kinds=())
    kinds = ("fixed",) * (tuned[0] is True and not others) + ("broken",) * (not tuned[0] and others)
    return Prediction(line=line, answers=answers, kinds=(*kinds, *(() if tuned[0] else ("wrong",))))


def _kinds(predictions: Sequence[Prediction]) -> tuple[tuple[str, str, int], ...]:
    """The filters of the predictions that would show something: name, label, how many."""
    labels = {"fixed": "only tuned is right", "broken": "tuned is wrong, another is right", "wrong": "tuned is wrong"}
    counts = {kind: sum(kind in prediction.kinds for prediction in predictions) for kind in labels}
    return tuple((kind, label, counts[kind]) for kind, label in labels.items() if counts[kind])


def snippets(summary: Summary) -> tuple[tuple[str, str, str], ...]:
    """Ways to use the model: title, language, code."""
    run = summary.id
    prompt = words.one_line(summary.predictions[0].prompt, 60) if summary.predictions else "Hello"
    python = f"import fewtune\n\nmodel = fewtune.open_run({_quoted(run)})\nprint(model.generate({_quoted(prompt)}))"
    ways = [
        ("In Python", "python", python),
        ("In a shell", "shell", f"fewtune generate {shlex.quote(run)} {_shell_quoted(prompt)}"),
    ]
    if "adapter" in summary.files:
        ways.append(("With PEFT, without fewtune", "python", _peft(summary)))
    return tuple(ways)


def _peft(summary: Summary) -> str:
    base = _quoted(summary.files.get("base", summary.base))
    return (
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n\n"
        f"base = AutoModelForCausalLM.from_pretrained({base})\n"
        f"model = PeftModel.from_pretrained(base, {_quoted(summary.files['adapter'])})"
    )


def _quoted(text: str) -> str:
    """A Python string literal in double quotes."""
    return json.dumps(words.printable(text), ensure_ascii=False)


def _shell_quoted(text: str) -> str:
    """Double quotes where they are safe and single ones would need escapes."""
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)
