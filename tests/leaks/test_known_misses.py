"""What is left behind and not seen, each with its reason. A test that begins to fail here is good news."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Left


def test_on_every_system(left: Left) -> None:
    found = left(
        """
import asyncio, _thread, threading

done = threading.Event()
kept = []

def test_a_thread_that_no_object_stands_for():
    _thread.start_new_thread(done.wait, ())

def test_the_next_value_of_a_generator_that_has_begun():
    async def values():
        yield 1
        yield 2
    async def main():
        each = values()
        await each.asend(None)
        # Only the first one is wrapped by the interpreter in something that says so.
        each.asend(None)
        await each.aclose()
    asyncio.run(main())

def test_an_exception_of_a_task_that_somebody_holds():
    async def fail():
        raise ValueError("somebody may yet ask for it")
    async def main():
        kept.append(asyncio.create_task(fail()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    asyncio.run(main())

def test_end():
    done.set()
"""
    )

    assert found == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_processes_that_no_object_stands_for(left: Left) -> None:
    found = left(
        """
import os, signal, sys

children = []

def test_fork():
    child = os.fork()
    if not child:
        signal.pause()
    children.append(child)

def test_spawn():
    children.append(os.posix_spawn(sys.executable, [sys.executable, "-c", "import signal; signal.pause()"], os.environ))

def test_end():
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
"""
    )

    assert found == {}
