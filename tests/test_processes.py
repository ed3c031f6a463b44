"""Child processes: their spans, on the line of the parent's, however they were started and however they end."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._judge.overlap import Overlap, judge, peak
from pytest_concurrency._record.journal import Child, Journal, Reader, Start, close_folder, open_folder, read
from pytest_concurrency._record.merge import merged
from pytest_concurrency._record.others import OtherProcesses
from pytest_concurrency._trace import Place, Release, Span, Strand, Trace, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

METHODS = multiprocessing.get_all_start_methods()
WORK = """
import multiprocessing, os, signal

def meet(barrier):
    barrier.wait(60)

def compute(number=0):
    total = 0
    for each in range(2_000_000):
        total += each
    return total

def quick(number=0):
    return number

def is_killed():
    os.kill(os.getpid(), signal.SIGKILL)

def leaves():
    os._exit(3)

def fails():
    raise LookupError("of the user's own")

def start_two(method, barrier):
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=meet, args=(barrier,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

async def nap(barrier):
    barrier.wait(60)

def run_nap(barrier):
    import asyncio
    asyncio.run(nap(barrier))

async def at_once():
    pass

def run_at_once():
    import asyncio
    asyncio.run(at_once())

def quick_inside(lock):
    with lock:
        quick()

def quick_again(ready, over):
    quick()
    ready.set()
    over.wait(60)
    quick()
    os._exit(0 if quick.__code__.co_name == "quick" and not trampolines() else 5)

def closes_all_files(path):
    os.closerange(3, 256)
    # It gets the number of a file that it never opened.
    with open(path, "w") as file:
        quick()
        file.write("the user's own")

def trampolines():
    return [name for name in quick.__code__.co_names if "pytest" in name] + list(quick.__code__.co_freevars)
"""
HEAD = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import pytest
import work

METHOD = "{method}"
context = multiprocessing.get_context(METHOD)

def all_of(*targets, args=()):
    processes = [context.Process(target=target, args=args) for target in targets]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
"""


@pytest.fixture(params=METHODS)
def suite(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> Callable[..., pytest.RunResult]:
    def run(code: str, *args: str) -> pytest.RunResult:
        pytester.makepyfile(work=WORK, test_it=HEAD.format(method=request.param) + code)
        return inner(*args)

    return run


def test_calls_in_children_overlap_or_do_not(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
@pytest.mark.must_overlap("work:meet", at_least=2)
def test_processes():
    assert all_of(work.meet, work.meet, args=(context.Barrier(2),)) == [0, 0]

@pytest.mark.must_overlap("work:meet", at_least=2)
def test_children_of_children():
    assert all_of(work.start_two, args=(METHOD, context.Barrier(2))) == [0]

@pytest.mark.must_overlap("work:nap", at_least=2)
def test_coroutines():
    assert all_of(work.run_nap, work.run_nap, args=(context.Barrier(2),)) == [0, 0]

@pytest.mark.must_not_overlap("work:quick")
def test_apart():
    assert all_of(work.quick) + all_of(work.quick) == [0, 0]

@pytest.mark.must_overlap()
def test_the_processes_themselves():
    assert all_of(work.meet, work.meet, args=(context.Barrier(2),)) == [0, 0]

@pytest.mark.must_overlap("work:meet")
def test_again_and_nothing_is_left_of_the_tests_before():
    assert all_of(work.meet, work.meet, args=(context.Barrier(2),)) == [0, 0]

def test_the_fixture(concurrency):
    concurrency.watch(work.meet)
    assert all_of(work.meet, work.meet, work.meet, args=(context.Barrier(3),)) == [0, 0, 0]
    assert concurrency.peak(work.meet) == 3
    assert len({span.strand for span in concurrency.spans()}) == 3
    assert all(span.outcome == "returned" for span in concurrency.spans())

@pytest.mark.must_overlap("work:quick")
def test_calls_that_are_over_at_once_are_held_for_each_other():
    assert all_of(work.quick, work.quick) == [0, 0]

@pytest.mark.must_overlap("work:at_once")
def test_so_are_coroutines():
    assert all_of(work.run_at_once, work.run_at_once) == [0, 0]

@pytest.mark.must_not_overlap("work:quick")
def test_no_lock():
    assert all_of(work.quick, work.quick) == [0, 0]

@pytest.mark.must_not_overlap("work:quick", patience=0.1)
def test_a_lock():
    assert all_of(work.quick_inside, work.quick_inside, args=(context.Lock(),)) == [0, 0]

@pytest.mark.must_overlap("work:fails", at_least=2)
def test_the_childs_own_exception():
    assert all_of(work.fails) + all_of(work.fails) == [1, 1]

@pytest.mark.must_overlap("work:meet")
def test_the_bodys_own_exception():
    all_of(work.meet, work.meet, args=(context.Barrier(2),))
    raise LookupError("of the test's own")
"""
    )

    result.assert_outcomes(passed=10, failed=3)
    result.stdout.fnmatch_lines(
        [
            "expected calls of work:quick one at a time, saw 2 in progress together",
            "expected 2 calls of work:fails at once, saw at most 1",
            "Run one after the other: test_it.py:* in all_of waits for each call to end*",
            "E       LookupError: of the test's own",
        ]
    )


def test_pools(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
@pytest.mark.must_run_in_parallel("work:compute")
def test_computing():
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(work.compute, range(4)))

@pytest.mark.must_overlap("work:quick")
def test_pool_of_one():
    with context.Pool(1) as pool:
        assert pool.map(work.quick, range(4)) == [0, 1, 2, 3]

@pytest.mark.must_overlap("work:quick")
def test_one_chunk():
    with context.Pool(2) as pool:
        assert list(pool.imap_unordered(work.quick, range(4), chunksize=4)) == [0, 1, 2, 3]

def test_every_form(concurrency):
    concurrency.watch("work:quick")
    with context.Pool(2) as pool:
        pool.apply(work.quick, (1,))
        pool.apply_async(work.quick).get(60)
        pool.map(work.quick, range(2))
        pool.map_async(work.quick, range(2)).get(60)
        list(pool.imap(work.quick, range(2)))
        pool.starmap(work.quick, [(1,), (2,)])
    assert len(concurrency.spans()) == 10
""",
    )

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "expected 2 calls of work:quick at once, saw at most 1",
            "One process makes all the calls, started at test_it.py:* in test_pool_of_one:",
            "Give the pool at least 2 processes.",
            "One process makes all the calls, though 2 were started at test_it.py:* in",
            "Give map() a smaller chunksize, such as 1.",
        ]
    )


def test_a_child_that_closes_all_files_is_recorded_and_nothing_is_written_into_its_own(
    suite: Callable[..., pytest.RunResult],
) -> None:
    result = suite(
        """
def test_it(tmp_path, concurrency):
    concurrency.watch(work.quick)
    assert all_of(work.closes_all_files, args=(str(tmp_path / "own"),)) == [0]
    assert [span.outcome for span in concurrency.spans()] == ["returned"]
    assert (tmp_path / "own").read_text() == "the user's own"
"""
    )

    result.assert_outcomes(passed=1)


@pytest.mark.skipif(os.name == "nt", reason="processes are killed by a signal here")
def test_what_ends_inside_a_call_loses_that_call_only(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
@pytest.mark.parametrize("end", [work.is_killed, work.leaves])
def test_it(end, concurrency):
    concurrency.watch(end)
    concurrency.watch(work.quick)
    (code,) = all_of(end)
    assert code
    all_of(work.quick)
    (lost,) = concurrency.spans(end)
    (whole,) = concurrency.spans(work.quick)
    assert (lost.outcome, whole.outcome) == ("open", "returned")
    assert lost.end is not None and lost.end <= whole.start
    concurrency.assert_no_overlap(end, work.quick)
    concurrency.assert_overlap(end, work.quick)
"""
    )

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*Process '*' (pid *) ended inside a call of work:is_killed:*"])


def test_the_user_s_processes_are_as_they_were(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
from multiprocessing.process import BaseProcess
START = BaseProcess.start

class Own(context.Process):
    def run(self):
        sys.exit(sorted(set(vars(self)) & {"_pytest_concurrency"}) and 9 or 7)

@pytest.mark.must_overlap()
def test_it(tmp_path):
    process = Own(name="mine", daemon=True)
    process.start()
    process.join()
    assert (process.exitcode, process.name) == (7, "mine")
    assert "_pytest_concurrency" not in vars(process)

def test_nothing_is_left():
    assert BaseProcess.start is START
    import glob, tempfile
    assert glob.glob(tempfile.gettempdir() + f"/pytest-concurrency-{os.getpid()}-*") == []
""",
        "-rA",
    )

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["expected 2 strands of the test at once, saw at most 1*"])


def test_a_process_that_outlives_the_test_is_left_as_it_was(suite: Callable[..., pytest.RunResult]) -> None:
    result = suite(
        """
import tempfile, pathlib
kept = []

def test_one(concurrency):
    concurrency.watch("work:quick")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=work.quick_again, args=(ready, over))
    process.start()
    ready.wait(60)
    assert len(concurrency.spans()) == 1
    kept.extend([process, over])

def test_two():
    process, over = kept
    over.set()
    process.join()
    assert process.exitcode == 0
"""
    )

    result.assert_outcomes(passed=2)


def test_a_program_that_asks_for_it(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        work=WORK,
        sitecustomize="import os; os.environ['OWN_SITECUSTOMIZE'] = 'ran'",
        script="""
        import os, subprocess, sys, work
        assert os.environ["OWN_SITECUSTOMIZE"] == "ran"
        if sys.argv[1:]:
            subprocess.run([sys.executable, __file__], check=True)
        work.quick()
        """,
        test_it="""
        import os, subprocess, sys
        import pytest, work

        def run(*args, count=2, **more):
            environment = {**os.environ, "PYTHONPATH": os.getcwd(), **more}
            command = [sys.executable, *args, "script.py"]
            running = [subprocess.Popen(command, env=environment) for _ in range(count)]
            assert [each.wait() for each in running] == [0] * count

        @pytest.mark.must_overlap("work:quick")
        def test_held(monkeypatch):
            run(PYTEST_CONCURRENCY_CHILD="1")

        def test_its_children_too(concurrency, monkeypatch):
            concurrency.watch(work.quick)
            monkeypatch.setenv("PYTEST_CONCURRENCY_CHILD", "1")
            monkeypatch.setenv("PYTHONPATH", os.getcwd())
            subprocess.run([sys.executable, "script.py", "again"], check=True)
            assert len(concurrency.spans()) == 2
            assert len({span.strand for span in concurrency.spans()}) == 2

        @pytest.mark.must_overlap("work:quick")
        def test_not_asked():
            run()

        @pytest.mark.must_overlap("work:quick")
        def test_silent():
            run("-S", PYTEST_CONCURRENCY_CHILD="1", count=1)
        """,
    )

    result = inner()

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "work:quick was never called*",
            "Process 'python* -S script.py' (pid *) asked to be recorded*",
        ]
    )


# The pure parts


def told_by(folder: Path, pid: int, name: str, monkeypatch: pytest.MonkeyPatch) -> Journal:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        return Journal(str(folder), name, Start(1, 1, None, by_test=True))


def test_a_process_sees_what_the_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = {1, 2, 3, 4}
    monkeypatch.setattr("pytest_concurrency._record.others.is_alive", alive.__contains__)
    open_folder(str(tmp_path))
    parent, first = (told_by(tmp_path, pid, name, monkeypatch) for pid, name in ((1, "parent"), (2, "first")))
    monkeypatch.setattr(os, "getpid", lambda: 9)
    others = OtherProcesses(str(tmp_path))
    call = Span(1, 7, "work", 2, 0.6)

    parent.ready()
    first.ready()
    first.span(call)
    first.spent(0, 0.5)
    first.spent(0, 0.25)
    assert others.inside(["work", "other"]) == [("work", (2, 7))]
    assert others.inside(["other"]) == []
    assert others.spent(0) == 0.75
    assert not others.has_settled(0)
    assert not others.are_starting()
    assert others.pending() == ("process 'parent' (pid 1)", "process 'first' (pid 2)")

    parent.started(3)
    assert others.are_starting()
    assert others.pending()[-1] == "process 3"
    alive.remove(3)
    first.settled(0)
    parent.rests(2)
    assert not others.are_starting()
    assert others.has_settled(0)
    assert others.pending() == ("process 'first' (pid 2)",)

    delays = iter([5.0, 5.2, 5.2])
    monkeypatch.setattr("pytest_concurrency._record.others._delay", lambda _: next(delays))
    assert [round(others.kept_waiting(), 3) for _ in range(3)] == [0.0, 0.2, 0.0]

    alive.remove(2)
    assert others.inside(["work"]) == []
    assert others.pending() == ("process 'parent' (pid 1)",)


def test_two_threads_look_at_the_others_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder(str(tmp_path))
    first = told_by(tmp_path, 2, "first", monkeypatch)
    first.ready()
    first.span(Span(1, 7, "work", 2, 0.6))
    monkeypatch.setattr(os, "getpid", lambda: 9)
    others = OtherProcesses(str(tmp_path))
    seen: list[set[tuple[int, int, int]]] = []
    looks = [threading.Thread(target=lambda: seen.append(others.at_work())) for _ in range(2)]
    lines = Reader.lines

    def in_the_middle(reader: Reader) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in lines(reader):
            if looks:
                # Another thread looks: it is to be kept out, for as long as it may take.
                other = looks.pop()
                other.start()
                other.join(0.1)
                started.append(other)
            yield line

    started: list[threading.Thread] = []
    monkeypatch.setattr(Reader, "lines", in_the_middle)
    seen.append(others.at_work())
    for thread in started:
        thread.join()

    assert seen == [{(2, 7, threading.get_native_id())}] * 3


def test_a_look_in_the_middle_of_a_look_takes_nothing_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a finalizer does that calls what is watched."""
    open_folder(str(tmp_path))
    first = told_by(tmp_path, 2, "first", monkeypatch)
    first.span(Span(1, 7, "work", 2, 0.6))
    ends = [Span(1, 7, "work", 2, 0.6, done=3, done_time=0.7, last=4, end=0.7)]
    monkeypatch.setattr(os, "getpid", lambda: 9)
    others = OtherProcesses(str(tmp_path))
    lines = Reader.lines

    def in_the_middle(reader: Reader) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in lines(reader):
            while ends:
                # What comes after it is not to be taken for what came before.
                first.span(ends.pop())
                assert others.at_work() == set()
            yield line

    monkeypatch.setattr(Reader, "lines", in_the_middle)

    assert others.at_work() == {(2, 7, threading.get_native_id())}
    assert others.at_work() == set()


def test_a_journal_ends_with_the_test(tmp_path: Path) -> None:
    over: list[bool] = []
    folder = tmp_path / "folder"
    folder.mkdir()
    open_folder(str(folder))
    journal = Journal(str(folder), "P", Start(1, 1, None, by_test=True), lambda: over.append(True))
    journal.ready()
    assert not over

    close_folder(str(folder))
    journal.ready()
    journal.ready()

    assert over == [True]
    assert not folder.exists()


def span(number: int, strand: int, first: int, start: float, last: int | None, end: float | None) -> Span:
    return Span(number, strand, "work", first, start, last, end, last, end, "returned" if last else "open")


def child(pid: int, *spans: Span, start: float, ended: bool = True) -> Child:
    main = Strand(1, "thread", "MainThread", pid, 1, first=1, start=start)
    begun = Start(1, 1, Place("test_it.py", 3, "test_it"), by_test=True)
    return Child(pid, f"P{pid}", begun, {1: main}, {each.id: each for each in spans}, ended=ended)


PARENT = Trace(strands=(Strand(1, "thread", "MainThread", 1, 1, first=1, start=0.0),), watched={"work": "work"})


def test_the_order_of_children_is_that_of_time() -> None:
    # Each counts for itself: by number the first would lie after the second.
    first = child(11, span(1, 1, 50, 0.2, 51, 0.6), start=0.1)
    second = child(12, span(1, 1, 2, 0.4, 3, 0.8), start=0.1)
    third = child(13, span(1, 1, 2, 0.9, 3, 1.0), start=0.1)

    trace = merged(PARENT, [third, second, first])

    assert [strand.name for strand in trace.strands] == ["MainThread", "P13", "P12", "P11"]
    assert {strand.kind for strand in trace.strands[1:]} == {"process"}
    assert peak(trace, trace.spans) == 2
    assert judge(trace, Overlap(("work",), 3, expectation=-1)).status == "broken"


def test_calls_of_parent_and_child_are_on_one_line() -> None:
    inside = Trace(strands=PARENT.strands, spans=(span(1, 1, 10, 0.3, 20, 0.5),), watched={"work": "work"})
    beside = child(11, span(1, 1, 2, 0.4, 3, 0.45), start=0.1)
    after = child(12, span(1, 1, 2, 0.6, 3, 0.7), start=0.1)

    assert peak(merged(inside, [beside]), merged(inside, [beside]).spans) == 2
    assert peak(merged(inside, [after]), merged(inside, [after]).spans) == 1


def test_a_call_that_was_open_when_its_process_ended_is_over_and_said_to_be_lost() -> None:
    trace = merged(PARENT, [child(11, span(1, 1, 2, 0.4, None, None), start=0.1), child(12, start=0.5)])

    assert trace.spans[0].end == 0.4
    assert trace.spans[0].outcome == "open"
    assert trace.lost == (
        "Process 'P11' (pid 11) ended inside a call of work: what it did after 400.0 ms is not known.",
    )


def test_a_call_of_a_process_that_lives_is_open() -> None:
    trace = merged(PARENT, [child(11, span(1, 1, 2, 0.4, None, None), start=0.1, ended=False)])

    assert trace.spans[0].last is None
    assert trace.lost == ()


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    start = Start(3, 77, Place("test_it.py", 3, "test_it"), by_test=True)
    strand = Strand(1, "thread", "MainThread", 5, 6, first=1, start=0.5, place=Place("a.py", 1, "f"))
    call = Span(1, 1, "work", 2, 0.6, caller=(Place("a.py", 2, "g"),), place=Place("b.py", 9, "work"))
    release = Release(3, 0.7, 0, "quiet", (1,), (Wait(1, "lock", 5, (2,), Place("a.py", 3, "f")),), ("thread",))
    open_folder(str(tmp_path))
    journal = Journal(str(tmp_path), "P", start)
    journal.strand(strand)
    journal.span(call)
    journal.release(release)
    journal.problem("was not watched")
    journal.close()
    (file,) = tmp_path.glob("*.journal")
    with file.open("a") as unfinished:
        # Somebody is about to write this one.
        unfinished.write('["span", {"id": 1')

    (told,) = read(tmp_path)

    assert (told.pid, told.name, told.start) == (os.getpid(), "P", start)
    assert told.strands == {1: strand}
    assert told.spans == {1: call}
    assert told.releases == [release]
    assert told.problem == "was not watched"
    assert not told.ended
