"""What the recording of greenlets promises beyond its verdicts, which stand in `overlap_rows`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

pytest.importorskip("gevent", reason="gevent is not installed")

SHOP = """
import gevent

def fetch(number):
    gevent.sleep(0.001)
    return number
"""
HEAD = """
import sys
import threading
import gevent
import greenlet
import pytest
import pytest_concurrency
from gevent import Greenlet
from shop import fetch

def trace_of(concurrency):
    return concurrency._session.trace()

together = pytest.mark.must_overlap("shop:fetch", at_least=3)

def run(function=fetch):
    gevent.joinall([gevent.spawn(function, number) for number in range(3)], raise_error=True)
"""
RECORDED = """
def test_a_greenlet_has_its_name_and_the_line_that_started_it(concurrency):
    concurrency.watch("shop:fetch")
    def outer():
        inner = gevent.spawn(fetch, 1)  # the line
        inner.name = "inner"
        inner.join()
    mine = Greenlet(outer)
    mine.name = "outer"
    mine.start()
    mine.join()

    outer_strand, inner_strand = [each for each in trace_of(concurrency).strands if each.kind == "greenlet"]
    assert (outer_strand.name, outer_strand.place.function.rpartition(".")[2]) == (
        "outer", "test_a_greenlet_has_its_name_and_the_line_that_started_it")
    assert inner_strand.place.function.endswith("outer")
    assert "# the line" in open(__file__).read().splitlines()[inner_strand.place.line - 1]
    assert inner_strand.parent == outer_strand.id
    assert outer_strand.first < inner_strand.first < inner_strand.last < outer_strand.last
    assert outer_strand.started_by_test and inner_strand.started_by_test
    assert len(inner_strand.steps) == 2
    assert trace_of(concurrency).backend == "gevent"

def test_the_outermost_greenlet_is_the_thread(concurrency):
    concurrency.watch("shop:fetch")
    fetch(1)
    thread = threading.Thread(target=fetch, args=(2,), name="other")
    thread.start()
    thread.join()

    assert [span.strand for span in concurrency.spans()] == ["MainThread", "other"]
    assert {each.kind for each in trace_of(concurrency).strands} == {"thread"}

def test_a_span_in_a_greenlet(concurrency):
    def one(number):
        with concurrency.span("work"):
            gevent.sleep(0.001)
    run(one)

    assert concurrency.peak("work") == 3
    concurrency.assert_overlap("work", at_least=3)

def test_how_calls_end(concurrency):
    concurrency.watch("shop:fetch")
    killed = gevent.spawn(fetch, 1)
    gevent.sleep(0)
    killed.kill()
    late = gevent.spawn(fetch, 2)
    late.join()

    assert [span.outcome for span in concurrency.spans()] == ["cancelled", "returned"]

def test_a_request_handler_is_the_hubs_child(concurrency):
    from gevent.server import StreamServer
    from gevent import socket
    concurrency.watch("shop:fetch")
    def handle(connection, address):
        fetch(1)
        connection.close()
    server = StreamServer(("127.0.0.1", 0), handle)
    server.start()
    with socket.create_connection(server.address) as connection:
        assert connection.recv(1) == b""
    server.stop()

    (span,) = concurrency.spans()
    strands = {each.id: each for each in trace_of(concurrency).strands}
    mine = next(each for each in strands.values() if each.name == span.strand)
    assert (mine.kind, strands[mine.parent].kind) == ("greenlet", "callback")

def test_calls_in_the_hubs_own_threads(concurrency):
    concurrency.watch(gevent.get_hub)
    pool = gevent.get_hub().threadpool
    def one(number):
        return pool.apply(threading.get_ident)
    run(one)
    concurrency.watch("test_it:in_pool")
    assert pool.apply(in_pool) == 1

    (span,) = concurrency.spans("test_it:in_pool")
    assert span.strand != "MainThread"

def in_pool():
    return 1

@together
def test_a_hub_in_another_thread():
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

@together
def test_a_greenlet_and_threads():
    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(2)]
    mine = gevent.spawn(fetch, 2)
    for thread in threads:
        thread.start()
    mine.join()
    for thread in threads:
        thread.join()

def test_asyncio_beside_it(concurrency):
    import asyncio
    gevent.sleep(0)
    async def one():
        await asyncio.sleep(0.001)
    async def main():
        await asyncio.gather(one(), one())
    concurrency.watch(one, "one")
    asyncio.run(main())

    assert concurrency.peak("one") == 2
    assert trace_of(concurrency).backend == "asyncio"
"""
GUEST = """
def installed():
    return greenlet.gettrace(), gevent.get_hub().loop.activecnt, fetch.__code__

before = installed()

@pytest.fixture(autouse=True, scope="module")
def nothing_is_left():
    yield
    assert installed() == before

@together
def test_first():
    run()

@together
def test_second():
    run()

@pytest.mark.xfail(raises=ZeroDivisionError, strict=True)
@together
def test_body_that_raises():
    gevent.spawn(fetch, 1)
    gevent.sleep(0)
    1 / 0

def test_nobody_is_held_any_more():
    gevent.sleep(0.01)

@together
def test_third():
    run()

@pytest.mark.parametrize("number", range(2))
def test_somebody_elses_tracer_stays(number):
    events = []
    def mine(event, args):
        events.append(event)
    greenlet.settrace(mine)
    try:
        with pytest_concurrency.record() as concurrency:
            concurrency.watch("shop:fetch")
            run()
            assert concurrency.peak("shop:fetch") == 3
            greenlets = [each for each in trace_of(concurrency).strands if each.kind == "greenlet"]
            gevent.sleep(0)
            assert greenlet.gettrace() is mine
        assert greenlet.gettrace() is mine
    finally:
        greenlet.settrace(None)
    assert "switch" in events
    # And one that came later, and calls ours.
    with pytest_concurrency.record():
        run()
        ours = greenlet.gettrace()
        assert ours is not None
        def later(event, args):
            ours(event, args)
        greenlet.settrace(later)
    run()
    assert greenlet.gettrace() is later
    greenlet.settrace(None)
    assert len(greenlets) == 3 and not any(each.steps for each in greenlets)
    assert all(each.last is not None for each in greenlets)
"""
PATCHED = """
from gevent import monkey
from concurrent.futures import ThreadPoolExecutor

def test_is_patched():
    assert monkey.is_module_patched("threading")

@together
def test_threads():
    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

@together
def test_executor():
    with ThreadPoolExecutor(3) as executor:
        assert list(executor.map(fetch, range(3))) == [0, 1, 2]

@pytest.mark.must_overlap("shop:fetch", patience=60)
def test_in_turn():
    for number in range(2):
        fetch(number)

def test_a_thread_is_one_strand(concurrency):
    concurrency.watch("shop:fetch")
    thread = threading.Thread(target=fetch, args=(1,), name="mine")
    thread.start()
    thread.join()
    assert [(each.kind, each.name) for each in trace_of(concurrency).strands if each.started_by_test] == [
        ("greenlet", "mine")]

def test_nobody_is_left():
    assert threading.enumerate() == [threading.main_thread()]
"""


def test_strands_and_spans(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(shop=SHOP, test_it=HEAD + RECORDED)

    inner("-p", "no:asyncio").assert_outcomes(passed=9)


def test_a_good_guest(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(shop=SHOP, test_it=HEAD + GUEST)

    inner("-p", "no:asyncio", "--blocking=off").assert_outcomes(passed=6, xfailed=1)
    inner("-p", "no:asyncio", "-p", "no:pytest_concurrency").assert_outcomes(passed=6, xfailed=1)


def test_a_mistake_of_our_own_holds_nobody(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    code = """
from pytest_concurrency._record import gevent_gate

@pytest.mark.must_overlap("shop:fetch", patience=60)
def test_it(monkeypatch):
    def fail(*args):
        raise RuntimeError("of ours")
    monkeypatch.setattr(gevent_gate, "HubView", fail)
    for number in range(2):
        gevent.spawn(fetch, number).join()
"""
    pytester.makepyfile(shop=SHOP, test_it=HEAD + code)

    result = inner("-p", "no:asyncio")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["expected 2 calls of shop:fetch at once, saw at most 1", "RuntimeError: of ours"])


@pytest.mark.parametrize("loop", ["libuv", "libev-cffi"])
def test_other_loops_of_gevents(
    loop: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("_cffi_backend", reason="these loops take cffi")
    code = """
import time

@together
def test_together():
    run()

@pytest.mark.must_overlap("shop:fetch")
def test_a_late_partner():
    late = gevent.spawn_later(0.02, fetch, 1)
    fetch(2)
    late.join()

@pytest.mark.must_overlap("shop:fetch", patience=60)
def test_in_turn():
    for number in range(2):
        gevent.spawn(fetch, number).join()

@pytest.mark.must_not_block
def test_a_call_with_a_name():
    gevent.spawn(time.sleep, 0.001).join()
"""
    pytester.makepyfile(shop=SHOP, test_it=HEAD + code)
    monkeypatch.setenv("GEVENT_LOOP", loop)

    result = inner("-p", "no:asyncio")

    unwatched = loop == "libuv"
    result.assert_outcomes(passed=2, failed=2, warnings=int(unwatched))
    result.stdout.fnmatch_lines(
        [
            "Run one after the other: test_it.py:* in test_in_turn waits for each call to*",
            "time.sleep blocked the event loop for * ms at test_it.py:*",
            *(["*unwatched: gevent.libuv.loop.loop does not tell of its turns; only*"] * unwatched),
        ]
    )


def test_under_xdist(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist")
    code = """
@pytest.mark.parametrize("number", range(4))
@together
def test_it(number):
    run()

@pytest.mark.parametrize("number", range(2))
@together
def test_in_turn(number):
    run(lambda number: None)
    fetch(1)
    fetch(2)
"""
    pytester.makepyfile(shop=SHOP, test_it=HEAD + code)

    inner("-n2", "-p", "no:asyncio").assert_outcomes(passed=4, failed=2)


@pytest.mark.parametrize("patches", ["first", "in the conftest", "in the test's module"])
def test_a_patched_process(patches: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    patch = "from gevent import monkey\nmonkey.patch_all()\n"
    if patches == "first":
        pytester.makepyfile(patching=patch)
    elif patches == "in the conftest":
        pytester.makeconftest(patch)
    pytester.makepyfile(shop=SHOP, test_it=(patch if patches == "in the test's module" else "") + HEAD + PATCHED)

    result = inner(*(("-p", "patching") if patches == "first" else ()), "-p", "no:asyncio", "-W", "ignore")

    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        [
            "expected 2 calls of shop:fetch at once, saw at most 1",
            "fetch#1: held at the end for *, until nothing else in the program could*",
            "Run one after the other: test_it.py:* in test_in_turn waits for each call to*",
        ]
    )


def test_a_class_that_cannot_be_compared_is_no_hindrance(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_python(
        """
import gevent.lock
from pytest_concurrency._record.gevent_view import _existing

class Meta(type):
    def __eq__(self, other):
        raise ValueError("not to be compared")

class Odd(metaclass=Meta):
    def __init__(self):
        self.me = self

odd, lock = [Odd() for _ in range(10)], gevent.lock.Semaphore()
assert any(each is lock for each in _existing((gevent.lock.Semaphore,)))
"""
    )

    assert (result.stdout, result.stderr) == ("", "")
