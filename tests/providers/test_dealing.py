from __future__ import annotations

from fewtune.providers.dealing import Room, deal

ROOMY = 100


def test_equal_nodes_get_equal_work() -> None:
    rooms = {"a": Room(speed=2, most=ROOMY), "b": Room(speed=2, most=ROOMY)}
    work = {"long": 8.0, "half": 4.0, "quarter": 2.0, "other quarter": 2.0}
    assert deal(work, rooms) == {"a": ("long",), "b": ("half", "quarter", "other quarter")}


def test_a_node_of_three_times_the_speed_gets_three_times_the_work() -> None:
    rooms = {"slow": Room(speed=2, most=ROOMY), "fast": Room(speed=6, most=ROOMY)}
    dealt = deal({str(number): 1.0 for number in range(8)}, rooms)
    assert {node: len(trials) for node, trials in dealt.items()} == {"slow": 2, "fast": 6}


def test_no_node_gets_more_than_it_holds_and_the_rest_waits() -> None:
    rooms = {"small": Room(speed=8, most=1), "other": Room(speed=1, most=2)}
    dealt = deal({str(number): 1.0 for number in range(5)}, rooms)
    assert {node: len(trials) for node, trials in dealt.items()} == {"small": 1, "other": 2}


def test_every_trial_is_dealt_once() -> None:
    rooms = {name: Room(speed=1, most=ROOMY) for name in "abc"}
    work = {str(number): float(number % 4) for number in range(20)}
    assert sorted(trial for trials in deal(work, rooms).values() for trial in trials) == sorted(work)


def test_without_nodes_nothing_is_dealt() -> None:
    assert deal({"a": 1.0}, {}) == {}
