"""Reports in files and runs side by side, through the command line in real processes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest


def fewtune(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fewtune", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def runs(tmp_path: Path, examples_folder: Path) -> tuple[str, str]:
    """Two runs of the same data, with other learning rates."""
    lines = (examples_folder / "orders.csv").read_text(encoding="utf-8").splitlines()[:41]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    common = ("run", path, "--provider", "fake", "--quiet", "--json", "--epochs", "1", "--learning-rate")
    first, second = (json.loads(fewtune(*common, rate).stdout)["id"] for rate in ("1e-3", "2e-3"))
    return first, second


def test_two_runs_are_shown_side_by_side_written_as_a_page_and_as_json(runs: tuple[str, str], tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    shown = fewtune("compare", *runs, "--html", page)
    assert shown.returncode == 0, shown.stderr
    assert "0.001" in shown.stdout and "0.002" in shown.stdout and str(page) in shown.stdout
    assert all(run in page.read_text(encoding="utf-8") for run in runs)
    document = json.loads(fewtune("compare", *runs, "--json").stdout)
    assert document["schema_version"] == 1 and [run["id"] for run in document["runs"]] == list(runs)
    assert {one["run"] for one in document["differences"]} == {runs[1]}
    assert len(document["predictions"]) == document["runs"][0]["rows"]


BAD = {"one": ("last",), "twice": ("last", "last"), "unknown": ("last", "nobody")}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_compared_is_one_line_and_exit_2(name: str, runs: tuple[str, str]) -> None:
    done = fewtune("compare", *BAD[name])
    assert (done.returncode, done.stdout) == (2, "")
    expected = {"one": "two runs", "twice": "named twice", "unknown": "'nobody'"}[name]
    assert expected in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_answers_and_the_charts_of_a_run_are_written_beside_its_report(
    runs: tuple[str, str], tmp_path: Path
) -> None:
    table, lines, charts = tmp_path / "answers.csv", tmp_path / "answers.jsonl", tmp_path / "charts"
    done = fewtune("report", runs[0], "--predictions", table, "--predictions", lines, "--charts", charts)
    assert done.returncode == 0, done.stderr
    written = [Path(line) for line in done.stdout.splitlines()]
    assert {table, lines, charts / "comparison.svg", charts / "comparison.png"} <= set(written)
    assert all(path.exists() for path in written)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines()))
    assert [row["prompt"] for row in rows] == [json.loads(line)["prompt"] for line in lines.read_text().splitlines()]
    assert fewtune("report", runs[0], "--predictions", tmp_path / "answers.xlsx").returncode == 2
