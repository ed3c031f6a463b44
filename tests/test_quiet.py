"""When it counts as proven that nobody can go on, as far as other threads are concerned."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._autopsy.lookout import Lookout
from pytest_concurrency._autopsy.quiet import ENOUGH, Watch
from pytest_concurrency._hang import Hang
from pytest_concurrency._record import kernel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

tells = pytest.mark.skipif(not kernel.TELLS, reason="the kernel has to tell of threads")


# By itself: other tests leave threads of libraries behind.
LOOKS = """
import threading
from pytest_concurrency._autopsy.quiet import ENOUGH, Watch
from pytest_concurrency._hang import Hang
from pytest_concurrency._record import kernel

done, ready = threading.Event(), threading.Event()

def wait():
    ready.set()
    done.wait()

thread = threading.Thread(target=wait, daemon=True)
thread.start()
ready.wait()
watch, quiet, pause, look = Watch(Hang), 0, threading.Event(), kernel.look
if {wants_to_run}:
    # None of the test's, and preempted in the middle of something: it may hold what the others wait for.
    watch._view._known.add(thread.ident)
    kernel.look = lambda native_id: look(native_id)._replace(sleeps=native_id != thread.native_id)
for _ in range({most}):
    quiet = quiet + 1 if watch.outside() == "quiet" else 0
    if quiet == ENOUGH:
        break
    pause.wait(0.002)
print(quiet)
"""


@tells
@pytest.mark.parametrize(("wants_to_run", "most", "quiet"), [(False, 20_000, ENOUGH), (True, 20, 0)])
def test_threads_are_quiet_while_all_wait_for_ever(
    run_python: Callable[..., subprocess.CompletedProcess[str]], *, wants_to_run: bool, most: int, quiet: int
) -> None:
    result = run_python(LOOKS.format(wants_to_run=wants_to_run, most=most))

    assert result.stdout == f"{quiet}\n", result.stderr


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


@tells
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="it looks after the main thread")
def test_the_lookout_lets_others_know_first_that_it_goes_on() -> None:
    main, told = threading.get_ident(), []

    def beside() -> Callable[[], None]:
        told.append("it is started" if threading.get_ident() == main else "it waits")
        return lambda: told.append("it goes on" if threading.get_ident() != main else "somebody else does")

    with Lookout(Watch(Hang), beside).looking():
        pass

    # On a busy machine it may have waited several times.
    assert told == ["it is started", "it goes on", *["it waits", "it goes on"] * (len(told) // 2 - 1)]
    assert len(told) >= 4


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
