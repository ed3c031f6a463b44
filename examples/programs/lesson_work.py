"""What the lessons let threads and processes do. A module of its own, since a spawned process has to import it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMPORTED_BY = os.getpid()
"""Which process imported this file: the side effect of an import."""

counter = 0
"""A plain global."""

half_run: Iterator[int] | None = None
"""A generator that a lesson runs half-way. It cannot be pickled, so nothing but memory can carry it."""


def count(steps: int = 1_000_000) -> int:
    """Compute, in plain Python: what the GIL allows one thread at a time to do."""
    total = 0
    for each in range(steps):
        total += each
    return total


def start_together(barrier: Any, work: Callable[[], object]) -> None:
    """Wait until all of a party have come here, then work."""
    barrier.wait(60)
    work()


def wait(seconds: float = 0.02) -> None:
    """Wait as a blocking call does that waits for the network."""
    time.sleep(seconds)


def square(number: int) -> int:
    """Return the square, or fail for the one number that has none here."""
    if number < 0:
        raise ValueError(f"no square of {number}")
    return number * number


def who(_: int = 0) -> int:
    """Return in which process this is."""
    return os.getpid()


party: Any = None


def join_party(barrier: Any) -> None:
    """Be told, as a worker of a pool, for whom to wait."""
    global party
    party = barrier


def meet(_: int = 0) -> int:
    """Return the process that this is, when as many as the party has are here."""
    party.wait(60)
    return os.getpid()


def add_one() -> None:
    """Change the plain global, here."""
    global counter
    counter += 1


def send_by_queue(queue: Any) -> None:
    queue.put("by queue")


def send_by_pipe(end: Any) -> None:
    end.send("by pipe")
    end.close()


def send_by_shared_memory(value: Any) -> None:
    with value.get_lock():
        value.value += 1


def send_by_manager(shared: Any) -> None:
    shared["counter"] += 1


def tell(queue: Any) -> None:
    """Tell what this process finds in its memory: who it is, who imported this file, and the half-run generator."""
    queue.put((os.getpid(), IMPORTED_BY, next(half_run) if half_run is not None else None))


def produce(queue: Any) -> None:
    """Put three items and a last word into a queue of one place: each has to be fetched before the next."""
    for item in (1, 2, 3, None):
        queue.put(item)


def consume(queue: Any) -> int:
    """Return the sum of what comes out of the queue."""
    return sum(iter(queue.get, None))


def take_turns(lock: Any) -> None:
    """Go where only one may be at a time, if *lock* sees to it."""
    with lock:
        critical()


def critical() -> None:
    """Stand for what must not be done by two at a time: read, think, write."""
    time.sleep(0.002)
