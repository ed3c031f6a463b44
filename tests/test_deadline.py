"""`must_finish_within`: which clock judges, what it leaves out, and the critical path of a test that is late."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._judge.critical_path import Piece, attack, critical_path
from pytest_concurrency._judge.deadline import judged, stolen
from pytest_concurrency._record import noise
from pytest_concurrency._show.deadline import apart, deadline_message
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Block, Course, Duration, Place, Span, Strand, Stretch, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = Page("/app")
NAP = Place("/app/work.py", 7, "nap")
FETCH = Place("/app/work.py", 12, "fetch")


def trace(parents: Iterable[int | None], *courses: Course, backend: str = "asyncio", spans: Any = ()) -> Trace:
    strands = tuple(
        Strand(number, "asyncio-task", f"Task-{number}", 1, 1, parent=parent)
        for number, parent in enumerate(parents, 1)
    )
    return Trace(strands=strands, courses=courses, backend=backend, spans=spans)


def nap(start: float, end: float, place: Place = NAP, span: str | None = None) -> Stretch:
    return Stretch(start, end, "timer", place=place, span=span)


def path(recorded: Trace, seconds: float) -> list[tuple[int | None, float, float, str]]:
    return [(each.strand, each.start, each.end, each.kind) for each in critical_path(recorded, seconds)]


# -- the clocks


def test_time_in_which_others_were_served_does_not_count() -> None:
    assert judged(Duration(1.5)) == 1.5
    assert judged(Duration(1.5, queued=0.25)) == 1.25
    assert judged(Duration(1.5, queued=0.25, cpu=0.25, busy=1.0, stolen=0.5)) == 1.125
    assert judged(Duration(0.1, queued=0.2)) == 0


def test_what_was_stolen_is_shared_by_who_computed() -> None:
    assert stolen(Duration(9.0, cpu=2.0, busy=8.0, stolen=4.0)) == 1.0
    assert stolen(Duration(9.0, cpu=0.5, busy=0.5, stolen=4.0)) == 0.5
    assert stolen(Duration(9.0, cpu=1.0, busy=0.0, stolen=4.0)) == 0


def test_the_readings_are_told_apart() -> None:
    before = noise.Reading(wall=10.0, cpu=1.0, queued=2.0, busy=100.0, stolen=5.0)
    after = noise.Reading(wall=14.0, cpu=2.0, queued=2.5, busy=104.0, stolen=6.0)

    assert noise.between(before, after) == Duration(4.0, queued=0.5, cpu=1.0, busy=4.0, stolen=1.0)


def test_where_the_system_says_nothing_the_wall_clock_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.open

    def without_proc(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file).startswith("/proc"):
            raise FileNotFoundError(file)
        return plain(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", without_proc)
    duration = noise.between(noise.read(), noise.read())

    assert duration.queued is None
    assert judged(duration) == duration.wall >= 0


def test_waiting_counts_and_queueing_does_not() -> None:
    duration = noise.between(noise.read(), noise.read())

    assert 0 <= judged(duration) <= duration.wall


# -- the critical path


def test_one_after_the_other_is_the_path_itself() -> None:
    recorded = trace([None], Course(1, 0.0, 3.0, (nap(0, 2), nap(2, 3, FETCH))))

    assert path(recorded, 3.0) == [(1, 0, 2, "timer"), (1, 2, 3, "timer")]


def test_of_those_that_overlap_the_last_one_counts() -> None:
    recorded = trace(
        [None, 1, 1],
        Course(1, 0.0, 4.0, (nap(0, 1), Stretch(1, 4, "task", on=(2, 3)))),
        Course(2, 1.0, 3.0, (nap(1, 3),)),
        Course(3, 1.0, 4.0, (nap(1, 2), nap(2, 4, FETCH))),
    )

    assert path(recorded, 4.0) == [(1, 0, 1, "timer"), (3, 1, 2, "timer"), (3, 2, 4, "timer")]


def test_a_group_that_does_not_say_whom_it_waited_for_waited_for_its_children() -> None:
    recorded = trace(
        [None, 1, 1],
        Course(1, 0.0, 3.0, (Stretch(0, 3, "task", place=FETCH),)),
        Course(2, 0.0, 3.0, (nap(0, 3),)),
        Course(3, 0.0, 1.0, (nap(0, 1),)),
    )

    assert path(recorded, 3.0) == [(2, 0, 3, "timer")]


def test_who_holds_a_lock_is_on_the_path_of_who_waits_for_it() -> None:
    recorded = trace(
        [None, 1, 1],
        Course(1, 0.0, 3.0, (Stretch(0, 3, "task", on=(2, 3)),)),
        Course(2, 0.0, 2.0, (nap(0, 2),)),
        Course(3, 0.0, 3.0, (Stretch(0, 2, "lock", on=(2,)), nap(2, 3))),
    )

    found = critical_path(recorded, 3.0)

    assert [(each.strand, each.start, each.end, each.held_up) for each in found] == [(2, 0, 2, "lock"), (3, 2, 3, None)]


def test_computing_and_what_no_task_did_are_pieces_too() -> None:
    recorded = trace([None], Course(1, 1.0, 4.0, (nap(2, 3),)))

    assert path(recorded, 4.0) == [
        (None, 0, 1, "running"),
        (1, 1, 2, "running"),
        (1, 2, 3, "timer"),
        (1, 3, 4, "running"),
    ]


def test_two_loops_one_after_the_other_are_one_path() -> None:
    recorded = trace([None, None], Course(1, 0.0, 1.0, (nap(0, 1),)), Course(2, 1.0, 3.0, (nap(1, 3),)))

    assert path(recorded, 3.0) == [(1, 0, 1, "timer"), (2, 1, 3, "timer")]


def test_those_that_wake_each_other_at_one_instant_end_somewhere() -> None:
    recorded = trace(
        [None, None],
        Course(1, 0.0, 1.0, (Stretch(0, 1, "lock", on=(2,)),)),
        Course(2, 0.0, 1.0, (Stretch(0, 1, "lock", on=(1,)),)),
    )

    assert sum(end - start for _, start, end, _ in path(recorded, 1.0)) == 1.0


def test_a_task_without_a_line_of_its_own_is_shown_where_it_was_started() -> None:
    strand = Strand(1, "trio-task", "trio.sleep", 1, 1, place=FETCH)
    recorded = Trace(strands=(strand,), courses=(Course(1, 0.0, 1.0, (Stretch(0, 1, "timer"),)),))

    assert critical_path(recorded, 1.0) == (Piece(1, 0, 1, "timer", FETCH),)


def test_without_tasks_there_is_no_path() -> None:
    assert critical_path(Trace(), 1.0) == ()


def test_the_line_that_most_time_goes_into_is_attacked_first() -> None:
    pieces = [Piece(1, 0, 2, "timer", FETCH), Piece(2, 2, 3.5, "timer", NAP), Piece(3, 3.5, 5, "timer", NAP)]

    assert attack(pieces) == (pieces[1], 3.0)


# -- the words


def test_the_message_on_the_virtual_clock() -> None:
    recorded = trace(
        [None, 1, 1],
        Course(1, 0.0, 4.5, (nap(0, 0.5), nap(0.5, 1), Stretch(1, 4.5, "task", on=(2, 3)))),
        Course(2, 1.0, 3.0, (nap(1, 3, FETCH, "shop.fetch"),)),
        Course(3, 1.0, 4.5, (Stretch(1, 3, "lock", on=(2,), place=NAP), Stretch(3, 4.5, "io", place=FETCH))),
    )
    block = Block("sleep", "time.sleep", NAP, 0.25, "asyncio")

    assert deadline_message(recorded, Duration(4.5, "virtual"), 2.0, PAGE, [block]) == (
        "took 4.5 s of virtual time, expected at most 2 s\n"
        "\n"
        "The critical path, which nothing else can make shorter:\n"
        "  Task-1 |------------                                           | 0.000-1.000 s\n"
        "    sleep, 2 times, at work.py:7 in nap\n"
        "  Task-2 |            ------------------------                   | 1.000-3.000 s\n"
        "    sleep of shop.fetch at work.py:12 in fetch\n"
        "    while the next one waited for its lock\n"
        "  Task-3 |                                    -------------------| 3.000-4.500 s\n"
        "    wait for a socket at work.py:12 in fetch\n"
        "\n"
        "Attack this first: the sleep at work.py:12 in fetch (2 s of 4.5 s, 44%).\n"
        "\n"
        "Besides, 1 call blocked the event loop for 0.25 s of real time, which is not in\n"
        "the virtual time above; the longest was time.sleep at work.py:7 in nap.\n"
        "\n"
        "Only waiting counts on the virtual clock, so this is the same on every machine:\n"
        "some waits come one after the other, or one is too long. Let them overlap:\n"
        "asyncio.gather() or an asyncio.TaskGroup."
    )


def test_the_message_in_real_time() -> None:
    recorded = trace([None], Course(1, 0.0, 0.5, (nap(0, 0.25),)))

    assert deadline_message(recorded, Duration(0.5, queued=0.125, cpu=0.25, busy=1.0, stolen=0.25), 0.25, PAGE) == (
        "took 0.312 s, expected at most 0.25 s\n"
        "\n"
        "The critical path, which nothing else can make shorter:\n"
        "  Task-1 |---------------------------                            | 0.000-0.250 s\n"
        "    sleep at work.py:7 in nap\n"
        "  Task-1 |                           ############################| 0.250-0.500 s\n"
        "    running\n"
        "\n"
        "Attack this first: the sleep at work.py:7 in nap (0.25 s of 0.5 s, 50%).\n"
        "\n"
        "Judged by the test's own computing and waiting: of 0.5 s on the wall clock,\n"
        "0.125 s of waiting for a processor and 0.062 s that the hypervisor stole do not\n"
        "count. To measure the test's waiting alone, and exactly, mark it with\n"
        "virtual_clock as well."
    )


def test_the_message_where_the_system_says_nothing() -> None:
    assert deadline_message(None, Duration(0.5), 0.25, PAGE) == (
        "took 0.5 s, expected at most 0.25 s\n"
        "\n"
        "Judged by the wall clock, with the load of the machine in it: this system does\n"
        "not say how long a thread waits for a processor. To measure the test's waiting\n"
        "alone, and exactly, mark it with virtual_clock as well."
    )


def test_the_message_of_a_test_without_tasks_draws_its_spans() -> None:
    span = Span(1, 1, "checkout", 1, 0.0, 2, 0.5, 3, 0.5, "returned")

    assert deadline_message(trace([None], spans=(span,)), Duration(0.5, queued=0.0), 0.25, PAGE) == (
        "took 0.5 s, expected at most 0.25 s\n"
        "\n"
        "  checkout#1 Task-1 |##############################################| 0.00-0.50 s\n"
        "  # running\n"
        "\n"
        "Judged by the test's own computing and waiting: it had a processor whenever it\n"
        "wanted one. To measure the test's waiting alone, and exactly, mark it with\n"
        "virtual_clock as well."
    )


def test_a_long_path_shows_its_longest_pieces() -> None:
    waits = [nap(n, n + 1, Place("/app/work.py", n, "nap")) for n in range(14)]
    recorded = trace([None], Course(1, 0.0, 14.0, tuple(waits)), backend="trio")

    lines = deadline_message(recorded, Duration(14.0, "virtual"), 2.0, PAGE).splitlines()

    assert "  ... and 4 shorter pieces" in lines
    assert lines[-1] == "them in one nursery."


def test_long_durations_are_written_out() -> None:
    message = deadline_message(None, Duration(86400.0, "virtual"), 1000.0, PAGE)

    assert message.startswith("took 86400 s of virtual time, expected at most 1000 s\n")


def test_two_durations_that_differ_little_look_different() -> None:
    assert apart(2.00001, 2.0) == ("2.00001 s", "2 s")


# -- in pytest


def test_the_critical_path_of_a_late_test(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import asyncio, time
        import pytest

        async def nap(seconds):
            await asyncio.sleep(seconds)

        async def locked(lock, seconds):
            async with lock:
                await nap(seconds)

        async def main():
            await nap(1)
            lock = asyncio.Lock()
            async with asyncio.TaskGroup() as group:
                group.create_task(locked(lock, 2))
                group.create_task(locked(lock, 3))
                group.create_task(nap(4))
            time.sleep(0.01)
            done = asyncio.Event()
            async def signal():
                await asyncio.sleep(5)
                done.set()
            task = asyncio.create_task(signal())
            await done.wait()
            await task

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(10)
        def test_late():
            asyncio.run(main())

        @pytest.mark.virtual_clock
        @pytest.mark.must_finish_within(11)
        def test_in_time():
            asyncio.run(main())

        @pytest.mark.must_finish_within(0.01)
        def test_late_in_real_time():
            asyncio.run(nap(0.02))

        @pytest.mark.must_finish_within(0.001)
        def test_late_without_a_loop(concurrency):
            with concurrency.span("sleeping"):
                time.sleep(0.002)
        """
    )

    result = inner("-W", "ignore")

    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        [
            "*_ test_late _*",
            "took 11 s of virtual time, expected at most 10 s",
            "",
            "The critical path, which nothing else can make shorter:",
            "  Task-1 |*| 0.0-1.0 s",
            "    sleep at test_it.py:5 in nap",
            "  Task-2 |   *| 1.0-3.0 s",
            "    sleep at test_it.py:5 in nap",
            "    while the next one waited for its lock",
            "  Task-3 |   *| 3.0-6.0 s",
            "    sleep at test_it.py:5 in nap",
            "  Task-5 |   *| 6.0-11.0 s",
            "    sleep at test_it.py:21 in main.<locals>.signal",
            "",
            "Attack this first: the sleep at test_it.py:5 in nap (6 s of 11 s, 55%).",
            "",
            "Besides, 1 call blocked the event loop for * s of real time, *",
            "*the longest was time.sleep at test_it.py:18 in main.",
            "*_ test_late_in_real_time _*",
            "    sleep at test_it.py:5 in nap",
            "Attack this first: the sleep at test_it.py:5 in nap (*).",
            "Judged by *",
            "*_ test_late_without_a_loop _*",
            "  sleeping* |*",
        ]
    )


def test_the_critical_path_on_trio_and_anyio(inner: Any, pytester: pytest.Pytester) -> None:
    pytest.importorskip("trio")
    pytest.importorskip("anyio")
    pytester.makepyfile(
        test_it="""
        import anyio, pytest

        pytestmark = [pytest.mark.anyio, pytest.mark.virtual_clock, pytest.mark.must_finish_within(2)]

        @pytest.fixture(scope="module", params=["asyncio", "trio"])
        def anyio_backend(request):
            return request.param

        @pytest.mark.parametrize("_", "ab")
        async def test_late(_):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 3)
                group.start_soon(anyio.sleep, 1)
            await anyio.sleep(1)
        """
    )

    result = inner("-p", "no:asyncio")

    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "took 4 s of virtual time, expected at most 2 s",
            "  sleep *|*| 0.000-3.000 s",
            "    sleep at test_it.py:12 in test_late",
            "  * 3.000-4.000 s",
            "    sleep at test_it.py:14 in test_late",
            "Attack this first: the sleep at test_it.py:12 in test_late (3 s of 4 s, 75%).",
        ]
        * 4
    )


def test_recording_for_a_deadline_leaves_nothing_behind(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        plain = asyncio.Event.set, asyncio.Queue.put_nowait, asyncio.events.Handle._run

        @pytest.mark.parametrize("how", ["pass", "raise", "cancel", "pass again"])
        @pytest.mark.must_finish_within(60)
        def test_it(how):
            async def main():
                task = asyncio.create_task(asyncio.sleep(0))
                if how == "cancel":
                    task.cancel()
                assert how != "raise"
                await task
            asyncio.run(main())

        def test_after():
            assert plain == (asyncio.Event.set, asyncio.Queue.put_nowait, asyncio.events.Handle._run)
        """
    )

    result = inner()

    result.assert_outcomes(passed=3, failed=2)
    result.stdout.no_fnmatch_line("*DeadlineError*")
