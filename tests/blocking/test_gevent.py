"""What keeps a hub of gevent's from running other greenlets is found; what only waits in the hub is not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("gevent", reason="gevent is not installed")

HEAD = """
import queue
import re
import selectors
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import gevent
import gevent.event
import gevent.lock
import gevent.queue
import gevent.socket
import gevent.subprocess
import pytest
import pytest_concurrency

def run(*functions):
    gevent.joinall([gevent.spawn(function) for function in functions], raise_error=True)

def compute(seconds):
    begun = time.thread_time()
    while time.thread_time() - begun < seconds:
        pass
"""
BLOCKING = """
def test_sleep():
    def one():
        time.sleep(0.001)  # sleep
    run(one)

def test_greenlet_of_a_function_in_c():
    gevent.spawn(time.sleep, 0.001).join()  # c

def test_lock():
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.1, lock.release).start()
    def one():
        lock.acquire()  # lock
    run(one)

def test_event():
    event = threading.Event()
    threading.Timer(0.05, event.set).start()
    def one():
        event.wait()  # event
    run(one)

def test_queue():
    numbers = queue.Queue()
    threading.Timer(0.05, numbers.put, (1,)).start()
    def one():
        numbers.get()  # queue
    run(one)

def test_socket():
    here, there = socket.socketpair()
    threading.Timer(0.05, there.send, (b"x",)).start()
    def one():
        here.recv(1)  # socket
    with here, there:
        run(one)

def test_subprocess():
    def one():
        subprocess.run(["true"])  # subprocess
    run(one)

def test_cpu():
    def one():
        compute(0.3)  # cpu
    run(one)

def test_cpu_after_the_thread_itself_was_busy():
    compute(0.05)
    def one():
        compute(0.3)  # later
    run(one)

def test_callback_of_the_hub():
    gevent.get_hub().loop.run_callback(lambda: time.sleep(0.001))  # callback
    gevent.sleep(0.001)

def test_hub_of_another_thread():
    def one():
        time.sleep(0.001)  # thread
    thread = threading.Thread(target=run, args=(one,))
    thread.start()
    thread.join()

def test_the_thread_itself_while_another_is_ready():
    greenlet = gevent.spawn(gevent.sleep, 0)
    time.sleep(0.001)  # ready
    greenlet.join()
"""
# Name -> what the warning says: the call, and what to use in its place.
FOUND = {
    "sleep": ("time.sleep", "gevent.sleep(...)"),
    "c": ("time.sleep", "gevent.sleep(...)"),
    "lock": ("lock.acquire", "gevent.lock.RLock, gevent.lock.Semaphore"),
    "event": ("threading.Event.wait", "gevent.event.Event"),
    "queue": ("queue.Queue.get", "gevent.queue.Queue"),
    "socket": ("socket.socket.recv", "gevent.socket, or gevent.monkey.patch_all() before anything else"),
    "subprocess": ("subprocess.run", "gevent.subprocess"),
    "callback": ("time.sleep", "gevent.sleep(...)"),
    "thread": ("time.sleep", "gevent.sleep(...)"),
    "ready": ("time.sleep", "gevent.sleep(...)"),
}
INNOCENT = """
@pytest.mark.must_not_block
def test_what_gevent_has_for_it():
    here, there = gevent.socket.socketpair()
    event, lock, numbers = gevent.event.Event(), gevent.lock.RLock(), gevent.queue.Queue()
    def one():
        here.recv(1)
        event.wait()
        with lock:
            numbers.get()
    def other():
        with lock:
            there.send(b"x")
            gevent.sleep(0.02)
            event.set()
        gevent.subprocess.run(["sleep", "0.02"])
        gevent.socket.getaddrinfo("localhost", 80)
        gevent.get_hub().threadpool.apply(time.sleep, (0.02,))
        numbers.put(1)
    run(one, other)
    here.close()
    there.close()

@pytest.mark.must_not_block
def test_many_short_steps():
    run(*[lambda: compute(0.008)] * 30)

@pytest.mark.must_not_block
def test_the_thread_itself_while_nobody_is_ready():
    run(lambda: gevent.sleep(0.001))
    time.sleep(0.05)
    compute(0.15)
    run(lambda: gevent.sleep(0.001))

@pytest.mark.must_not_block
def test_allowed():
    def one():
        with pytest_concurrency.allow_blocking("to see that it may"):
            time.sleep(0.02)
            compute(0.15)
    run(one)

@pytest.mark.must_not_block
def test_small_files():
    def one():
        for _ in range(3):
            with open(__file__) as file:
                file.read()
    run(one)
    time.sleep(0.15)
"""
PATCHED = """
@pytest.mark.must_not_block
def test_a_patched_process():
    assert gevent.monkey.is_module_patched("threading")
    event, condition, numbers = threading.Event(), threading.Condition(), queue.Queue()
    here, there = socket.socketpair()
    server = socket.create_server(("127.0.0.1", 0))
    def threads():
        thread = threading.Thread(target=time.sleep, args=(0.02,))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as executor:
            executor.submit(time.sleep, 0.02).result()
    def locks():
        event.wait()
        with condition:
            condition.wait(0.02)
        numbers.get()
    def sockets():
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b"x"
        with selectors.DefaultSelector() as selector:
            selector.register(here, selectors.EVENT_READ)
            selector.select(0.02)
    def others():
        time.sleep(0.02)
        event.set()
        with socket.create_connection(("localhost", server.getsockname()[1])) as connection:
            connection.sendall(b"x")
        subprocess.run(["sleep", "0.02"])
        numbers.put(1)
    run(threads, locks, sockets, others)
    time.sleep(0.02)
    for each in (here, there, server):
        each.close()

def test_what_still_blocks_in_a_patched_process():
    real = gevent.monkey.get_original("time", "sleep")
    run(lambda: real(0.05), lambda: compute(0.3))
"""


def lines(source: str) -> dict[str, str]:
    """Return `file:line` of each line that carries the comment `# name`."""
    numbered = enumerate(source.strip().splitlines(), start=1)
    return {text.rpartition("  # ")[2]: f"test_it.py:{number}" for number, text in numbered if "  # " in text}


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are written for POSIX")
def test_what_blocks_the_hub_is_found_with_its_line_and_what_to_use(suite: Callable[..., pytest.RunResult]) -> None:
    at = lines(HEAD + BLOCKING)

    result = suite(HEAD + BLOCKING, "-W", "ignore", "-W", "default::pytest_concurrency.BlockingCallWarning")

    assert result.parseoutcomes()["passed"] == 12
    text = "\n".join(result.outlines)
    for name, (call, instead) in FOUND.items():
        warning = text.partition(f"{at[name]}: BlockingCallWarning: {call} blocked the gevent event loop in ")[2]
        assert warning, (name, text)
        assert f"\n    instead: {instead}\n" in warning.partition("BlockingCallWarning")[0], (name, text)
    # One line of a helper's, in two tests: pytest shows it once where it was in the same of its calls.
    for name in ("test_cpu", "test_cpu_after_the_thread_itself_was_busy"):
        assert f"\ntest_it.py::{name}\n" in text
    assert " blocked the gevent event loop in compute\n" in text
    assert "instead: gevent.get_hub().threadpool.apply(...), or a process pool for pure Python\n" in text


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are written for POSIX")
def test_what_keeps_nobody_waiting_is_not_reported(suite: Callable[..., pytest.RunResult]) -> None:
    # gevent forks in Python, of which the interpreter warns beside a thread: there must be none of ours.
    suite(HEAD + INNOCENT, "-p", "no:asyncio", "-W", "error::DeprecationWarning").assert_outcomes(passed=5)


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are written for POSIX")
@pytest.mark.parametrize("patches", ["first", "in the conftest"])
def test_a_patched_process_reports_nothing_of_cooperative_calls(
    patches: str, suite: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    # Before pytest is imported, as `python -m gevent.monkey --module pytest` does; or as its first plugin is.
    if patches == "first":
        pytester.makepyfile(patching="from gevent import monkey\nmonkey.patch_all()\n")
        args = ("-p", "patching")
    else:
        pytester.makeconftest("from gevent import monkey\nmonkey.patch_all()\n")
        args = ()

    result = suite(
        HEAD + PATCHED,
        *args,
        "-p",
        "no:asyncio",
        "-W",
        "ignore",
        "-W",
        "default::pytest_concurrency.BlockingCallWarning",
    )

    result.assert_outcomes(passed=2, warnings=2)
    result.stdout.fnmatch_lines_random(
        [
            "*BlockingCallWarning: * blocked the gevent event loop in test_what_still_blocks_in_a_patched_process*",
            "*BlockingCallWarning: * blocked the gevent event loop in compute",
        ]
    )


def test_what_gevent_has_put_in_place_stays(suite: Callable[..., pytest.RunResult], pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from gevent import monkey\nmonkey.patch_all()\n")

    result = suite(
        """
        import gevent, select, socket, threading

        def test_it():
            gevent.joinall([gevent.spawn(gevent.sleep, 0.001)], raise_error=True)
            for method in (socket.socket.send, socket.socket.recv, socket.socket.sendall):
                assert method.__module__.startswith("gevent"), method
                assert not hasattr(method, "__pytest_concurrency_bare__")
            mine, other = socket.socketpair()
            with mine, other:
                mine.send(b"x", timeout=1)
                assert other.recv(1) == b"x"
        """,
        "-p",
        "no:asyncio",
    )

    result.assert_outcomes(passed=1)


def test_a_failure_names_the_greenlet(suite: Callable[..., pytest.RunResult]) -> None:
    code = """
import gevent
import time
def test_it():
    def one():
        time.sleep(0.001)
    greenlet = gevent.spawn(one)
    greenlet.name = "the one"
    greenlet.join()
"""

    result = suite(code, "--blocking=fail")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "time.sleep blocked the event loop for * ms at test_it.py:5",
            "  time.sleep (sleep, * ms)",
            "    with: 0.001 s",
            "    at test_it.py:5 in test_it.<locals>.one",
            "    on gevent, in greenlet the one",
            "    instead: gevent.sleep(...)",
        ]
    )


def test_a_call_is_stopped_before_it_blocks_the_hub(suite: Callable[..., pytest.RunResult]) -> None:
    code = """
import gevent
import pytest
import time

def test_it():
    gevent.spawn(time.sleep, 60).get()

@pytest.mark.must_not_block
def test_a_hub_that_does_nothing_is_no_loop():
    pass
"""

    result = suite(code, "--blocking=raise")

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *BlockingCallError: time.sleep (60 s) would block the gevent event loop; use gevent.sleep(...)",
            "@pytest.mark.must_not_block(): no event loop ran in this test, so *",
        ]
    )


def test_nothing_is_left_in_the_hub(suite: Callable[..., pytest.RunResult]) -> None:
    code = """
import gc
import gevent
import sys
from gevent.hub import Hub
import pytest_concurrency

def watchers():
    loop = gevent.get_hub().loop
    return sorted(type(each).__name__ for each in gc.get_objects() if isinstance(each, loop.WatcherType) if each.active)

def test_it():
    made, there = Hub.__init__, watchers()
    with pytest_concurrency.record() as concurrency:
        assert Hub.__init__ is not made
        gevent.spawn(gevent.sleep, 0.001).join()
    assert Hub.__init__ is made
    gevent.sleep(0.001)
    assert watchers() == there
    assert gevent.get_hub().loop.activecnt == 0
"""

    suite(code, "-p", "no:asyncio").assert_outcomes(passed=1)
    suite(code, "-p", "no:pytest_concurrency", "-p", "no:asyncio").assert_outcomes(passed=1)
