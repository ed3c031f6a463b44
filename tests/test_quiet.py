"""When it counts as proven that nobody can go on, as far as other threads are concerned."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._autopsy.quiet import ENOUGH, Watch
from pytest_concurrency._hang import Hang
from pytest_concurrency._record import kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

tells = pytest.mark.skipif(not kernel.TELLS, reason="the kernel has to tell of threads")


@pytest.fixture
def waiting() -> Iterator[int]:
    """A thread that waits for ever, by its native id."""
    done, ready = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        done.wait()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.wait()
    assert thread.native_id is not None
    yield thread.native_id
    done.set()
    thread.join()


def looks(watch: Watch, most: int = 400) -> set[str]:
    """Return what is seen until it is quiet often enough in a row, or *most* looks have been taken."""
    pause = threading.Event()
    seen, quiet = set(), 0
    for _ in range(most):
        outside = watch.outside()
        seen.add(outside)
        quiet = quiet + 1 if outside == "quiet" else 0
        if quiet == ENOUGH:
            break
        pause.wait(0.002)
    return seen


@tells
@pytest.mark.usefixtures("waiting", "alone")
def test_threads_that_wait_for_ever_are_quiet() -> None:
    assert "quiet" in looks(Watch(Hang))


@tells
@pytest.mark.usefixtures("alone")
def test_one_that_wants_to_run_is_not(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever it belongs to: preempted in the middle of something, it may hold what the others wait for.
    look = kernel.look

    def wants_to(native_id: int) -> kernel.Thread | None:
        found = look(native_id)
        return found._replace(sleeps=False) if found is not None and native_id == waiting else found

    watch = Watch(Hang)
    watch._view._known.update(thread.ident for thread in threading.enumerate() if thread.native_id == waiting)
    monkeypatch.setattr(kernel, "look", wants_to)

    assert "quiet" not in looks(watch, 20)


@tells
@pytest.mark.parametrize(
    ("operation", "limit", "for_ever"),
    [
        pytest.param(0x189, 0, True, id="a lock of the program's"),
        pytest.param(0x189, 0x7F0000000000, False, id="with a time limit"),
        pytest.param(0x109, 0, False, id="shared with other processes"),
    ],
)
def test_which_wait_is_for_ever(monkeypatch: pytest.MonkeyPatch, operation: int, limit: int, *, for_ever: bool) -> None:
    assert _seen(monkeypatch, operation, limit).for_ever is for_ever


@tells
@pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="others do not keep them apart")
def test_a_mutex_of_the_interpreters_own_is_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # Seen on 3.15: a thread that lets go of the GIL waits so for a moment.
    assert _seen(monkeypatch, 0x80, 0).for_ever is False


def _seen(monkeypatch: pytest.MonkeyPatch, operation: int, limit: int) -> kernel.Thread:
    told = {
        "stat": "7 (python) S 1 1",
        "schedstat": "1 2 3",
        "syscall": f"{kernel._FUTEX} 0x7f00 {operation:#x} 0x0 {limit:#x} 0x0 0xffffffff 0x7f 0x7f",
    }
    monkeypatch.setattr(kernel, "_read", lambda native_id, name: told[name])
    found = kernel.look(7)
    assert found is not None
    return found
