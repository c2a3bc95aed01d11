from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.errors import UsageError
from fewtune.search.budget import Budget, Cost, halving_epochs
from fewtune.search.halving import (
    Decision,
    Halving,
    Rung,
    by_median,
    counted,
    decide,
    forecast,
    rungs_of,
    screened,
    without_pausing,
)
from fewtune.search.reading import Reading

HALVING = Halving(rungs=rungs_of((1, 2, 4, 8)))
SCREENED = screened(HALVING, 0.25, 0.3)
MEDIAN = by_median(8)


def read(candidate: int, epochs: int, score: float, share: float = 1.0) -> Reading:
    return Reading(candidate=candidate, epochs=epochs, score=score, share=share)


def simulated(candidate: int, epochs: int, seed: int) -> float:
    """A curve of some shape for every candidate; one in eight diverges."""
    chance = random.Random(f"{candidate} {seed}")
    speed, turn, broken = chance.uniform(0.2, 2), chance.randint(2, 12), chance.random() < 1 / 8
    noise = random.Random(f"{candidate} {epochs} {seed}").gauss(0, 0.05)
    return math.nan if broken and epochs > turn / 4 else 1 / (1 + speed * epochs) + 0.1 * max(0, epochs - turn) + noise


def run(halving: Halving, candidates: int, seed: int, told: list[Reading], most: int | None = None) -> Decision:
    """Train whom the halving names, an epoch at a time in any order, until it is over or enough was told."""
    chance = random.Random(seed)
    while not (decision := decide(halving, range(candidates), told)).is_over:
        if most is not None and len(told) >= most:
            return decision
        candidate = chance.choice(sorted(decision.advance))
        share = decision.advance[candidate].share
        done = max((one.epochs for one in told if (one.candidate, one.share) == (candidate, share)), default=0)
        told.append(read(candidate, done + 1, simulated(candidate, done + 1, seed) + 1 - share, share))
    return decision


@pytest.mark.parametrize("halving", [HALVING, SCREENED, MEDIAN])
@given(st.integers(1, 20), st.integers(0, 1000), st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_a_halving_killed_anywhere_decides_the_same_and_trains_nothing_twice(
    halving: Halving, candidates: int, seed: int, kill: int
) -> None:
    whole: list[Reading] = []
    through = run(halving, candidates, seed, whole)
    stored: list[Reading] = []
    run(halving, candidates, seed, stored, most=kill)
    random.Random(seed).shuffle(stored)
    assert run(halving, candidates, seed, stored) == through
    key = {(one.candidate, one.epochs, one.share) for one in stored}
    assert len(key) == len(stored)
    assert key == {(one.candidate, one.epochs, one.share) for one in whole}


@pytest.mark.parametrize("halving", [HALVING, SCREENED, MEDIAN])
@given(st.integers(1, 20), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_every_candidate_has_one_fate_and_the_cost_stays_below_what_was_announced(
    halving: Halving, candidates: int, seed: int
) -> None:
    told: list[Reading] = []
    fates = run(halving, candidates, seed, told).fates
    assert sorted(fate.candidate for fate in fates) == list(range(candidates))
    assert sum(0.3 if one.share < 1 else 1 for one in told) <= halving_epochs(halving, candidates)
    last = [fate for fate in fates if fate.reason == "finished"]
    assert halving is MEDIAN or len(last) <= max(2, math.ceil(candidates / 8) + 2)


def test_what_was_trained_on_a_share_of_the_rows_is_no_part_of_a_curve_on_all_of_them() -> None:
    shares = [read(candidate, 1, candidate / 10, 0.25) for candidate in range(4)]
    decision = decide(SCREENED, range(4), shares)
    assert decision.advance == {0: Rung(epochs=1), 1: Rung(epochs=1)}
    assert [(fate.candidate, fate.reason) for fate in decision.fates] == [(2, "dropped"), (3, "dropped")]
    on_all = [read(0, 1, 0.5), read(1, 1, 0.4)]
    assert decide(SCREENED, range(4), [*shares, *on_all]).advance == {0: Rung(epochs=2), 1: Rung(epochs=2)}
    assert counted(SCREENED, [*shares, *on_all]) == tuple(on_all)


def test_on_all_rows_a_candidate_that_failed_on_a_share_is_not_tried() -> None:
    told = [read(0, 1, math.nan, 0.25), read(1, 1, 1.0, 0.25), read(2, 1, 1.1, 0.25)]
    decision = decide(SCREENED, range(3), told)
    assert sorted(decision.advance) == [1, 2]
    assert [(fate.candidate, fate.reason) for fate in decision.fates] == [(0, "failed")]


def test_the_median_rule_drops_the_slow_half_only_where_enough_others_have_come_as_far() -> None:
    told = [read(candidate, 1, candidate / 10) for candidate in range(5)]
    assert sorted(decide(MEDIAN, range(5), told).advance) == [0, 1, 2]
    assert sorted(decide(MEDIAN, range(4), told[:4]).advance) == [0, 1, 2, 3]
    assert decide(MEDIAN, range(6), told).advance == {5: Rung(epochs=1)}


@given(st.integers(2, 12), st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=30)
def test_a_training_that_stops_late_decides_nothing(candidates: int, seed: int, late: int) -> None:
    told: list[Reading] = []
    through = run(HALVING, candidates, seed, told)
    beyond = [
        read(fate.candidate, fate.epochs + more, -9.0)
        for fate in through.fates
        if fate.reason == "turned"
        for more in range(1, late + 1)
    ]
    assert decide(HALVING, range(candidates), [*told, *beyond]) == through
    assert set(counted(HALVING, [*told, *beyond])) == set(told)


def test_the_better_half_goes_on_and_the_rest_is_dropped() -> None:
    told = [read(candidate, 1, candidate / 10) for candidate in range(4)]
    decision = decide(HALVING, range(4), told)
    assert decision.advance == {0: Rung(epochs=2), 1: Rung(epochs=2)}
    assert [(fate.candidate, fate.reason) for fate in decision.fates] == [(2, "dropped"), (3, "dropped")]


def test_nobody_goes_on_before_all_have_come() -> None:
    told = [read(candidate, 1, candidate / 10) for candidate in range(3)]
    assert decide(HALVING, range(4), told).advance == {3: Rung(epochs=1)}


def test_what_still_falls_fast_is_preferred_to_what_has_levelled_out() -> None:
    level, falling = [read(0, 1, 1.0), read(0, 2, 0.9)], [read(1, 1, 1.6), read(1, 2, 1.1)]
    assert forecast(falling, (1, 2)) < forecast(level, (1, 2)) < 0.9
    assert forecast([read(0, 1, 1.0), read(0, 2, 1.2)], (1, 2)) == 1.2


def test_a_curve_that_has_turned_is_trained_no_further_and_one_that_failed_neither() -> None:
    turned = [read(0, epochs, score) for epochs, score in ((1, 1.0), (2, 0.8), (3, 0.9), (4, 1.0))]
    falling = [read(1, epochs, 1.2 - epochs / 10) for epochs in range(1, 5)]
    failed = [read(2, 1, math.nan)]
    decision = decide(HALVING, range(3), [*turned, *falling, *failed])
    assert decision.advance == {1: Rung(epochs=8)}
    assert {fate.candidate: fate.reason for fate in decision.fates} == {0: "turned", 2: "failed"}


def test_a_provider_that_cannot_pause_trains_everyone_to_the_end_and_says_so() -> None:
    halving, note = without_pausing(HALVING)
    assert "cannot pause" in note
    assert decide(halving, range(3), []).advance == dict.fromkeys(range(3), Rung(epochs=8))
    assert Budget(tokens=100).exceeded_by(Cost(tokens=halving_epochs(halving, 3))) is None


@pytest.mark.parametrize(
    "rungs",
    [
        (),
        (Rung(epochs=2), Rung(epochs=2)),
        (Rung(epochs=2), Rung(epochs=1)),
        (Rung(epochs=1), Rung(epochs=2, share=0.5)),
    ],
)
def test_rungs_that_do_not_rise_are_refused(rungs: tuple[Rung, ...]) -> None:
    with pytest.raises(UsageError):
        Halving(rungs=rungs)
