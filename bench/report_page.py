"""How long the report's page takes to build and to open, and how large it is: `python -m bench.report_page`.

Runs are made up, so nothing is trained: 50 trials of 2,000 points each with 10,000 predictions, and 8 trials with 300
predictions, each answered by four systems with everything that is known of an answer. Opened is when headless
Chromium has loaded the file, run its scripts and drawn; the fastest of the repeats counts.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import report
from fewtune.report import html
from fewtune.report.data_part import DataPart
from fewtune.report.evaluation_part import AnswerLine, EvaluationPart, Interval, MetricLine
from fewtune.report.summary import CurvePoint, MetricValue, PredictionLine, Summary, SystemLine, TrialLine

_SYSTEMS = ("base", "few-shot", "tuned", "runner-up")
_WORDS = ("the", "crew", "of", "a", "ship", "finds", "itself", "in", "city", "where", "time", "has", "stopped", "again")
_CASES = (("50 trials x 2,000 points x 10,000 predictions", 50, 2_000, 10_000), ("300 predictions", 8, 200, 300))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report_page", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(arguments).repeats
    html.render(_summary(1, 10, 5))  # the first drawing starts the drawing library
    rows = [
        (name, *_measured(_summary(trials, points, answered), repeats)) for name, trials, points, answered in _CASES
    ]
    shown = [
        (name, f"{build:.2f}", f"{cpu:.2f}", f"{opened:.2f}", f"{size / 1e6:.2f}")
        for name, build, cpu, opened, size in rows
    ]
    report.show(("report", "builds, s", "CPU, s", "opens, s", "MB"), shown)
    report.write(
        "report_page",
        {"rows": [dict(zip(("name", "build", "cpu", "open", "bytes"), row, strict=True)) for row in rows]},
    )


def _measured(summary: Summary, repeats: int) -> tuple[float, float, float, int]:
    """Seconds to build, of these the processor's (all threads counted), seconds to open, bytes."""
    builds: list[float] = []
    processor: list[float] = []
    page = ""
    for _ in range(repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        page = html.render(summary)
        builds.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_cpu)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_text(page, encoding="utf-8")
        return min(builds), min(processor), _opened(path, repeats), path.stat().st_size


def _opened(path: Path, repeats: int) -> float:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is not installed.")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        seconds = [_once(browser, path) for _ in range(repeats)]
        browser.close()
    return min(seconds)


def _once(browser: Any, path: Path) -> float:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    began = time.perf_counter()
    page.goto(path.as_uri())
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))")
    seconds = time.perf_counter() - began
    if page.locator("#prediction-count").inner_text() == "":
        sys.exit("The table of predictions was not drawn.")
    page.close()
    return seconds


def _summary(trials: int, points: int, answered: int) -> Summary:
    chance = random.Random(0)
    lines = tuple(_trial(number, points) for number in range(trials))
    return Summary(
        id="made-up",
        created="2026-01-01T00:00:00Z",
        state="finished",
        verdict="Use the tuned model: it is made up.",
        base="pocket",
        provider="local",
        seed=0,
        command="fewtune run made-up.csv",
        settings={"shots": 3},
        versions={},
        machine="any",
        seconds=60.0,
        usd=0.0,
        data=_data(answered),
        trials=lines,
        chosen=lines[0].id,
        tied=(),
        curves={line.trunk: tuple(_curve(points, chance)) for line in lines},
        systems=tuple(_system(name, answered) for name in _SYSTEMS),
        differences=(),
        predictions=tuple(_prediction(row, chance) for row in range(answered)),
        files={"adapter": "adapter"},
        evaluation=_evaluation(),
    )


def _data(answered: int) -> DataPart:
    return DataPart(
        file="made-up.csv",
        sha256="0" * 64,
        rows_read=answered + 200,
        rows_kept=answered + 200,
        dropped={},
        findings=(),
        train_rows=150,
        valid_rows=50,
        test_rows=answered,
        train_tokens=20_000,
        trained_tokens=15_000,
        task="text",
    )


def _trial(number: int, points: int) -> TrialLine:
    plan = {"learning_rate": 1e-4 * 1.1**number, "epochs": 4, "batch_size": 4 + number % 3, "rank": 4 + number % 5}
    return TrialLine(
        id=f"t{number}",
        trunk=f"t{number}",
        plan=plan,
        state="finished",
        failure=None,
        valid_loss=2 + number / 100,
        valid_token_accuracy=0.4,
        valid_sequence_accuracy=0.1,
        tokens=points * 100,
        seconds=points / 10,
        usd=0.0,
    )


def _curve(points: int, chance: random.Random) -> Sequence[CurvePoint]:
    return [
        CurvePoint(
            step=step,
            epoch=4 * step / points,
            train_loss=2 + 2 / (1 + step) + chance.random() / 5,
            valid_loss=2 + 2 / (1 + step) if step % max(1, points // 8) == 0 else None,
            valid_token_accuracy=0.4 if step % max(1, points // 8) == 0 else None,
            valid_sequence_accuracy=0.1 if step % max(1, points // 8) == 0 else None,
        )
        for step in range(1, points + 1)
    ]


def _system(name: str, rows: int) -> SystemLine:
    value = MetricValue(value=2.0, interval=Interval(low=1.9, high=2.1))
    return SystemLine(name=name, metrics={"loss": value, "chrf": value}, rows=rows)


def _evaluation() -> EvaluationPart:
    lines = tuple(
        MetricLine(name=name, title=name, unit="", higher_is_better=name == "chrf", meaning="Made up.")
        for name in ("loss", "chrf")
    )
    return EvaluationPart(
        task="text",
        asked=False,
        primary="loss",
        metrics=lines,
        labels={},
        fields={},
        copying={},
        forgetting=None,
        judged=(),
        failing=(),
    )


def _prediction(row: int, chance: random.Random) -> PredictionLine:
    """Answers of 50 words, as a synopsis has."""
    answers = {name: " ".join(chance.choices(_WORDS, k=50)) for name in _SYSTEMS}
    details = {
        name: AnswerLine(
            samples=(text,),
            tokens=66,
            seconds=0.7 + chance.random(),
            seed=row,
            stop_reason="stop",
            metrics={"loss": 2 + chance.random(), "chrf": 20 * chance.random()},
        )
        for name, text in answers.items()
    }
    expected = " ".join(chance.choices(_WORDS, k=50))
    return PredictionLine(
        source=f"made-up.csv:{row + 2}", prompt=f"Title {row}", expected=expected, answers=answers, details=details
    )


if __name__ == "__main__":
    main()
