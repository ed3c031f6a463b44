"""Could this call wait? Asked before it begins, where the answer lies in what it is called with."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._blocking.clocks import ThreadClocks
from pytest_concurrency._blocking.sampler import Sampler
from pytest_concurrency._blocking.waits import SEAMS, Maybe

if TYPE_CHECKING:
    from collections.abc import Callable

    Suite = Callable[..., pytest.RunResult]

CAN_WAIT = {seam.call: seam.can_wait for seam in SEAMS}


def fill(write: Callable[[bytes], int]) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            write(b"x" * 1000)


@pytest.mark.parametrize(
    ("call", "little", "much"),
    [
        ("socket.socket.sendall", b"x" * 512, b"x" * 513),
        ("socket.socket.sendmsg", [b"x" * 256, b"y" * 256], [b"x" * 256, b"y" * 257]),
        ("socket.socket.sendmsg", [], iter([b"x"])),
    ],
)
def test_a_small_message_never_waits_for_a_buffer_with_room(call: str, little: Any, much: Any) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        assert CAN_WAIT[call](mine, little) is None
        assert isinstance(CAN_WAIT[call](mine, much), Maybe)


def test_it_waits_for_a_full_one() -> None:
    mine, other = socket.socketpair()
    with mine, other:
        mine.setblocking(False)
        fill(mine.send)
        assert CAN_WAIT["socket.socket.send"](mine, b"x") is None

        mine.setblocking(True)
        words = CAN_WAIT["socket.socket.send"](mine, b"x")

    assert words is not None
    assert not isinstance(words, Maybe)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="pipes cannot be asked")
def test_the_same_of_a_pipe() -> None:
    reader, writer = os.pipe()
    try:
        assert CAN_WAIT["os.write"](writer, b"x" * 512) is None
        assert isinstance(CAN_WAIT["os.write"](writer, b"x" * 513), Maybe)
        assert isinstance(CAN_WAIT["os.writev"](writer, [b"x" * 512, b"y"]), Maybe)
        os.set_blocking(writer, False)
        fill(partial(os.write, writer))
        os.set_blocking(writer, True)
        assert CAN_WAIT["os.write"](writer, b"x") == ""
    finally:
        os.close(reader)
        os.close(writer)


def test_how_long_the_sampler_is_awake() -> None:
    time = itertools.count(10.0, 0.5)
    sampler = Sampler(ThreadClocks(), lambda: next(time), lambda site, call: None, lambda error: None)
    stop, ended = threading.Lock(), threading.Lock()
    ended.acquire()

    sampler._run(stop, ended)

    assert sampler.awake() == 0.5
    assert not ended.locked()


@pytest.mark.parametrize(("awake", "outcome"), [("0.0", {"failed": 1}), ("next(seconds)", {"passed": 1})])
def test_what_may_have_been_a_wait_for_the_gil_is_not_reported(
    suite: Suite, pytester: pytest.Pytester, awake: str, outcome: dict[str, int]
) -> None:
    pytester.makeconftest(
        f"""
        import itertools
        from pytest_concurrency._blocking.sampler import Sampler

        seconds = itertools.count(0.0, 10.0)
        Sampler.awake = lambda self: {awake}
        """
    )
    result = suite(
        """
import asyncio, pytest, selectors

@pytest.mark.must_not_block
def test_it():
    async def main():
        with selectors.DefaultSelector() as selector:
            selector.select(0.005)
    asyncio.run(main())
"""
    )

    result.assert_outcomes(**outcome)
