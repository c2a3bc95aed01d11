from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from fewtune.errors import InterruptedByUser
from fewtune.experiment.interruption import watching


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_without_ctrl_c_nothing_is_asked() -> None:
    with watching() as interruption:
        interruption.check()
        assert not interruption.requested


def test_the_first_ctrl_c_only_asks_and_the_next_check_stops() -> None:
    with watching() as interruption:
        ctrl_c()
        assert interruption.requested
        with pytest.raises(InterruptedByUser) as caught:
            interruption.check()
    assert caught.value.exit_code == 130


def test_the_second_ctrl_c_ends_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), watching():
        ctrl_c()
        ctrl_c()


@pytest.mark.parametrize("times", [0, 1])
def test_afterwards_ctrl_c_does_what_it_did_before(times: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    with watching():
        for _ in range(times):
            ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()


def test_ctrl_c_is_given_back_after_an_error_too() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), watching():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_where_no_signal_can_be_caught_it_is_simply_never_asked() -> None:
    def work() -> bool:
        with watching() as interruption:
            interruption.check()
            return interruption.requested

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(work).result() is False
