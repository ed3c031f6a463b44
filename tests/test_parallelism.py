"""Verdicts on parallelism: of traces written by hand, then of real threads."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._judge.parallelism import Parallel, judge
from pytest_concurrency._show.messages import Page
from pytest_concurrency._show.parallelism import parallelism_message
from pytest_concurrency._trace import Clock, Place, Span, Strand, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

WORK = "shop:work"
HERE = Place("/project/shop.py", 7, "work")
LOCK = Place("/project/shop.py", 9, "locked")


def span(number: int, strand: int, start: float, end: float) -> Span:
    first = int(start * 100) + number
    return Span(number, strand, WORK, first, start, last=int(end * 100) + number, end=end, caller=(HERE,))


def clock(
    strand: int,
    time: float,
    cpu: float,
    queued: float | None = 0.0,
    switches: int | None = 0,
    lock: Place | None = None,
) -> Clock:
    return Clock(strand, 0, time, cpu, queued, switches, lock)


def trace(
    *spans: Span,
    clocks: tuple[Clock, ...] = (),
    gil: bool = True,
    cores: int | None = 2,
    kind: str = "thread",
    thread: int | None = None,
    backend: str | None = None,
) -> Trace:
    strands = tuple(
        Strand(number, kind, f"T{number}", 1, thread or number, started_by_test=True)
        for number in sorted({each.strand for each in spans})
    )
    return Trace(spans=spans, strands=strands, clocks=clocks, gil=gil, cores=cores, backend=backend)


def two(*clocks: Clock, gil: bool = True, cores: int | None = 2) -> Trace:
    return trace(span(1, 1, 0, 1), span(2, 2, 0, 1), clocks=clocks, gil=gil, cores=cores)


def say(trace: Trace, at_least: int = 2) -> str:
    asked = Parallel((WORK,), at_least)
    text = parallelism_message(trace, asked, judge(trace, asked), Page("/project"))
    # The drawing has tests of its own.
    return "\n".join(line for line in text.splitlines() if "|" not in line and "# running" not in line)


BUSY = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.98), clock(2, 1, 0.97))
QUEUED = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.2, 0.7), clock(2, 1, 0.1, 0.85))
# Of a system that does not say how long a thread waited for a processor.
SLOW = (clock(1, 0, 0, None), clock(2, 0, 0, None), clock(1, 1, 0.5, None), clock(2, 1, 0.5, None))
TURNS = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.5, 0.0, 100), clock(2, 1, 0.5, 0.0, 100))
# Beside many others each wakes to ask for the GIL, and then waits for a processor.
LOADED_TURNS = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.12, 0.78, 60), clock(2, 1, 0.12, 0.78, 60))
ASLEEP = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.001, 0.0, 1), clock(2, 1, 0.001, 0.0, 1))
# A virtual machine that pauses charges the pause to whoever was computing.
ASLEEP_BUT_CHARGED = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.39, 0.01, 1), clock(2, 1, 0.01, 0.0, 1))
# The GIL's holder waits for a processor, beside other processes, and the other sleeps meanwhile.
HELD_UP = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.31, 0.28, 30), clock(2, 1, 0.32, 0.31, 30))
# They need the GIL often, and a pause looks like sleep; yet two that share a GIL cannot compute so much.
CHATTY = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.63, 0.0, 200), clock(2, 1, 0.63, 0.0, 200))
# The host of a virtual machine ran somebody else for half of the time: both had work, and neither went to sleep …
STOLEN = tuple(replace(clock(strand, time, time / 2, 0.0, 0), awake=True) for time in (0, 1) for strand in (1, 2))
# … or now and then, and half of what the machine did was theirs.
STOLEN_TOO = tuple(
    replace(clock(strand, time, time / 2, 0.0, 4 * time), used=2.0 * time, stolen=2.0 * time)
    for time in (0, 1)
    for strand in (1, 2)
)
# It kept much from the machine, but these two would not have run.
STOLEN_FROM_OTHERS = tuple(
    replace(clock(strand, time, time / 100, 0.0, 4 * time), used=2.0 * time, stolen=2.0 * time)
    for time in (0, 1)
    for strand in (1, 2)
)
LOCKED = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.99), clock(2, 1, 0.01, 0.0, 1, LOCK))

LOCKED_CHATTY = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 0.6, 0.1, 190), clock(2, 1, 0.01, 0.0, 1, LOCK))


@pytest.mark.parametrize(
    ("clocks", "gil", "status", "why"),
    [
        pytest.param(BUSY, True, "held", "", id="they computed"),
        pytest.param(QUEUED, True, "held", "", id="they wanted to"),
        pytest.param(HELD_UP, True, "held", "", id="they wanted to, and needed the GIL now and then"),
        pytest.param(CHATTY, True, "held", "", id="they computed more than one could"),
        pytest.param(STOLEN, True, "held", "", id="a host kept them from it"),
        pytest.param(STOLEN_TOO, True, "held", "", id="a host kept them from it, and they slept a little"),
        pytest.param(STOLEN_FROM_OTHERS, True, "broken", "waited", id="a host kept others from computing"),
        pytest.param(TURNS, True, "broken", "gil", id="GIL"),
        pytest.param(LOADED_TURNS, True, "broken", "gil", id="GIL on a busy machine"),
        pytest.param(LOADED_TURNS, False, "held", "", id="the same figures without a GIL"),
        pytest.param(TURNS, False, "broken", "turns", id="turns without a GIL"),
        pytest.param(ASLEEP, True, "broken", "waited", id="asleep"),
        pytest.param(ASLEEP_BUT_CHARGED, True, "broken", "waited", id="asleep, and charged with a pause"),
        pytest.param(LOCKED, True, "broken", "lock", id="lock"),
        pytest.param(LOCKED_CHATTY, True, "broken", "lock", id="lock, and a holder that waits for the GIL"),
        pytest.param((), True, "inconclusive", "no figures", id="no clocks"),
    ],
)
def test_verdict(clocks: tuple[Clock, ...], gil: bool, status: str, why: str) -> None:
    verdict = judge(two(*clocks, gil=gil), Parallel((WORK,)))
    assert (verdict.status, verdict.why) == (status, why)


def test_without_a_queue_the_processors_decide_whether_it_can_be_told() -> None:
    fast = (clock(1, 0, 0, None), clock(2, 0, 0, None), clock(1, 1, 0.9, None), clock(2, 1, 0.9, None))

    assert judge(two(*fast, cores=1), Parallel((WORK,))).status == "held"
    assert judge(two(*SLOW, cores=2), Parallel((WORK,))).status == "broken"
    assert judge(two(*SLOW, cores=1), Parallel((WORK,))).status == "inconclusive"
    assert judge(two(*SLOW, cores=None), Parallel((WORK,))).status == "inconclusive"


def test_only_the_time_in_which_enough_were_in_progress_counts() -> None:
    # The second works for itself when the first is gone.
    spans = (span(1, 1, 0, 1), span(2, 2, 0, 2))
    clocks = (clock(1, 0, 0), clock(2, 0, 0), clock(1, 1, 1), clock(2, 1, 0.01), clock(2, 2, 1))
    verdict = judge(trace(*spans, clocks=clocks), Parallel((WORK,)))
    assert verdict.status == "broken"
    assert verdict.demand == pytest.approx(1.01)


def test_the_work_of_four_must_be_for_more_than_two() -> None:
    spans = tuple(span(number, number, 0, 1) for number in (1, 2, 3, 4))

    def demand(each: float) -> tuple[Clock, ...]:
        return tuple(clock(number, time, each * time) for number in (1, 2, 3, 4) for time in (0, 1))

    assert judge(trace(*spans, clocks=demand(0.9)), Parallel((WORK,), 4)).status == "held"
    assert judge(trace(*spans, clocks=demand(0.5)), Parallel((WORK,), 4)).status == "broken"
    assert judge(trace(*spans, clocks=demand(0.5)), Parallel((WORK,), 2)).status == "held"


def test_one_pair_after_the_other_took_turns_with_the_gil_too() -> None:
    spans = [span(1, 1, 0, 1), span(2, 2, 0, 1), span(3, 3, 1, 2), span(4, 4, 1, 2)]
    clocks = [clock(each.strand, each.start, 0) for each in spans]
    clocks += [clock(each.strand, each.start + 1, 0.5, 0.0, 100) for each in spans]

    verdict = judge(trace(*spans, clocks=tuple(clocks)), Parallel((WORK,)))

    assert (verdict.status, verdict.why) == ("broken", "gil")


def test_what_is_said_of_the_gil() -> None:
    assert say(two(*TURNS)) == (
        "expected 2 calls of shop:work to run at the same time, saw work for 1.0 processors\n"
        "\n"
        "\n"
        "  T1   50% computing    0% waiting for a processor   50% asleep\n"
        "  T2   50% computing    0% waiting for a processor   50% asleep\n"
        "\n"
        "They took turns: the GIL lets one thread at a time run Python code\n"
        "(sys._is_gil_enabled() is True here).\n"
        "\n"
        "Do it in processes, with code that releases the GIL, or on a free-threaded\n"
        "Python."
    )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param(
            two(*ASLEEP), "They waited, they did not compute: must_overlap is the marker for waits.", id="wait"
        ),
        pytest.param(
            two(*LOCKED),
            "They took turns on a lock: others waited for it at shop.py:9 in locked.\n\n"
            "Hold it for less: compute outside.",
            id="lock",
        ),
        pytest.param(
            two(*TURNS, gil=False),
            "They slept for most of the time in which they were in progress together.",
            id="turns",
        ),
        pytest.param(
            two(),
            "This system does not say how long a thread waits for a processor, and too few\n"
            "processors are free to see 2 at work. Run it on a machine with at least 2 free\n"
            "processors.",
            id="no figures",
        ),
        pytest.param(
            two(*SLOW, cores=None),
            "This system says neither how long a thread waits for a processor nor how many\n"
            "processors are free: whether 2 were at work cannot be told here.",
            id="no figures of the machine either",
        ),
        pytest.param(
            two(*SLOW),
            "They slept for most of the time in which they were in progress together, or\n"
            "waited for the GIL, which lets one thread at a time run Python code: this system\n"
            "does not tell one from the other.",
            id="turns without a queue",
        ),
        pytest.param(
            trace(span(1, 1, 0, 1)),
            "Only one call was made, by shop.py:7 in work. Make at least two.",
            id="one call",
        ),
        pytest.param(
            trace(span(1, 1, 0, 1), span(2, 1, 1, 2)),
            "Run one after the other: shop.py:7 in work waits for each call to end before the\n"
            "next one starts. Start all of them before joining any; submit all the jobs\n"
            "before asking for any result.",
            id="in turn",
        ),
        pytest.param(
            trace(span(1, 1, 0, 1), span(2, 2, 0, 1), kind="asyncio-task", thread=7, backend="asyncio"),
            "They are tasks of one event loop: these take turns in one thread. Do it in\nthreads or processes.",
            id="tasks",
        ),
        pytest.param(
            Trace(),
            "shop:work was never called, in this process or in a child process that is\nrecorded.",
            id="never",
        ),
    ],
)
def test_the_reason(made: Trace, reason: str) -> None:
    assert say(made).endswith("\n\n" + reason)


@pytest.mark.parametrize(
    ("made", "headline"),
    [
        pytest.param(
            Trace(), "expected 2 calls of shop:work to run at the same time, saw too few to tell", id="never called"
        ),
        pytest.param(
            trace(span(1, 1, 0, 1), span(2, 1, 1, 2)),
            "expected 2 calls of shop:work to run at the same time, saw at most 1 in progress",
            id="too few",
        ),
        pytest.param(
            two(),
            "inconclusive: expected 2 calls of shop:work to run at the same time, saw no figures",
            id="no figures",
        ),
    ],
)
def test_the_headline(made: Trace, headline: str) -> None:
    assert say(made).splitlines()[0] == headline


ROWS = """
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

parallel = pytest.mark.must_run_in_parallel
# Large, as a file is: between two of them a thread needs the GIL.
DATA = bytes(1 << 24)
LOCK = threading.Lock()


def compute():
    total = 0
    for number in range(2_000_000):
        total += number


def digest():
    for _ in range(4):
        hashlib.sha256(DATA).digest()


def nap():
    time.sleep(0.05)


def locked():
    with LOCK:
        digest()


def run(function, count, workers=None):
    # None of them starts before all are there, however busy the machine is.
    ready = threading.Barrier(workers or count)

    def job():
        ready.wait(60)
        function()

    with ThreadPoolExecutor(workers or count) as pool:
        for future in [pool.submit(job) for _ in range(count)]:
            future.result()


@parallel("test_rows.compute")
@pytest.mark.parametrize("count", [2, 4])
def test_compute(count):
    run(compute, count)


@parallel("test_rows.digest")
@pytest.mark.parametrize("count", [2, 4])
def test_digest(count):
    run(digest, count)


@parallel("test_rows.nap")
def test_nap():
    run(nap, 2)


@parallel("test_rows.digest")
def test_one_worker():
    run(digest, 2, workers=1)


@parallel("test_rows.locked")
def test_lock():
    run(locked, 3)


@parallel()
def test_no_target():
    pass


def test_fixture(concurrency):
    concurrency.watch("test_rows.nap")
    run(nap, 2)
    concurrency.assert_parallel("test_rows.nap")
"""


@pytest.fixture
def texts(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> dict[str, str]:
    """Return what was said of each row, nothing where it passed."""
    import xml.etree.ElementTree as ET

    pytester.makepyfile(test_rows=ROWS)
    inner("-q", "--junit-xml=junit.xml")
    return {
        case.attrib["name"].removeprefix("test_"): re.sub(r"\s+", " ", "".join(child.text or "" for child in case))
        for case in ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")
    }


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the kernel's figures of threads")
def test_threads(texts: dict[str, str]) -> None:
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    for row in ("compute[2]", "compute[4]"):
        assert ("the GIL lets one thread at a time run Python code" in texts[row]) is gil, texts[row]
    assert texts["digest[2]"] == ""
    assert texts["digest[4]"] == ""
    for row in ("nap", "fixture"):
        assert "They waited, they did not compute" in texts[row], texts[row]
    assert "One worker thread does all the jobs handed in at test_rows.py:" in texts["one_worker"]
    assert "They took turns on a lock: others waited for it at test_rows.py:" in texts["lock"], texts["lock"]
    assert "@pytest.mark.must_run_in_parallel(): name the function" in texts["no_target"]
