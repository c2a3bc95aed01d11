from __future__ import annotations

import math

from fewtune.report.sparkline import loss_range, sparkline

FALLING = [(step / 10, 4.0 - step / 10) for step in range(1, 41)]


def test_a_falling_curve_falls_and_is_as_long_as_it_has_come() -> None:
    whole = sparkline(FALLING, 4.0, 0.0, 4.0, 8)
    assert len(whole) == 8 and sorted(whole, reverse=True) == list(whole) and whole[0] == "█" and whole[-1] == "▁"
    assert sparkline(FALLING[:20], 4.0, 0.0, 4.0, 8) == whole[:4]


def test_heights_of_several_curves_can_be_compared() -> None:
    assert sparkline([(1.0, 1.0)], 1.0, 0.0, 8.0, 1) < sparkline([(1.0, 7.0)], 1.0, 0.0, 8.0, 1)


def test_what_is_no_number_or_missing_or_outside_leaves_a_line_of_bars() -> None:
    points = [(0.5, math.nan), (1.0, 1.0), (4.0, math.inf), (4.0, 99.0)]
    assert sparkline(points, 4.0, 0.0, 2.0, 4) == "▅▅▅█"
    assert sparkline([], 4.0, 0.0, 1.0, 8) == "" and sparkline([(1.0, 3.0)], 1.0, 3.0, 3.0, 1) == "▁"


def test_the_first_towering_losses_do_not_flatten_the_rest() -> None:
    assert loss_range([[(0.1, 900.0)], FALLING]) == (0.0, 3.6)
    assert loss_range([[], [(1.0, math.nan)]]) == (0.0, 1.0)
