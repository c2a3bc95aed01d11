from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.search.refit import keeps_average, refit_plan
from fewtune.types import Plan


@given(st.integers(1, 50), st.integers(1, 500), st.integers(0, 500))
def test_a_refit_has_at_least_the_steps_that_were_tuned_and_no_more_epochs(epochs: int, rows: int, more: int) -> None:
    refit = refit_plan(Plan(learning_rate=1e-3, epochs=epochs), tuned_rows=rows, all_rows=rows + more)
    assert 1 <= refit.epochs <= epochs
    assert refit.epochs * (rows + more) >= epochs * rows
    assert (refit.epochs - 1) * (rows + more) < epochs * rows


def test_a_refit_on_fewer_rows_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least the 10 rows"):
        refit_plan(Plan(learning_rate=1e-3), tuned_rows=10, all_rows=9)


def test_an_average_is_kept_only_if_better_over_all_and_in_most_folds() -> None:
    groups = [0, 0, 1, 1, 2, 2]
    single = [1.0] * 6
    assert keeps_average(single, [0.9] * 6, groups)
    assert not keeps_average(single, [1.0] * 6, groups)
    assert not keeps_average(single, [0.0, 0.0, 1.1, 1.1, 1.1, 1.1], groups)
    assert not keeps_average(single, [0.9, 0.9, 0.9, 0.9, 2.0, 2.0], groups)
