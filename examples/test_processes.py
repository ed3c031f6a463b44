"""How processes are made and what they share: the claims P4 to P8 of the notes.

Run it with `pytest examples/test_processes.py`. You will see one body of code drive a pool of threads and a pool of
processes, a change that nobody else sees and four ways to send it across, and what a child knows when it begins: all
of it if it was forked, nothing if Python was started again.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lesson_work
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAMS = Path(__file__).parent / "programs"
# Python warns of a fork beside other threads, which pytest-xdist has. None of them holds a lock here.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

# P4


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_p4_both_pools_are_used_in_the_same_way(executor: Any, concurrency: Any) -> None:
    """P4: `ProcessPoolExecutor` is used exactly as the thread pool ("进程池 (与线程池用法一致").

    One body for both: submit, map, as_completed, an exception, the end. The one difference is not in the calls but in
    what may be handed in: whatever goes to another process must be pickled, and a lambda cannot be.

    Verdict: imprecise.
    Seen: the same test body passes with both, and 8 calls are recorded in either; only the thread pool takes a lambda.
    """
    concurrency.watch(lesson_work.square)

    with executor(max_workers=2) as pool:
        assert pool.submit(lesson_work.square, 3).result() == 9
        assert list(pool.map(lesson_work.square, [1, 2, 3])) == [1, 4, 9]
        futures = [pool.submit(lesson_work.square, number) for number in (4, 5, 6)]
        assert sorted(future.result() for future in as_completed(futures)) == [16, 25, 36]
        with pytest.raises(ValueError, match="no square of -1"):
            pool.submit(lesson_work.square, -1).result()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(lesson_work.square, 3)

    outcomes = [call.outcome for call in concurrency.spans(lesson_work.square)]
    assert sorted(outcomes) == ["raised"] + ["returned"] * 7


def test_p4_only_the_thread_pool_takes_a_lambda() -> None:
    """P4, the difference: a process is sent its work, a thread has it before its eyes."""
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: 1).result() == 1
    with ProcessPoolExecutor(1) as processes, pytest.raises((pickle.PicklingError, AttributeError)):
        processes.submit(lambda: 1).result()


# P5


def test_p5_a_process_is_one_process(concurrency: Any) -> None:
    """P5: `multiprocessing.Process` is one process, `Pool` is a pool ("multiprocessing.Pool#单个进程", "#进程池").

    The notes print `Pool` twice; the first is meant to be `Process`. It makes its one call in a process of its own.

    Verdict: imprecise.
    Seen: a Process makes one call, with another pid; a Pool of 3 has 3 calls in progress at once, in at most 3 pids.
    """
    concurrency.watch(lesson_work.tell)
    queue = multiprocessing.SimpleQueue()

    process = multiprocessing.Process(target=lesson_work.tell, args=(queue,))
    process.start()
    pid, _, _ = queue.get()
    process.join()

    assert pid == process.pid != os.getpid()
    assert [call.strand for call in concurrency.spans(lesson_work.tell)] == [process.name]


@pytest.mark.must_overlap("lesson_work.meet", at_least=3)
def test_p5_a_pool_is_at_most_as_many_processes_as_it_was_given() -> None:
    """P5, the pool: six calls by three processes, three at once."""
    barrier = multiprocessing.Barrier(3)
    with multiprocessing.Pool(3, initializer=lesson_work.join_party, initargs=(barrier,)) as pool:
        pids = pool.map(lesson_work.meet, range(6), chunksize=1)

    assert len(pids) == 6
    assert len(set(pids)) == 3
    assert os.getpid() not in pids


# P6


def in_a_child(context: Any, target: Callable[..., None], *args: object) -> None:
    """Run *target* in a process of its own, to its end."""
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.start_methods
def test_p6_a_plain_global_stays_where_it_was_changed(start_method: Any, concurrency: Any) -> None:
    """P6: there is inter-process communication ("有进程间通信"), and it is needed.

    Processes share no memory: what a child writes into a global, only that child reads. A queue, a pipe, shared memory
    and a manager carry it across.

    Verdict: true.
    Seen: a global that a child changed is unchanged in the parent, under each start method; a Queue, a Pipe, shared
    memory and a Manager carry it across.
    """
    concurrency.watch(lesson_work.add_one)
    lesson_work.counter = 0

    in_a_child(start_method, lesson_work.add_one)
    assert [call.outcome for call in concurrency.spans(lesson_work.add_one)] == ["returned"]
    assert lesson_work.counter == 0

    lesson_work.add_one()
    assert lesson_work.counter == 1


def test_p6_a_queue_a_pipe_shared_memory_and_a_manager_carry_it_across() -> None:
    """P6, the four ways."""
    context = multiprocessing.get_context()

    queue = context.Queue()
    in_a_child(context, lesson_work.send_by_queue, queue)
    assert queue.get(timeout=60) == "by queue"
    queue.close()
    queue.join_thread()

    receiver, sender = context.Pipe(duplex=False)
    in_a_child(context, lesson_work.send_by_pipe, sender)
    assert receiver.recv() == "by pipe"

    value = context.Value("i", 0)
    in_a_child(context, lesson_work.send_by_shared_memory, value)
    assert value.value == 1

    with context.Manager() as manager:
        shared = manager.dict(counter=0)
        in_a_child(context, lesson_work.send_by_manager, shared)
        assert shared["counter"] == 1


# P7 and P8


def numbers() -> Iterator[int]:
    yield 1
    yield 2
    yield 3


def what_a_child_finds(context: Any) -> tuple[int, int, int | None]:
    """Run a generator half-way here, and let a child tell what it finds of it."""
    lesson_work.half_run = numbers()
    try:
        assert next(lesson_work.half_run) == 1
        queue = context.SimpleQueue()
        in_a_child(context, lesson_work.tell, queue)
        return queue.get()
    finally:
        lesson_work.half_run = None


@pytest.mark.start_methods("fork")
def test_p7_a_forked_child_goes_on_from_the_middle(start_method: Any) -> None:
    """P7: fork: the child inherits memory, split off a half-run program ("从运行了一半的程序中裂变出去").

    The parent has run a generator half-way. No pickle can carry a generator, yet the child goes on where it stood. The
    notes say "linux": it is the start method that decides, and Linux's default is `forkserver` from Python 3.14.

    Verdict: imprecise.
    Seen: a forked child takes the next value of a generator that its parent had run half-way, and imports nothing
    again.
    """
    pid, imported_by, found = what_a_child_finds(start_method)

    assert pid != os.getpid()
    assert found == 2
    assert imported_by == os.getpid()
    with pytest.raises(TypeError, match="cannot pickle 'generator' object"):
        pickle.dumps(numbers())


@pytest.mark.skipif(sys.platform != "linux", reason="the note speaks of Linux")
def test_p7_linux_forks_by_default_until_python_3_13() -> None:
    """P7, where the note has grown old."""
    default = multiprocessing.get_context().get_start_method()

    assert default == ("fork" if sys.version_info < (3, 14) else "forkserver")


@pytest.mark.start_methods("spawn", "forkserver")
def test_p8_a_spawned_child_begins_anew_and_imports_the_file(start_method: Any) -> None:
    """P8: spawn: Python starts again and imports the file ("1. 启动python程序; 2.import代码文件").

    The child knows nothing of what the parent did at run time, and the file's import happens once more, in the child.
    The notes say "windows": spawn is the default there and on macOS, and works on every system, as `forkserver` does.

    Verdict: imprecise.
    Seen: the run-time value is absent in a child of spawn and forkserver, and its module was imported by another pid.
    """
    pid, imported_by, found = what_a_child_finds(start_method)

    assert pid != os.getpid()
    assert found is None
    assert imported_by != os.getpid()


def run_program(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAMS / name], capture_output=True, text=True, timeout=60, check=False)


def test_p8_the_guard_stops_endless_spawning() -> None:
    """P8, its consequence: without `if __name__ == "__main__":` the import starts a process that imports, and so on.

    It is not endless, though: Python notices that a child which is not ready yet wants a child, and refuses.
    """
    guarded, unguarded = run_program("guarded.py"), run_program("unguarded.py")

    assert guarded.stdout.splitlines() == ["imported as __main__", "imported as __mp_main__", "child"]
    assert "child" not in unguarded.stdout
    assert "before the\n        current process has finished its bootstrapping phase" in unguarded.stderr
