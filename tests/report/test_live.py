from __future__ import annotations

import math
from xml.etree import ElementTree

from fewtune.report.live import LiveCurve, Points, live_curves
from fewtune.report.palette import SERIES

FALLING: Points = tuple((step / 100, 4.0 - step / 100) for step in range(1, 151))


def curve(label: str = "rate 0.002", train: Points = FALLING, valid: Points = ((1.0, 3.2),)) -> LiveCurve:
    return LiveCurve(label=label, train=train, valid=valid)


def texts(svg: str) -> list[str]:
    return [one.text for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("}text") and one.text]


def test_nothing_is_drawn_before_the_first_loss() -> None:
    assert live_curves([], 2) is None
    assert live_curves([curve(train=(), valid=()), curve(train=((0.1, math.inf),), valid=())], 2) is None


def test_the_losses_have_their_unit() -> None:
    assert "loss, nats a token" in texts(live_curves([curve()], 2) or "")


def test_the_axis_is_as_long_as_the_training_will_be_and_counts_whole_epochs() -> None:
    assert texts(live_curves([curve()], 3) or "")[:4] == ["0", "1", "2", "3"]
    assert texts(live_curves([curve()], 40) or "")[:9] == [str(5 * tick) for tick in range(9)]


def test_the_first_five_trials_have_a_colour_and_a_name_and_the_others_are_drawn_too() -> None:
    svg = live_curves([curve(label=f"rate {place}") for place in range(7)], 2) or ""
    assert all(colour in svg for colour in SERIES)
    assert [text for text in texts(svg) if text.startswith("rate")] == [f"rate {place}" for place in range(5)]
    assert svg.count('stroke-width="2.4"') == 7


def test_one_towering_first_loss_does_not_flatten_the_rest() -> None:
    towering = ((0.01, 900.0), *FALLING)
    losses = [float(text) for text in texts(live_curves([curve(train=towering)], 2) or "") if "." in text[:3]]
    assert losses and max(losses) < 100


def test_a_name_is_text_and_never_markup() -> None:
    svg = live_curves([curve(label="<script>alert(1)</script>\x1b")], 2) or ""
    assert "<script" not in svg and "\x1b" not in svg and "script>alert" in "".join(texts(svg))


def test_the_lowest_of_several_validation_losses_has_a_ring() -> None:
    ring = 'stroke="var(--ink, #1d1c1a)"'
    assert ring not in (live_curves([curve()], 2) or "")
    assert (live_curves([curve(), curve(label="other", valid=((1.0, 2.9),))], 2) or "").count(ring) == 1


def test_a_picture_is_cheap_enough_to_be_renewed_all_the_time() -> None:
    curves = [
        curve(label=f"rate {place}", train=tuple((step / 500, 3.0) for step in range(1, 2001))) for place in range(50)
    ]
    svg = live_curves(curves, 4) or ""
    assert len(svg) < 100_000 and max(len(line.split()) for line in svg.split('points="')[1:]) < 60


def test_losses_that_are_all_alike_have_an_axis_that_tells_them_apart() -> None:
    numbers = [
        float(text)
        for text in texts(live_curves([curve(train=((0.5, 2.5),), valid=((1.0, 2.5),))], 1) or "")
        if "." in text[:3]
    ]
    assert len(set(numbers)) == len(numbers) >= 2 and min(numbers) < 2.5 < max(numbers)
