"""Which way of concurrency fits: of traces written by hand, and what is said of it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pytest_concurrency import record
from pytest_concurrency._judge.advice import Advice, advise
from pytest_concurrency._record import cpu_clocks
from pytest_concurrency._show.advice import advice_text
from pytest_concurrency._trace import Block, Clock, Job, Place, Span, Step, Strand, Trace

WORK = "shop:work"
HERE = Place("/project/shop.py", 7, "work")


def trace(
    many: int,
    *,
    kind: str = "thread",
    computing: float = 0.001,
    seconds: float = 1.0,
    one_by_one: bool = False,
    gil: bool | None = True,
    known: int | None = None,
    strands: int | None = None,
) -> Trace:
    """Return a trace of *many* calls that took *seconds* each and computed for a part of them, each in its strand."""
    spans, made, clocks = [], [], []
    for index in range(many):
        start = index * seconds if one_by_one else 0.0
        first = 3 * index if one_by_one else index
        last = first + 1 if one_by_one else 10 * many + index
        strand = index % (strands or many) + 1
        end = start + seconds
        spans.append(Span(index + 1, strand, WORK, first, start, last, end, last, end))
        if known is not None and index >= known:
            continue
        if kind in ("thread", "worker", "process"):
            before = index * computing
            clocks += [Clock(strand, 0, start, before), Clock(strand, 0, end, before + computing)]
    for number in range(1, (strands or many) + 1):
        steps = (Step(0, 1, 0.0, computing),) if kind.endswith("-task") else ()
        made.append(Strand(number, kind, f"S{number}", 1, number, steps=steps))
    return Trace(spans=tuple(spans), strands=tuple(made), clocks=tuple(clocks), gil=gil)


@pytest.mark.parametrize(
    ("made", "way"),
    [
        pytest.param(trace(4, computing=0.25), "processes", id="threads that take turns with the GIL"),
        pytest.param(trace(4, computing=0.25, gil=False), "threads", id="computing without a GIL"),
        pytest.param(trace(4, computing=0.9, kind="process"), "processes", id="processes that compute"),
        pytest.param(trace(4, computing=1.0, one_by_one=True, strands=1), "processes", id="computing one by one"),
        pytest.param(trace(4, computing=0.25, kind="asyncio-task"), "processes", id="tasks that compute"),
        pytest.param(trace(10), "pool", id="few that wait"),
        pytest.param(trace(100), "pool", id="the last of the few"),
        pytest.param(trace(101), "coroutines", id="the first of the many"),
        pytest.param(trace(1000, computing=0.0001, kind="trio-task"), "coroutines", id="many tasks"),
        pytest.param(trace(1000, one_by_one=True, strands=1), "coroutines", id="many that could go at once"),
        pytest.param(trace(10_001, computing=0.00001, kind="asyncio-task"), "all", id="very many"),
        pytest.param(trace(200, computing=0.01), "all", id="many that fill a processor"),
        pytest.param(trace(3, computing=0.0009, seconds=0.001), "pool", id="too short to be sent to a process"),
        pytest.param(trace(1), "one call", id="one"),
        pytest.param(trace(0), "unknown", id="none"),
        pytest.param(trace(5, known=0), "unknown", id="without clocks"),
        pytest.param(trace(5, known=2), "pool", id="some without clocks"),
    ],
)
def test_the_way(made: Trace, way: str) -> None:
    assert advise(made, WORK).way == way


def test_calls_that_start_further_calls_get_threads_by_hand() -> None:
    made = trace(3)
    grown = replace(made, strands=(made.strands[0], replace(made.strands[1], parent=1), made.strands[2]))
    handed = replace(made, jobs=(Job(2, 0, 1, 0.0, by=1),))
    from_outside = replace(made, jobs=(Job(2, 0, 1, 0.0, by=99),))

    assert [advise(each, WORK).way for each in (grown, handed, from_outside)] == ["threads", "threads", "pool"]


def test_time_in_which_a_loop_was_blocked_is_not_computing() -> None:
    made = trace(2, kind="asyncio-task", computing=1.0)
    asleep = tuple(Block("sleep", "time.sleep", HERE, 0.99, "asyncio", strand=n, start=0.0, end=0.99) for n in (1, 2))
    busy = tuple(replace(block, kind="cpu") for block in asleep)

    assert advise(made, WORK).way == "processes"
    assert advise(replace(made, blocks=asleep), WORK).way == "pool"
    assert advise(replace(made, blocks=busy), WORK).way == "processes"


def test_time_held_for_a_proof_is_not_the_call_s() -> None:
    made = trace(2, computing=0.4, seconds=0.5)
    held = replace(made, spans=tuple(replace(span, start=-9.0, let_in=0.0, end=9.0) for span in made.spans))

    assert advise(held, WORK) == advise(made, WORK)


def test_a_busy_machine_changes_nothing() -> None:
    # It makes those that compute wait for a processor, and those that sleep a little, too.
    computes, waits = trace(4, computing=0.01), trace(4, computing=0.0001, seconds=0.001)
    late = tuple(replace(clock, queued=0.9 * clock.time) for clock in computes.clocks)
    also = tuple(replace(clock, queued=0.9 * clock.time) for clock in waits.clocks)

    made = trace(10, kind="asyncio-task", computing=0.0001, seconds=0.01)
    kept = replace(made.strands[3], steps=(Step(0, 1, 0.0, 0.01),))

    assert advise(replace(made, strands=(*made.strands[:3], kept, *made.strands[4:])), WORK).way == "pool"
    assert advise(replace(computes, clocks=late), WORK).way == "processes"
    assert advise(replace(waits, clocks=also), WORK).way == "pool"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        pytest.param(
            trace(4, computing=0.25),
            "shop:work: processes fit. 4 calls in 4 threads, 4 at once, computed for 0.25 s each and asked for 1.0"
            " processors in all: they compute, and the GIL lets one thread at a time do that."
            " concurrent.futures.ProcessPoolExecutor starts one per processor.",
            id="processes",
        ),
        pytest.param(
            trace(2, computing=1.0, kind="process", gil=None, strands=1, one_by_one=True),
            "shop:work: processes fit. 2 calls in 1 process, never two at once, computed for 1.00 s each and asked for"
            " 1.0 processors in all: they compute. concurrent.futures.ProcessPoolExecutor starts one per processor.",
            id="processes, without a word on the GIL",
        ),
        pytest.param(
            trace(2, computing=0.9, gil=False),
            "shop:work: threads fit. 2 calls in 2 threads, 2 at once, computed for 0.90 s each and asked for 1.8"
            " processors in all: they compute, and no GIL keeps threads from doing that at the same time."
            " Start one per processor.",
            id="threads without a GIL",
        ),
        pytest.param(
            trace(200, computing=0.01),
            "shop:work: processes, threads and coroutines together fit. 200 calls in 200 threads, 200 at once, computed"
            " for 10.0 ms each and asked for 2.0 processors in all: too much for one processor, and too many for a"
            " process each. Give each process a part of them.",
            id="many that compute",
        ),
        pytest.param(
            trace(10, computing=0.00025),
            "shop:work: a pool of threads fits. 10 calls in 10 threads, 10 at once, computed for 250 us each and waited"
            " for 99% of the time: few enough for a thread each, all handed in from outside:"
            " concurrent.futures.ThreadPoolExecutor.",
            id="pool",
        ),
        pytest.param(
            trace(10, computing=0.02, kind="asyncio-task"),
            "shop:work: a pool of threads fits. 10 calls in 10 tasks, 10 at once, computed for 20.0 ms each and waited"
            " for 98% of the time: few enough for a thread each, all handed in from outside:"
            " concurrent.futures.ThreadPoolExecutor. The tasks that they are will do as well.",
            id="few tasks",
        ),
        pytest.param(
            replace(trace(3), jobs=(Job(2, 0, 1, 0.0, by=1),)),
            "shop:work: threads fit. 3 calls in 3 threads, 3 at once, computed for 1.0 ms each and waited for 99% of"
            " the time: few enough for a thread each. Calls start further calls, and in a pool these would wait for a"
            " place that their own callers hold: start the threads by hand.",
            id="threads by hand",
        ),
        pytest.param(
            trace(1000, computing=0.0001, known=250),
            "shop:work: coroutines fit. 1000 calls in 1000 threads, 1000 at once, computed for 100 us each and waited"
            " for 99% of the time (as 250 of them show): too many for a thread each, not too many for one event loop.",
            id="coroutines",
        ),
        pytest.param(
            trace(20_000, computing=0.00001, kind="trio-task"),
            "shop:work: processes, threads and coroutines together fit. 20000 calls in 20000 tasks, 20000 at once,"
            " computed for 10 us each and waited for 99% of the time: too many for one event loop. Run one in each of"
            " several processes, and what blocks in threads of theirs.",
            id="all",
        ),
        pytest.param(trace(1), "shop:work: one call was made; there is nothing to run beside it.", id="one"),
        pytest.param(
            trace(5, known=0),
            "shop:work: 5 calls in 5 threads, 5 at once. How long they computed is not known: nothing tells which way"
            " fits.",
            id="unknown",
        ),
    ],
)
def test_what_is_said(made: Trace, text: str) -> None:
    assert advice_text(made, WORK, advise(made, WORK)) == text


def test_strands_of_several_kinds_are_called_that() -> None:
    mixed = Advice("unknown", calls=3, strands=2, kind="strand", at_once=2)

    assert advice_text(Trace(), WORK, mixed).startswith("shop:work: 3 calls in 2 strands, 2 at once.")


def wait(barrier: threading.Barrier) -> None:
    barrier.wait(60)


def test_hundreds_of_threads_say_each_what_it_did_itself() -> None:
    many = 120
    with record() as concurrency:
        concurrency.watch(wait)
        barrier = threading.Barrier(many)
        threads = [threading.Thread(target=wait, args=(barrier,)) for _ in range(many)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    advice = " ".join(concurrency.advice().split())

    assert advice.startswith(f"{__name__}:wait: coroutines fit. 120 calls in 120 threads, 120 at once, computed for ")


def pass_by() -> None:
    pass


def test_what_the_readings_take_is_no_part_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = 0.0

    def read(native_id: int, pid: int | str = "self") -> tuple[float, float, int, bool]:
        nonlocal computed
        computed += 1
        return computed, 0.0, 0, True

    monkeypatch.setattr(cpu_clocks, "_of_kernel", read)
    monkeypatch.setattr(cpu_clocks, "thread_time", lambda: computed)
    with record() as concurrency:
        concurrency.watch(pass_by)
        thread = threading.Thread(target=pass_by)
        thread.start()
        thread.join()

    begun, ended = (clock.cpu for clock in concurrency._session.trace().clocks)
    assert begun == ended
