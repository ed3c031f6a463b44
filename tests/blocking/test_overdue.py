"""What an overdue turn was spent on: a pure function of clocks and samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._blocking.clocks import Reading, Spent
from pytest_concurrency._blocking.frames import Site
from pytest_concurrency._blocking.overdue import UNTOLD, Sample, called, explain, kernel_kind, where
from pytest_concurrency._settings import KINDS
from pytest_concurrency._trace import Place

if TYPE_CHECKING:
    from collections.abc import Container

LINE = Place("app.py", 3, "work")
OTHER = Place("app.py", 9, "other")


def sample(*, step: object = "one", kernel: str = "", cpu: float = 0.0, others: int = 0, place: Place = LINE) -> Sample:
    return Sample(
        reading=Reading(0.0, cpu, cpu, 0.0),
        step=step,
        others=others,
        site=Site(place, (place,), "", (), ()),
        kernel=kernel,
        task=None,
        allowed=None,
    )


def spent(*, wall: float, cpu: float = 0.0, queued: float = 0.0, others: float = 0.0) -> Spent:
    return Spent(wall, cpu, cpu, queued, cpu + others)


def explained(
    turn: Spent, samples: list[Sample], named: float = 0.0, named_open: Container[str] = ()
) -> list[tuple[str, float]]:
    return [(late.kind, round(late.seconds, 6)) for late in explain(turn, samples, named, named_open, 0.1)]


def test_computing_counts_from_the_threshold_on() -> None:
    assert explained(spent(wall=0.2, cpu=0.2), [sample()] * 5) == [("cpu", 0.2)]
    assert explained(spent(wall=0.09, cpu=0.09), [sample()] * 5) == []


def test_waiting_for_a_processor_counts_for_nothing() -> None:
    assert explained(spent(wall=2.0, cpu=0.05, queued=1.95), [sample()] * 5) == []


def test_of_a_turn_whose_ends_are_not_told_only_what_was_seen_counts() -> None:
    def seen(samples: list[Sample]) -> list[float]:
        turn = spent(wall=0.5, cpu=0.5)
        return [round(late.seconds, 6) for late in explain(turn, samples, 0.0, (), 0.1, told=False)]

    assert seen([sample(cpu=number / 100) for number in range(16)]) == [0.15]
    assert seen([sample(cpu=number / 100) for number in range(3)]) == []
    assert seen([sample()]) == []


def test_a_wait_that_keeps_the_gil_is_seen_when_it_is_over() -> None:
    def asleep(*, sleeps: float = 1, others: float = 0.0, blocked: float = 0.2) -> list[tuple[str, float]]:
        turn = spent(wall=blocked + 0.001, cpu=0.001, others=others)._replace(sleeps=sleeps)
        return explained(turn, [sample()._replace(held=0.2)])

    assert asleep() == [("wait", 0.2)]
    # A thread that waits for the GIL asks for it every few milliseconds; so does one beside others that compute.
    assert asleep(sleeps=40) == []
    assert asleep(others=0.15) == []
    # A pause of the machine: the thread never went to sleep.
    assert asleep(sleeps=0) == []
    assert asleep(blocked=0.05) == []


def test_many_short_steps_are_nobodys_fault() -> None:
    samples = [sample(step=n, cpu=n / 100, others=500) for n in range(30)]

    assert explained(spent(wall=0.3, cpu=0.3), samples) == []


def test_one_look_at_a_turn_of_many_steps_is_not_enough() -> None:
    assert explained(spent(wall=0.3, cpu=0.3), [sample(others=500)]) == []
    assert explained(spent(wall=0.3, cpu=0.3), [sample(others=1)]) == [("cpu", 0.3)]


def test_the_long_step_among_short_ones_is_found() -> None:
    short = [sample(step=n, cpu=n / 100, others=500, place=OTHER) for n in range(5)]
    long = [sample(step="long", cpu=0.05 + n / 100, others=500) for n in range(20)]

    (late,) = explain(spent(wall=0.3, cpu=0.3), short + long, 0.0, (), 0.1)

    assert (late.kind, round(late.seconds, 2), late.sample.site.place) == ("cpu", 0.19, LINE)


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("hrtimer_nanosleep", "sleep"),
        ("futex_do_wait", "lock"),
        ("unix_stream_read_generic", "socket"),
        ("poll_schedule_timeout.constprop.0", "socket"),
        ("do_wait", "subprocess"),
        ("anon_pipe_read", "input"),
        ("something_new", "wait"),
        ("", ""),
    ],
)
def test_kernel_waits_have_kinds(kernel: str, kind: str) -> None:
    assert kernel_kind(kernel) == kind


def test_a_wait_that_the_kernel_names_counts_as_soon_as_it_is_sure() -> None:
    assert explained(spent(wall=0.02), [sample(kernel="unix_stream_read_generic")]) == [("socket", 0.02)]
    assert explained(spent(wall=0.012), [sample(kernel="unix_stream_read_generic")]) == []


def test_a_wait_for_nobody_knows_what_counts_from_the_threshold_on() -> None:
    assert explained(spent(wall=0.05), [sample(kernel="something_new")]) == []
    assert explained(spent(wall=0.15), [sample(kernel="something_new")]) == [("wait", 0.15)]


def test_waiting_for_the_gil_is_not_a_lock() -> None:
    assert explained(spent(wall=0.3, others=0.3), [sample(kernel="futex_do_wait")] * 9) == []
    assert explained(spent(wall=0.3, others=0.01), [sample(kernel="futex_do_wait")] * 9) == [("lock", 0.29)]


def test_where_nobody_names_waits_clocks_and_looks_decide() -> None:
    def untold(looks: int, *, cpu: float = 0.001, others: float = 0.0, named: float = 0.0) -> list[tuple[str, float]]:
        return explained(spent(wall=0.3, cpu=cpu, others=others), [sample(kernel=UNTOLD)] * looks, named)

    assert untold(50) == [("wait", 0.299)]
    # Stopped, or kept from running together with whoever looks.
    assert untold(5) == []
    # Computing on a busy machine.
    assert untold(50, cpu=0.05) == []
    # Waiting for the GIL.
    assert untold(50, others=0.25) == []
    assert untold(50, named=0.25) == []
    assert explained(spent(wall=0.09), [sample(kernel=UNTOLD)] * 50) == []


def test_where_nobody_tells_what_another_thread_computed_the_looks_share_it() -> None:
    turn = spent(wall=0.3, cpu=0.3)
    first, second = sample(step="one", kernel=UNTOLD), sample(step="two", kernel=UNTOLD, place=OTHER)

    assert explained(turn, [*[first] * 20, *[second] * 10]) == [("cpu", 0.2)]
    assert explained(turn, [*[first] * 10, *[second] * 10, *[sample(step=n, kernel=UNTOLD) for n in range(20)]]) == []


def test_no_more_was_waited_than_was_seen() -> None:
    """The rest was taken by the host of a virtual machine: it is on no clock."""
    seen = [sample()] * 18 + [sample(kernel="unix_stream_read_generic")] * 2

    assert explained(spent(wall=0.1, cpu=0.04), seen) == [("socket", 0.015)]
    assert explained(spent(wall=0.09, cpu=0.04), seen) == []


def test_what_a_named_call_accounts_for_is_not_reported_twice() -> None:
    asleep = [sample(kernel="hrtimer_nanosleep")] * 9

    assert explained(spent(wall=0.3), asleep, named=0.3) == []
    assert explained(spent(wall=0.3), asleep, named_open=KINDS) == []


def test_a_sleep_may_last_longer_than_it_says() -> None:
    asleep = [sample(kernel="hrtimer_nanosleep")] * 5

    assert explained(spent(wall=0.3), asleep, named=0.05) == [("sleep", 0.25)]
    assert explained(spent(wall=0.3), asleep, named=0.05, named_open={"sleep"}) == []


def test_a_stopped_process_is_innocent() -> None:
    # Nobody looked while it was stopped, and nothing in it slept.
    assert explained(spent(wall=5.0, cpu=0.01), [sample()]) == []


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("lock.acquire()", "lock.acquire"),
        ("queue.SimpleQueue().get(timeout=f(1))", "queue.SimpleQueue().get"),
        ("x + y", "x + y"),
        ("", ""),
    ],
)
def test_the_name_of_what_an_expression_calls(expression: str, name: str) -> None:
    assert called(expression) == name


def test_where_the_time_went_is_told_by_lines() -> None:
    assert where([sample()] * 3) == ""
    assert (
        where([sample()] * 3 + [sample(place=OTHER)] + [sample(kernel="futex")]) == "75 % at app.py:3, 25 % at app.py:9"
    )


def test_the_line_is_the_one_that_computed_and_not_the_one_that_was_seen_most() -> None:
    def line_of(turn: Spent, samples: list[Sample]) -> int:
        (late,) = explain(turn, samples, 0.0, (), 0.1)
        return late.sample.site.place.line

    # It kept the GIL, and nobody could look; then the thread was kept from running at another line.
    kept = [sample(cpu=0.45), *[sample(cpu=0.451, place=OTHER)] * 3]
    assert line_of(spent(wall=0.6, cpu=0.451, queued=0.1), kept) == LINE.line
    # The same at the turn's end.
    before = [*[sample(cpu=0.01, place=OTHER)] * 3, sample(cpu=0.45)]
    assert line_of(spent(wall=0.6, cpu=0.451, queued=0.1), before) == LINE.line
    # Nobody tells what another thread has computed.
    assert line_of(spent(wall=0.6, cpu=0.451), [sample(), *[sample(place=OTHER)] * 3]) == OTHER.line


def test_a_call_that_kept_the_gil_is_one_step_among_many() -> None:
    looks = [sample(others=500), sample(step="two", others=300, place=OTHER)]
    kept = [looks[0], looks[1]._replace(held=0.2)]

    assert explained(spent(wall=0.3, cpu=0.3), looks) == []
    assert explained(spent(wall=0.3, cpu=0.3), kept) == [("cpu", 0.2)]


def test_who_never_went_to_sleep_was_not_blocked() -> None:
    assert Spent(1.0, 0.2, 0.1, 0.0, sleeps=3).blocked == 0.8
    assert Spent(1.0, 0.2, 0.1, 0.0, sleeps=0).blocked == 0.0
    assert Spent(1.0, 0.2, 0.1, 0.0, sleeps=0).outside == pytest.approx(0.1)
    assert Spent(1.0, 0.2, 0.1, 0.0, process=0.7, sleeps=3).waited == pytest.approx(0.3)
