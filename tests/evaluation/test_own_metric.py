from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fewtune
from fewtune.errors import UsageError
from fewtune.evaluation.metric import Column, Row
from fewtune.evaluation.own_metric import load, own_metric

ROWS = [Row(answer="aa", expected="a"), Row(answer="b", expected="b"), Row(answer="", expected="c")]


@fewtune.metric(binary=True, meaning="As long as expected.")
def same_length(answer: str, expected: str) -> bool:
    return len(answer) == len(expected)


def column(function: Callable[..., object]) -> Column:
    return own_metric(function, "here:function").column(ROWS)


def test_a_decorated_function_is_a_metric_and_still_the_function() -> None:
    metric = own_metric(same_length, "here:same_length")
    assert same_length("a", "b")
    assert (metric.name, metric.binary, metric.unit, metric.own) == ("same_length", True, "share", True)
    assert metric.meaning == "As long as expected."
    assert metric.column(ROWS).values == (0, 1, 0)


def test_attributes_do_without_the_decorator() -> None:
    def errors(answer: str, expected: str) -> float:
        """Letters too many or too few.

        Not shown.
        """
        return abs(len(answer) - len(expected))

    errors.higher_is_better = False  # type: ignore[attr-defined]
    metric = own_metric(errors, "here:errors")
    assert (metric.higher_is_better, metric.meaning) == (False, "Letters too many or too few.")


def raises_on_empty(answer: str, expected: str) -> float:
    return 1 / len(answer)


@fewtune.metric(binary=True)
def half(answer: str, expected: str) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("function", "failures", "reason"),
    [
        (raises_on_empty, 1, "raised ZeroDivisionError: division by zero"),
        (lambda answer, expected: math.nan, 3, "gave NaN"),
        (lambda answer, expected: math.inf, 3, "gave a number that is not finite"),
        (lambda answer, expected: [1.0, 2.0], 3, "gave list instead of a number"),
        (lambda answer, expected: np.ones(2), 3, "gave ndarray instead of a number"),
        (lambda answer, expected: None, 3, "gave NoneType instead of a number"),
        (lambda answer, expected: sys.exit(3), 3, "raised SystemExit: 3"),
        (half, 3, "is declared binary and gave 0.5"),
    ],
)
def test_what_goes_wrong_on_a_row_is_counted_with_its_reason(
    function: Callable[..., object], failures: int, reason: str
) -> None:
    found = column(function)
    assert (found.failures, found.reason) == (failures, reason)
    assert sum(value is None for value in found.values) == failures


@pytest.mark.parametrize("value", [1, 1.0, True, np.float32(1), np.int64(1), np.bool_(True)])
def test_any_kind_of_number_will_do(value: object) -> None:
    assert column(lambda answer, expected: value).values == (1, 1, 1)


def test_a_function_of_one_text_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        own_metric(len, "builtins:len")
    with pytest.raises(UsageError, match="no function"):
        own_metric(3, "here:three")


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def is_short(answer, expected):\n    return len(answer) < 2\n", encoding="utf-8")
    assert own_metric(load(f"{path}:is_short"), "x").column(ROWS).values == (0, 1, 1)


def test_a_file_that_was_mended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    for wanted in (1, 22):
        path.write_text(f"def same(answer, expected):\n    return {wanted}\n", encoding="utf-8")
        assert own_metric(load(f"{path}:same"), "x").column(ROWS).values == (wanted,) * 3


def test_a_module_is_imported() -> None:
    assert load("math:hypot") is math.hypot


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nowhere_at_all:f", "ModuleNotFoundError"),
        ("math:nothing", "no 'nothing'"),
        ("not/there.py:f", "no file"),
        ("unknown_entry", "no metric 'unknown_entry'"),
    ],
)
def test_what_cannot_be_found_is_refused(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(spec)


def test_a_file_that_breaks_when_it_is_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("import nothing_like_it\n", encoding="utf-8")
    with pytest.raises(UsageError, match="nothing_like_it"):
        load(f"{path}:f")


def test_an_installed_package_brings_its_metrics_as_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brought.py").write_text("def always(answer, expected):\n    return 1\n", encoding="utf-8")
    info = tmp_path / "brought-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[fewtune.metrics]\nalways_right = brought:always\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert own_metric(load("always_right"), "always_right").column(ROWS).values == (1, 1, 1)
