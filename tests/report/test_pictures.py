from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fewtune.errors import UsageError
from fewtune.report import pictures, step_curves
from fewtune.report.summary import Summary


def test_every_chart_is_written_as_svg_and_png(summary: Summary, tmp_path: Path) -> None:
    written = pictures.write_charts(summary, tmp_path / "charts")
    names = {path.stem for path in written}
    assert {"comparison", "curves", "steps", "steps-smoothed", "scatters", "coordinates"} <= names
    assert {path.suffix for path in written} == {".svg", ".png"} and len(written) == 2 * len(names)
    for path in written:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" if path.suffix == ".png" else b"<svg" in path.read_bytes()


def test_a_chart_of_its_own_has_a_size_a_ground_and_colours_of_its_own() -> None:
    path = '<path stroke="var(--ink, #1d1c1a)"/>'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" width="100%" viewBox="0 0 90 40">{path}</svg>'
    svg = pictures.standalone(drawing)
    assert 'width="90"' in svg and 'height="40"' in svg and "#1d1c1a" in svg
    assert re.search(r"<rect[^>]+fill=\"#fdfcfa\"", svg) and "var(" not in svg


def test_a_folder_that_cannot_be_made_is_a_usage_error(bare: Summary, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="charts"):
        pictures.write_charts(bare, tmp_path / "file" / "charts")


def test_no_peak_is_lost_of_many_steps() -> None:
    points = tuple((step, 9.0 if step == 777 else -9.0 if step == 778 else step % 3) for step in range(2000))
    kept = step_curves.extremes(points, 100)
    assert len(kept) <= 100 and {(777, 9.0), (778, -9.0)} <= set(kept)
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert step_curves.extremes(points[:100], 100) == points[:100]


def test_a_moving_mean_keeps_steps_ends_and_the_middle_of_a_line() -> None:
    line = tuple((step, 2.0 * step) for step in range(200))
    smooth = step_curves.moving_mean(line)
    assert [step for step, _ in smooth] == list(range(200))
    assert all(abs(value - 2 * step) < 1e-9 for step, value in smooth)
    flickering = step_curves.moving_mean(tuple((step, (-1.0) ** step) for step in range(200)))
    assert max(abs(value) for _, value in flickering[20:-20]) < 0.2


def test_steps_that_measured_nothing_are_not_drawn(summary: Summary) -> None:
    assert step_curves.step_curves(replace(summary, chosen=None), 880, smooth=True) is None
    blank = {
        name: tuple(
            replace(p, train_loss=None, valid_loss=None, valid_token_accuracy=None, valid_sequence_accuracy=None)
            for p in points
        )
        for name, points in summary.curves.items()
    }
    assert step_curves.step_curves(replace(summary, curves=blank), 880, smooth=True) is None
