from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.errors import UsageError
from fewtune.search.axis import FIELDS, parse_axis
from fewtune.search.searchers import GridSearcher, RandomSearcher, Searcher
from fewtune.search.space import Space, space
from fewtune.types import Plan

PLAN = Plan(learning_rate=1e-3, rank=8, alpha=16)


def spanned(**texts: str) -> Space:
    return space(PLAN, {name: parse_axis(FIELDS[name], text) for name, text in texts.items()}, rows=100)


WIDE = spanned(learning_rate="1e-4..3e-3", batch_size="2..32", rank="4..64", epochs="1..12")
SMALL = spanned(learning_rate="1e-4,1e-3,3e-3", batch_size="2,8")


def tpe(found: Space) -> Searcher:
    pytest.importorskip("optuna")
    from fewtune.search.tpe import TpeSearcher

    return TpeSearcher(found, 7)


SEARCHERS: dict[str, Callable[[Space], Searcher]] = {
    "random": lambda found: RandomSearcher(found, 7, even=False),
    "quasi": lambda found: RandomSearcher(found, 7),
    "tpe": tpe,
}


def loss(plan: Plan) -> float:
    return math.log(plan.learning_rate / 7e-4) ** 2 + plan.batch_size / 100


@pytest.mark.parametrize("name", SEARCHERS)
@given(st.integers(0, 16))
@settings(max_examples=5, deadline=None)
def test_a_search_that_goes_on_after_a_kill_asks_for_the_same_candidates(name: str, before: int) -> None:
    through, killed, resumed = (SEARCHERS[name](WIDE) for _ in range(3))
    wanted: list[Plan] = []
    for _ in range(16):
        wanted += through.ask(1)
        through.tell(wanted[-1], loss(wanted[-1]))
    assert len(set(wanted)) == 16
    for _ in range(before):
        killed.tell(killed.ask(1)[0], 1.0)
    for plan in wanted[:before]:
        resumed.tell(plan, None)
    for plan in wanted[:before]:
        resumed.tell(plan, loss(plan))
    for plan in wanted[before:]:
        assert resumed.ask(1) == (plan,)
        resumed.tell(plan, loss(plan))


@pytest.mark.parametrize("name", [*SEARCHERS, "grid"])
def test_a_small_space_is_used_up_without_a_candidate_twice(name: str) -> None:
    searcher = GridSearcher(SMALL) if name == "grid" else SEARCHERS[name](SMALL)
    first = searcher.ask(4)
    for plan in first:
        searcher.tell(plan, loss(plan))
    assert len({*first, *searcher.ask(10)}) == 6 == SMALL.size
    assert searcher.ask(1) == ()


def test_a_grid_of_a_range_is_refused() -> None:
    with pytest.raises(UsageError, match="grid needs lists, and learning_rate has a range"):
        GridSearcher(WIDE)


def test_an_even_search_covers_the_space_better_than_chance() -> None:
    def widest_gap(even: bool) -> float:
        rates = sorted(math.log(plan.learning_rate) for plan in RandomSearcher(WIDE, 3, even=even).ask(40))
        return max(after - before for before, after in pairwise(rates))

    assert widest_gap(even=True) < widest_gap(even=False)


def test_tpe_gathers_where_the_loss_is_low_and_takes_a_failure_for_the_worst() -> None:
    searcher = tpe(WIDE)
    plans: list[Plan] = []
    for _ in range(40):
        plans += searcher.ask(1)
        searcher.tell(plans[-1], math.nan if plans[-1].learning_rate > 2e-3 else loss(plans[-1]))
    early, late = (sum(map(loss, part)) / 10 for part in (plans[:10], plans[-10:]))
    assert late < early / 2


def test_a_candidate_trains_to_the_last_of_the_epochs_and_keeps_the_scale_of_its_adapter() -> None:
    plan = spanned(rank="32", epochs="1..12").plan({"rank": 32.0})
    assert (plan.epochs, plan.alpha / plan.rank) == (12, 2)
    assert spanned(epochs="1..12").epochs == (1, 2, 4, 8, 12)


def test_seeds_are_repeats_and_batches_fit_into_the_data() -> None:
    assert spanned(seed="3,4").seeds == (3, 4)
    with pytest.raises(UsageError, match=r"seeds are repeats.*--seeds 0,1,2"):
        spanned(seed="0..4")
    with pytest.raises(UsageError, match=r"number of training rows.*Use --batch-size 100"):
        spanned(batch_size="8..200")
