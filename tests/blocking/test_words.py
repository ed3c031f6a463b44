"""What is said about blocks: every text, and which blocks it is about."""

from __future__ import annotations

import pytest

from pytest_concurrency._blocking.kinds import BY_KIND, CALLS, INSTEAD, instead
from pytest_concurrency._judge.blocking import findings
from pytest_concurrency._settings import KINDS, Blocking, parse_kinds
from pytest_concurrency._show.blocks import failure_text, warning_text
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Block, Place

PAGE = Page("/home/shop")
FETCH = Place("/home/shop/src/client.py", 12, "Client.fetch")


def block(kind: str = "sleep", call: str = "time.sleep", place: Place = FETCH, **more: object) -> Block:
    given: dict[str, object] = {"seconds": 0.5, "backend": "asyncio", "stack": (place,), "task": "Task-3", **more}
    return Block(kind=kind, call=call, place=place, **given)  # type: ignore[arg-type]


def test_one_block() -> None:
    found = findings([block(detail="0.5 s")], Blocking())

    assert (
        failure_text(found, PAGE)
        == """\
time.sleep blocked the event loop for 0.5 s at src/client.py:12

  time.sleep (sleep, 0.5 s)
    with: 0.5 s
    at src/client.py:12 in Client.fetch
    on asyncio, in task Task-3
    instead: asyncio.sleep(...)

Nothing else on that loop could run meanwhile. To let it: allow_blocking(reason)
around it, or a line of concurrency_allow_blocking."""
    )


def test_several_blocks_the_longest_first() -> None:
    load = Place("/home/shop/src/config.py", 5, "load")
    library = Place("/usr/lib/python3/subprocess.py", 548, "run")
    blocks = [
        block(seconds=0.01),
        block(seconds=0.02),
        block("subprocess", "subprocess.run", load, seconds=0.3, stack=(load, library), backend="trio", task=None),
        block("dns", "socket.getaddrinfo", load, seconds=None, detail="example.org", backend="uvloop"),
    ]

    assert (
        failure_text(findings(blocks, Blocking()), PAGE)
        == """\
4 calls blocked the event loop for 0.33 s in all, first of all subprocess.run at src/config.py:5

  subprocess.run (subprocess, 0.3 s)
    at src/config.py:5 in load
      via /usr/lib/python3/subprocess.py:548 in run
    on trio, in a callback
    instead: trio.run_process

  time.sleep (sleep, 30 ms, 2 times)
    at src/client.py:12 in Client.fetch
    on asyncio, in task Task-3
    instead: asyncio.sleep(...)

  socket.getaddrinfo (dns)
    with: example.org
    at src/config.py:5 in load
    on uvloop, in task Task-3
    instead: loop.getaddrinfo(...)

Nothing else on that loop could run meanwhile. To let it: allow_blocking(reason)
around it, or a line of concurrency_allow_blocking."""
    )


def test_the_same_line_again_and_again() -> None:
    found = findings([block(seconds=0.01)] * 3, Blocking())

    headline = failure_text(found, PAGE).partition("\n")[0]

    assert headline == "time.sleep blocked the event loop 3 times, for 30 ms in all at src/client.py:12"


def test_of_many_places_the_first_are_shown_and_the_rest_counted() -> None:
    found = findings([block(place=Place("/home/shop/a.py", line, "f")) for line in range(12)], Blocking())

    assert "\n\n  and 2 more places\n\n" in failure_text(found, PAGE)


def test_a_warning_is_the_same_each_time() -> None:
    first = findings([block(seconds=0.5, task="Task-1")], Blocking())
    again = findings([block(seconds=0.7, task="Task-9")] * 2, Blocking())

    assert (
        warning_text(first[0], PAGE)
        == warning_text(again[0], PAGE)
        == """\
time.sleep blocked the asyncio event loop in Client.fetch
  at src/client.py:12 in Client.fetch
  instead: asyncio.sleep(...)"""
    )


@pytest.mark.parametrize(
    ("seen", "blocking", "counted"),
    [
        (block(), Blocking(), True),
        (block(seconds=None), Blocking(), True),
        (block(seconds=0.001), Blocking(), True),
        (block(allowed="reads once"), Blocking(), False),
        (block(), Blocking(kinds=frozenset({"lock"})), False),
        (block("file", "open", seconds=0.05), Blocking(), False),
        (block("file", "open", seconds=None), Blocking(), False),
        (block("file", "open", seconds=0.15), Blocking(), True),
        (block("file", "open", seconds=0.05), Blocking(threshold=0.01), True),
        (block("file", "open", seconds=0.0001), Blocking(past_threshold=frozenset()), True),
        (block("cpu", "", seconds=0.05), Blocking(past_threshold=frozenset()), False),
        (block("cpu", "", seconds=0.15), Blocking(), True),
    ],
)
def test_what_counts(seen: Block, blocking: Blocking, counted: bool) -> None:
    assert bool(findings([seen], blocking)) is counted


def test_a_kind_asked_for_by_name_counts_from_its_first_call() -> None:
    assert parse_kinds("file sleep") == (frozenset({"file", "sleep"}), frozenset())


def test_the_table_has_advice_for_every_kind_on_every_backend() -> None:
    assert set(BY_KIND) == set(KINDS)
    assert set(CALLS.values()) <= set(KINDS)
    assert set(INSTEAD) <= set(CALLS)
    for kind in KINDS:
        for backend in ("asyncio", "uvloop", "tornado", "trio", "anyio", "gevent"):
            assert instead("nothing.known", kind, backend)
    assert instead("time.sleep", "sleep", "somebody's own loop") == ""
