"""What a thread did between two readings of its clocks: it was blocked only if it went to sleep."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pytest_concurrency._blocking.clocks import Reading, Spent, ThreadClocks, between

BEGUN = Reading(wall=10.0, cpu=1.0, user=0.5, queued=2.0, process=5.0, sleeps=7)


def test_what_is_neither_computing_nor_queueing_is_blocked() -> None:
    spent = between(BEGUN, BEGUN._replace(wall=10.5, cpu=1.125, user=0.5, queued=2.125, sleeps=8))

    assert (spent.blocked, spent.own, spent.outside) == (0.25, 0.375, 0.375)


def test_time_that_a_host_took_away_is_not_blocked() -> None:
    """The thread never slept of its own accord: the processor was there for somebody else."""
    spent = between(BEGUN, BEGUN._replace(wall=10.5, cpu=1.125, user=0.5, queued=2.125))

    assert (spent.blocked, spent.own, spent.outside) == (0.0, 0.125, 0.125)


def test_where_nobody_counts_sleeps_the_clocks_alone_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_concurrency._blocking.clocks._counts_sleeps", lambda: False)
    clocks = ThreadClocks()

    assert between(clocks.read(), clocks.read()).sleeps == 1


def test_who_waits_while_others_compute_waits_for_the_gil() -> None:
    assert Spent(wall=0.03, cpu=0.0, user=0.0, queued=0.0, process=0.03).waited == 0.0
    assert Spent(wall=0.03, cpu=0.0, user=0.0, queued=0.0, process=0.0).waited == 0.03


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="this system does not show other threads' clocks")
def test_a_thread_that_is_asleep_when_it_is_looked_at_has_rested_when_it_wakes() -> None:
    clocks = ThreadClocks()
    asleep, wake = threading.Event(), threading.Lock()
    wake.acquire()
    native: list[int] = []
    after: list[Reading] = []

    def sleeper() -> None:
        native.append(threading.get_native_id())
        asleep.set()
        wake.acquire()
        after.append(clocks.read())

    thread = threading.Thread(target=sleeper)
    thread.start()
    asleep.wait()
    while not _is_asleep(native[0]):
        time.sleep(0.001)
    before = clocks.read_of(native[0])
    wake.release()
    thread.join()

    assert before is not None
    assert between(before, after[0]).sleeps


def _is_asleep(native: int) -> bool:
    with open(f"/proc/self/task/{native}/status") as file:
        return "\nState:\tS" in file.read()
