"""A test that hangs says who waits for whom before it is stopped: by a time-out, by Ctrl-C, or since it is proven."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, as POSIX has them")
CIRCLE = re.compile(r"deadlock: (ab|ba) waits for Lock `[ab]` held by (ab|ba), (ab|ba) waits for Lock `[ab]` held by")

# Deadlocks for every loop, and a way to be stopped exactly when nothing moves any more: no test waits for a clock.
HANGS = '''
    import asyncio, os, signal, threading

    def stop(number=signal.SIGALRM):
        os.kill(os.getpid(), number)

    async def hang(number=signal.SIGALRM, stops=True):
        a, b = asyncio.Lock(), asyncio.Lock()
        async def ab():
            async with a:
                await asyncio.sleep(0)
                async with b: pass
        async def ba():
            async with b:
                await asyncio.sleep(0)
                async with a: pass
        def later(turns):
            if turns:
                asyncio.get_running_loop().call_soon(later, turns - 1)
            else:
                # A loop keeps for itself what is raised in a callback.
                if hasattr(asyncio.get_running_loop(), "_selector"):
                    threading.Thread(target=lambda: (stuck("select"), stop(number))).start()
                else:
                    stop(number)
        if stops:
            later(20)
        await asyncio.gather(ab(), ba())

    async def hang_on_trio(number=signal.SIGALRM, stops=True):
        import trio, trio.testing
        a, b = trio.Lock(), trio.Lock()
        async def ab():
            async with a:
                await trio.testing.wait_all_tasks_blocked()
                async with b: pass
        async def ba():
            async with b:
                await trio.testing.wait_all_tasks_blocked()
                async with a: pass
        async def stopper():
            for _ in range(5):
                await trio.testing.wait_all_tasks_blocked()
            stop(number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ab)
            nursery.start_soon(ba)
            if stops:
                nursery.start_soon(stopper)

    def stuck(*names):
        """Return when a thread stands in functions of those names."""
        from time import sleep
        from pytest_concurrency._frames import current_frames
        from pytest_concurrency._places import outward
        while not any(
            {each.f_code.co_name for each in outward(frame)} >= set(names) for frame in current_frames().values()
        ):
            sleep(0.001)

    def waits_here():
        ready = threading.Event()
        threading.Thread(target=lambda: (stuck("ready_waits", "wait"), stop())).start()
        def ready_waits():
            ready.wait()
        ready_waits()

    def guest(function, *args):
        import queue, trio
        jobs = queue.SimpleQueue()
        trio.lowlevel.start_guest_run(function, *args, run_sync_soon_threadsafe=jobs.put, done_callback=jobs.put)
        while callable(job := jobs.get()):
            job()
        job.unwrap()

    def hang_threads(number=signal.SIGALRM):
        a, b = threading.Lock(), threading.Lock()
        both = threading.Barrier(2)
        def ab():
            with a:
                both.wait()
                wants_b()
        def wants_b():
            with b: pass
        def ba():
            with b:
                both.wait()
                wants_a()
        def wants_a():
            with a: pass
        threads = [threading.Thread(target=each, name=each.__name__, daemon=True) for each in (ab, ba)]
        for thread in threads: thread.start()
        stuck("wants_a"), stuck("wants_b")
        def stopper():
            stuck("join")
            stop(number)
        threading.Thread(target=stopper).start()
        for thread in threads: thread.join()
'''


def section(lines: list[str], start: str) -> str:
    """Return the lines from the one that begins with *start* on."""
    number = next(n for n, line in enumerate(lines) if line.startswith(start))
    return "\n".join(lines[number:])


def test_a_time_out_by_signal_shows_it_in_the_report(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("pytest_timeout", reason="stops tests")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import asyncio, pytest, threading
        from hangs import hang, hang_threads, waits_here

        pytestmark = pytest.mark.timeout(200)

        def test_tasks():
            asyncio.run(hang())

        def test_threads():
            hang_threads()

        @pytest.fixture
        def in_setup():
            waits_here()

        def test_setup(in_setup):
            pass

        @pytest.fixture
        def in_teardown():
            yield
            waits_here()

        def test_teardown(in_teardown):
            pass

        def test_after():
            pass
        """,
    )

    result = inner("-v")

    result.assert_outcomes(passed=2, failed=2, errors=2)
    lines = result.outlines
    assert sum(bool(CIRCLE.match(line)) for line in lines) == 2
    assert sum(line == "MainThread waits for Event `ready` to be set" for line in lines) == 2
    assert sum("- who waits for whom -" in line for line in lines) == 4
    tasks = section(lines, "task ab")
    assert "  holds Lock `a`, taken at hangs.py:9\n" in tasks
    assert "  at hangs.py:11 in hang.<locals>.ab: async with b: pass\n" in tasks
    assert "task hang\n  waits for ab and ba\n" in tasks
    assert "thread MainThread\n  runs an event loop\n  at test_it.py:7 in test_tasks: asyncio.run(hang())\n" in tasks
    assert "Take them in the same order everywhere, or hold one at a time." in tasks

    without = inner("-p", "no:pytest_concurrency")

    without.assert_outcomes(passed=2, failed=2, errors=2)
    assert "who waits for whom" not in without.stdout.str()


def test_a_time_out_in_a_thread_shows_it_before_the_process_ends(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("pytest_timeout", reason="stops tests")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import asyncio, pytest, threading
        import pytest_timeout
        from hangs import hang, stuck

        def test_it(request):
            def stopper():
                stuck("select")
                pytest_timeout.timeout_timer(request.node, pytest_timeout._get_item_settings(request.node))
            async def main():
                task = asyncio.ensure_future(hang(stops=False))
                for _ in range(20):
                    await asyncio.sleep(0)
                threading.Thread(target=stopper, daemon=True).start()
                await task
            asyncio.run(main())
        """,
    )

    result = inner()

    assert result.ret == 1
    assert "test_it.py::test_it stopped by its time-out: who waits for whom" in result.errlines
    assert any(CIRCLE.match(line) for line in result.errlines)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("asyncio.run(hang(signal.SIGINT))", id="asyncio"),
        pytest.param("asyncio.new_event_loop().run_until_complete(hang(signal.SIGINT))", id="a loop without a runner"),
        pytest.param("hang_threads(signal.SIGINT)", id="threads"),
        pytest.param("import trio; trio.run(hang_on_trio, signal.SIGINT)", id="trio"),
        pytest.param("import uvloop; uvloop.run(hang(signal.SIGINT))", id="uvloop"),
        pytest.param("import anyio; guest(hang_on_trio, signal.SIGINT)", id="trio as a guest"),
    ],
)
def test_ctrl_c_shows_it_at_once(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], body: str) -> None:
    for library in ("trio", "uvloop", "anyio"):
        if library in body:
            pytest.importorskip(library, reason="runs on it")
    pytester.makepyfile(
        hangs=HANGS,
        test_it=f"""
        import asyncio, signal
        from hangs import guest, hang, hang_on_trio, hang_threads

        def test_it():
            {body}
        """,
    )

    result = inner("-W", "ignore")

    assert "test_it.py::test_it stopped by Ctrl-C: who waits for whom" in result.errlines
    assert sum(bool(CIRCLE.match(line)) for line in result.errlines) == 1
    assert "KeyboardInterrupt" in result.stdout.str()
    # Where the program was, not where we were.
    assert "_hang_run" not in result.stdout.str()


def test_ctrl_c_in_a_program_that_computes_shows_nothing(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile("def test_it():\n    import os, signal\n    os.kill(os.getpid(), signal.SIGINT)\n")

    result = inner()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "who waits for whom" not in result.stderr.str()


def test_every_worker_of_xdist_shows_its_own(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist", reason="runs in workers")
    pytest.importorskip("pytest_timeout", reason="stops tests")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import asyncio, pytest
        from hangs import hang

        @pytest.mark.timeout(200)
        @pytest.mark.parametrize("number", range(3))
        def test_it(number):
            asyncio.run(hang())
        """,
    )

    result = inner("-n2")

    result.assert_outcomes(failed=3)
    assert sum(bool(CIRCLE.match(line)) for line in result.outlines) == 3


def test_a_proven_deadlock_fails_a_test_that_has_an_opinion_at_once(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("trio", reason="runs on it")
    if not os.access("/proc/self/syscall", os.R_OK):
        pytest.skip("the kernel has to tell of threads")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import asyncio, pytest, subprocess, sys, threading
        from hangs import hang, hang_on_trio

        def test_asyncio(concurrency):
            asyncio.run(hang(stops=False))

        @pytest.mark.must_finish_within(200)
        def test_trio():
            import trio
            trio.run(hang_on_trio, None, False)

        async def fetch():
            pass

        @pytest.mark.must_overlap("test_it.fetch")
        def test_after_calls_that_were_held():
            async def main():
                lock = asyncio.Lock()
                async with lock:
                    await fetch()
                    async with lock: pass
            asyncio.run(main())

        def test_a_thread_may_still_come(concurrency):
            async def main():
                done = asyncio.Event()
                loop = asyncio.get_running_loop()
                def late():
                    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)"])
                    loop.call_soon_threadsafe(done.set)
                threading.Thread(target=late).start()
                await done.wait()
            asyncio.run(main())

        def test_a_thread_may_still_come_on_trio(concurrency):
            import trio
            async def main():
                done = trio.Event()
                token = trio.lowlevel.current_trio_token()
                def late():
                    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.3)"])
                    token.run_sync_soon(done.set)
                threading.Thread(target=late).start()
                await done.wait()
            trio.run(main)

        def test_a_process_and_a_worker_may_still_come(concurrency):
            async def main():
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(0.3)")
                await process.wait()
                await asyncio.to_thread(subprocess.run, [sys.executable, "-c", ""])
            asyncio.run(main())

        def test_a_signal_may_still_come(concurrency):
            import signal
            async def main():
                done = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, done.set)
                threading.Timer(0.3, signal.raise_signal, [signal.SIGUSR1])
                subprocess.Popen([sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGUSR1)"])
                await done.wait()
            asyncio.run(main())
        """,
    )

    result = inner("-W", "ignore")

    result.assert_outcomes(passed=4, failed=3)
    assert sum(bool(CIRCLE.match(line)) for line in result.outlines) == 2
    assert any(line.startswith("FAILED test_it.py::test_trio - deadlock: ") for line in result.outlines)
    assert "deadlock: main waits for Lock `lock`, which it holds itself" in result.outlines
    text = section(result.outlines, "deadlock: main")
    assert "last spans:\n  test_it.fetch on Task-" in text
    assert "It is not reentrant: take it once, outside, or let the inner function expect it" in text


def test_threads_that_are_proven_deadlocked_fail_a_test_at_once_too(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    if not os.access("/proc/self/syscall", os.R_OK):
        pytest.skip("the kernel has to tell of threads")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import asyncio, pytest, queue, signal, subprocess, sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from hangs import hang_threads

        def test_lock(concurrency):
            lock = threading.Lock()
            with lock:
                with lock: pass

        def test_item(concurrency):
            queue.Queue().get()

        def test_item_of_c(concurrency):
            queue.SimpleQueue().get()

        def test_event(concurrency):
            threading.Event().wait()

        def test_pool_of_one(concurrency):
            with ThreadPoolExecutor(1) as pool:
                pool.submit(lambda: pool.submit(int).result()).result()

        @pytest.fixture
        def pool():
            with ThreadPoolExecutor(1) as pool:
                yield pool

        def test_pool_of_a_fixture(concurrency, pool):
            pool.submit(lambda: pool.submit(int).result()).result()

        def test_a_lock_of_threads_in_coroutines(concurrency):
            async def main():
                lock = threading.Lock()
                async def take():
                    with lock:
                        await asyncio.sleep(0)
                await asyncio.gather(take(), take())
            asyncio.run(main())

        @pytest.mark.must_finish_within(200)
        def test_threads():
            hang_threads(0)

        @pytest.fixture
        def urgent():
            signal.signal(signal.SIGURG, lambda *_: done.set())
            done = threading.Event()
            yield done
            signal.signal(signal.SIGURG, signal.SIG_DFL)

        def test_a_signal_may_still_come(concurrency, urgent):
            subprocess.Popen([sys.executable, "-c", "import os, signal; os.kill(os.getppid(), signal.SIGURG)"])
            urgent.wait()
        """,
    )

    result = inner("-W", "ignore")

    result.assert_outcomes(passed=1, failed=8, errors=1)
    assert result.ret == 1
    assert [line.partition(" - ")[2].partition(": ")[0] for line in result.outlines if line.startswith("FAILED")] == [
        "deadlock",
        *["nobody can go on any more"] * 3,
        *["deadlock"] * 4,
    ]
    assert "a fixture waited for what its test has been proven to wait for in vain" in result.outlines
    assert result.errlines == [
        "pytest_concurrency ends the process, whose threads wait for ever, as was proven: 'ThreadPoolExecutor-0_0',"
        " 'ThreadPoolExecutor-1_0'"
    ]
    assert "deadlock: MainThread waits for Lock `lock`, which it holds itself" in result.outlines
    assert sum(bool(CIRCLE.match(line)) for line in result.outlines) == 1
    text = section(result.outlines, "nobody can go on any more: MainThread is in queue")
    assert text.startswith("nobody can go on any more: MainThread is in queue.SimpleQueue().get()\n\nthread MainThread")


def test_who_has_to_wait_for_others_is_not_deadlocked(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import asyncio, multiprocessing.util, pytest, sched, socket, socketserver, subprocess, sys, threading, time
        from concurrent.futures import ProcessPoolExecutor

        @pytest.fixture(scope="module")
        def pool():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                yield pool

        @pytest.fixture(scope="module")
        def executor():
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
                yield executor

        # Its threads are older than the tests that follow.
        def test_first(pool, executor, concurrency):
            assert pool.apply(int) + executor.submit(int).result() == 0

        def test_a_pool(pool, concurrency):
            pool.apply(time.sleep, (0.7,))

        def test_an_executor(executor, concurrency):
            executor.submit(time.sleep, 0.7).result()

        def test_a_loop_in_front_of_it(pool, concurrency):
            async def main():
                loop = asyncio.get_running_loop()
                done = loop.create_future()
                pool.apply_async(time.sleep, (0.7,), callback=lambda _: loop.call_soon_threadsafe(done.set_result, 1))
                await done
            asyncio.run(main())

        def be_slow_to_end():
            multiprocessing.util.Finalize(None, time.sleep, (0.7,), exitpriority=10)

        def test_an_executor_that_is_left(concurrency):
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, spawn, initializer=be_slow_to_end) as executor:
                executor.submit(int).result()

        @pytest.fixture(scope="module")
        def scheduler():
            # Its thread is older than the test, and none of its code is the user's.
            scheduler, ended = sched.scheduler(delayfunc=threading.Event().wait), threading.Event()
            scheduler.enter(2, 1, ended.set)
            thread = threading.Thread(target=scheduler.run)
            thread.start()
            yield ended
            thread.join()

        def test_before_it(scheduler, concurrency):
            pass

        def test_a_scheduler(scheduler, concurrency):
            scheduler.wait()

        def test_a_program(concurrency):
            done = threading.Event()
            def late():
                subprocess.run([sys.executable, "-c", "import time; time.sleep(0.7)"])
                done.set()
            threading.Thread(target=late).start()
            done.wait()

        def test_a_timer(concurrency):
            done = threading.Event()
            threading.Timer(0.7, done.set).start()
            done.wait()

        def test_a_server_that_is_shut_down(concurrency):
            server = socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler)
            # It looks twice a second whether it is to end.
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            server.shutdown()
            thread.join()
            server.server_close()

        def test_somebody_connects(concurrency):
            done = threading.Event()
            with socket.create_server(("127.0.0.1", 0)) as listener:
                def serve():
                    listener.accept()[0].close()
                    done.set()
                threading.Thread(target=serve).start()
                code = "import socket, time; time.sleep(0.7); socket.create_connection(('127.0.0.1', %d))"
                with subprocess.Popen([sys.executable, "-c", code % listener.getsockname()[1]]):
                    done.wait()
        """,
        test_fork="""
        import multiprocessing, time

        def test_a_fork_beside_it(concurrency):
            # Where Python warns of threads, of ours it does not.
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(0.5,))
            child.start()
            child.join()
        """,
    )

    result = inner("-W", "error", "-W", "ignore::pytest.PytestDeprecationWarning")

    result.assert_outcomes(passed=12)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("fixture", ["", "concurrency"])
def test_a_child_that_hangs_on_a_lock_from_before_its_fork_says_so(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], fixture: str
) -> None:
    pytest.importorskip("pytest_timeout", reason="stops tests")
    pytester.makepyfile(
        hangs=HANGS,
        test_it="""
        import multiprocessing, os, pytest, signal, sys, threading
        from hangs import stop, stuck

        lock = threading.Lock()

        def child():
            with lock: pass

        def keeps(started, done):
            with lock:
                started.set()
                done.wait()

        @pytest.mark.timeout(200)
        def test_it(FIXTURE):
            started, done = threading.Event(), threading.Event()
            threading.Thread(target=keeps, args=(started, done), name="keeper", daemon=True).start()
            started.wait()
            process = multiprocessing.get_context("fork").Process(target=child, daemon=True, name="worker")
            process.start()
            threading.Thread(target=lambda: (stuck("poll"), stop())).start()
            try:
                process.join()
            finally:
                process.kill()
                done.set()
        """.replace("FIXTURE", fixture),
    )

    result = inner("-W", "ignore")

    result.assert_outcomes(failed=1)
    text = re.sub(r"pid \d+", "pid 7", section(result.outlines, "thread MainThread of worker"))
    assert text.startswith(
        """\
thread MainThread of worker (pid 7)
  waits for Lock `lock`, which thread 'keeper' of the parent process held at
    test_it.py:10 when it forked: no thread here can give it back
  at test_it.py:7 in child: with lock: pass
"""
    )


def test_all_that_was_put_in_place_is_taken_out(run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = run_python(
        """
import asyncio, pathlib, signal, sys, tempfile
import pytest
try:
    import pytest_timeout
except ImportError:
    pytest_timeout = None
try:
    from trio._core import _ki
except ImportError:
    _ki = None
from asyncio import runners, base_events

def state():
    return (
        signal.default_int_handler, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGURG),
        runners.Runner._on_sigint, base_events.BaseEventLoop._run_once,
        _ki and _ki.KIManager.install, pytest_timeout and pytest_timeout.dump_stacks,
    )

before = state()
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "test_it.py").write_text(
    "import asyncio, os\\n"
    "def test_it(concurrency):\\n"
    "    asyncio.run(asyncio.sleep(0))\\n"
    "    if os.fork() == 0: os._exit(0)\\n"
    "    os.wait()\\n"
)
code = pytest.main(["-q", "-W", "ignore", "-p", "no:cacheprovider", str(folder)])
print(int(code), state() == before)
"""
    )

    assert result.stdout.split("\n")[-2] == "0 True", result.stdout + result.stderr


def test_a_program_that_has_its_own_handler_keeps_it(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        conftest="""
        import signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        """,
        test_it="""
        import signal
        def test_it():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        """,
    )

    inner().assert_outcomes(passed=1)
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
