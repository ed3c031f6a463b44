"""Who is stuck for ever, and in which circle: from parties written by hand."""

from __future__ import annotations

from pytest_concurrency._hang import Hang, Hold, Party, from_json, to_json
from pytest_concurrency._judge.deadlock import behind, chain, cycle, stuck
from pytest_concurrency._trace import Place


def party(number: int, wait: str = "", *on: int, any_of: bool = False, within: float | None = None) -> Party:
    return Party(number, "task", f"t{number}", wait, on=on, any_of=any_of, within=within)


def names(parties: tuple[Party, ...]) -> list[str]:
    return [each.name for each in parties]


def test_two_that_hold_what_the_other_wants_are_a_circle() -> None:
    hang = Hang((party(1, "task", 2, 3), party(2, "lock", 3), party(3, "lock", 2)))

    assert stuck(hang) == {1, 2, 3}
    assert names(cycle(hang)) == ["t2", "t3"]


def test_a_holder_that_can_go_on_makes_no_deadlock() -> None:
    for holder in (party(2), party(2, "timer"), party(2, "io"), party(2, "get"), party(2, "lock", 1, within=1.0)):
        hang = Hang((party(1, "lock", 2), holder))

        assert not stuck(hang)
        assert not cycle(hang)


def test_one_of_several_holders_of_a_semaphore_is_enough() -> None:
    free = Hang((party(1, "semaphore", 2, 3, any_of=True), party(2, "task", 1), party(3, "timer")))
    none = Hang((party(1, "semaphore", 2, 3, any_of=True), party(2, "task", 1), party(3, "task", 1)))

    assert not stuck(free)
    assert stuck(none) == {1, 2, 3}


def test_one_of_several_awaited_tasks_is_too_few() -> None:
    hang = Hang((party(1, "task", 2, 3), party(2, "task", 1), party(3, "timer")))

    assert stuck(hang) == {1, 2}


def test_whoever_waits_for_itself_is_a_circle_of_one() -> None:
    assert names(cycle(Hang((party(1, "lock", 1),)))) == ["t1"]


def test_a_thread_that_waits_for_its_own_loop_is_a_circle() -> None:
    hang = Hang((party(1, "result", 2), party(2, "turn", 3), party(3, "runs", 1)))

    assert names(cycle(hang)) == ["t1", "t2", "t3"]


def test_of_two_circles_the_one_that_the_body_waits_for_comes_first() -> None:
    hang = Hang((party(1, "lock", 1), party(2, "lock", 3), party(3, "lock", 2), party(4, "task", 2)), root=4)

    assert behind(hang) == {2, 3, 4}
    assert names(cycle(hang)) == ["t2", "t3"]


def test_the_chain_leads_from_the_body_to_what_everything_waits_for() -> None:
    hang = Hang((party(1, "task", 2), party(2, "task", 3, 4), party(3), party(4, "get")), root=1)

    assert names(chain(hang)) == ["t1", "t2", "t4"]
    assert chain(Hang()) == ()


def test_a_hang_goes_to_another_process_and_back() -> None:
    hold = Hold("Lock `a`", Place("/a.py", 3, "f"), sure=False)
    hang = Hang(
        (Party(1, "thread", "MainThread", "lock", "Lock `b`", (2,), place=hold.place, holds=(hold,)),), 1, ("x",)
    )

    assert from_json(to_json(hang)) == hang
