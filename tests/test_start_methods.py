"""The marker `start_methods`: a test under each start method of multiprocessing; what is said when they disagree."""

from __future__ import annotations

import multiprocessing
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]
needs_all = pytest.mark.skipif(len(METHODS) < 3, reason="this system has not all start methods")

CONFTEST = """
import multiprocessing

def pytest_unconfigure(config):
    # None: nobody has settled the program's default.
    print("LEFT", multiprocessing.get_start_method(allow_none=True))
"""
AGREES = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
import pytest
import app

DEFAULT = multiprocessing.get_start_method(allow_none=True)
every = pytest.mark.start_methods()

def now():
    return multiprocessing.get_start_method(allow_none=True)

@pytest.fixture
def early():
    return now()

@every
def test_default(start_method, early):
    assert now() == early == start_method.get_start_method()
    assert multiprocessing.get_context().get_start_method() == early
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(app.method).result() == early

@every
@pytest.mark.xfail(raises=LookupError)
def test_raises():
    raise LookupError(now())

@every
def test_chooses_itself():
    multiprocessing.set_start_method("spawn", force=True)

def test_default_is_back(start_method):
    assert now() == DEFAULT
    assert start_method.get_start_method() == multiprocessing.get_all_start_methods()[0]
    assert now() == DEFAULT

@pytest.mark.start_methods("spawn")
class TestClass:
    def test_class(self, request):
        assert now() == "spawn"

    @every
    def test_nearest(self):
        pass

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.start_methods("spawn")
def test_with_others(number):
    assert now() == "spawn"

@pytest.mark.must_overlap("app.meet")
@pytest.mark.start_methods("spawn")
def test_with_another_marker(start_method):
    barrier = start_method.Barrier(2)
    processes = [start_method.Process(target=app.meet, args=(barrier,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
"""
APP = """
import multiprocessing, os, threading

RATE = 1
LOCK = threading.Lock()

def method():
    return multiprocessing.get_start_method(allow_none=True)

def meet(barrier):
    barrier.wait(60)

def total():
    return RATE * 2

def send_total(queue):
    queue.put(total())

def take(queue):
    queue.put(LOCK.acquire(blocking=False))

def write(descriptor):
    os.write(descriptor, b"x")
"""
DISAGREES = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
import pytest
import app

pytestmark = pytest.mark.start_methods("fork", "spawn", "forkserver")

def run(target, *args):
    process = multiprocessing.Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode

def test_agrees():
    assert run(app.total) == 0

def test_fails_everywhere():
    assert run(app.total) == 1

def test_global(start_method, monkeypatch, concurrency):
    # A watched function's code is not its own meanwhile.
    concurrency.watch("app:total")
    monkeypatch.setattr(app, "RATE", 21)
    queue = start_method.SimpleQueue()
    run(app.send_total, queue)
    assert queue.get() == 42

def test_pool(monkeypatch):
    monkeypatch.setattr(app, "RATE", 21)
    with ProcessPoolExecutor(1) as pool:
        assert list(pool.map(app.total)) or pool.submit(app.total).result() == 42

def test_multiprocessing_pool(monkeypatch):
    monkeypatch.setattr(app, "RATE", 21)
    with multiprocessing.Pool(1) as pool:
        assert pool.apply(app.total) == 42

def test_local():
    def local(): pass
    assert run(local) == 0

def test_made_at_run_time(monkeypatch):
    def made(): pass
    made.__module__, made.__qualname__ = "app", "made"
    monkeypatch.setattr(app, "made", made, raising=False)
    assert run(app.made) == 0

def test_descriptor():
    reader, writer = os.pipe()
    assert run(app.write, writer) == 0

def test_lock(start_method):
    queue = start_method.SimpleQueue()
    with app.LOCK:
        run(app.take, queue)
    assert queue.get()

@pytest.fixture
def broken(start_method, monkeypatch):
    monkeypatch.setattr(app, "RATE", 21)
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(app.total).result() == 42

def test_set_up(broken):
    pass
"""
REMEDY = """\
  A new child imports the program anew and has what that makes, no more. Send the
  rest along as an argument, or set it in the child: a pool has initializer= for
  that.
"""
RATE = f"""\
  app.RATE, which app.total reads, is 21 here and 1 in a new child.
{REMEDY}"""
AFTER_FORK = "passed under fork, failed under spawn and forkserver"
SUMMARY = f"""\
test_it.py::test_global: {AFTER_FORK}
{RATE}\
test_it.py::test_pool: {AFTER_FORK}
{RATE}\
test_it.py::test_multiprocessing_pool: {AFTER_FORK}
{RATE}\
test_it.py::test_local: {AFTER_FORK}
  The process's target could not be sent to the child (function: LOCAL). Only a fork takes everything along: give
  it a function that stands at the top of a module.
test_it.py::test_made_at_run_time: {AFTER_FORK}
  The child found no made in app, which it imports anew: it was put there at run
  time, or only where that module is run as a program. Define it at the top of the
  module.
test_it.py::test_descriptor: {AFTER_FORK}
  File descriptor N (a pipe), which the child was given as a number, is not open
  there. Send the Connection or the socket itself, or a path.
test_it.py::test_lock: passed under spawn and forkserver, failed under fork
  app.LOCK, which app.take reads, was held at the fork. The child has a copy that
  stays held: whoever would release it is not there. Fork while it is free, or
  make it in the child.
test_it.py::test_set_up: {AFTER_FORK}
{RATE}"""


def told(text: str) -> dict[str, list[str]]:
    """Return what the summary says of each test, word by word: lines break elsewhere where a name is longer."""
    section = re.split(r"^=+ start methods =+$", text, flags=re.MULTILINE)[-1]
    section = re.split(r"^==", section, flags=re.MULTILINE)[0]
    section = re.sub(r"descriptor \d+", "descriptor N", section)
    section = re.sub(r"\(function:\s[^()]*\)", "(function: LOCAL)", section)
    # Each run of a test has a descriptor of its own.
    section = re.sub(r"(  File descriptor N[^.]*\.[^.]*\.\n)\1+", r"\1", section)
    words = [part.split() for part in re.split(r"^(?=test_it)", section, flags=re.MULTILINE) if part.strip()]
    return {part[0]: part[1:] for part in words}


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Callable[[str], None]:
    def make(tests: str) -> None:
        # A module of its own, which a child can import: it stands on sys.path, as the tests do.
        pytester.makepyfile(app=APP, test_it=tests)
        pytester.makeconftest(CONFTEST)

    return make


def test_a_test_runs_once_under_each_and_the_default_comes_back(
    suite: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    suite(AGREES)

    result = inner("-v", "-s", "-W", "ignore:.*fork:DeprecationWarning")

    number = len(METHODS)
    result.assert_outcomes(passed=3 * number + 5, xfailed=number)
    for method in METHODS:
        result.stdout.fnmatch_lines([f"test_it.py::test_default[[]{method}] *PASSED*"])
        result.stdout.fnmatch_lines([f"test_it.py::TestClass::test_nearest[[]{method}] *PASSED*"])
    result.stdout.fnmatch_lines(["test_it.py::TestClass::test_class[[]spawn] *PASSED*"])
    assert result.outlines.count("LEFT None") == 1
    result.stdout.no_fnmatch_line("*= start methods =*")


@needs_all
@pytest.mark.parametrize("workers", [0, 2])
def test_a_disagreement_is_told_with_what_the_child_lacked(
    workers: int, suite: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    suite(DISAGREES)

    result = inner("-W", "ignore:.*fork:DeprecationWarning", *([f"-n{workers}"] if workers else []))

    text = result.stdout.str()
    if not workers:
        result.assert_outcomes(passed=12, failed=16, errors=2)
        assert result.outlines.count("LEFT None") == 1
    assert told(text) == told(f"== start methods ==\n{SUMMARY}")
    # With each failure, too.
    (section,) = re.findall(r"^_+ test_global\[spawn\] _+$.*?^-+ (start method spawn.*?)^__", text, re.M | re.S)
    lines = section.splitlines()
    assert lines[1:3] == [
        f"This test {AFTER_FORK}.",
        "app.RATE, which app.total reads, is 21 here and 1 in a new child.",
    ]
    (everywhere,) = re.findall(r"^_+ test_fails_everywhere\[spawn\] _+$.*?^__", text, re.M | re.S)
    assert "start method spawn" not in everywhere


WRONG = """
import unittest
import pytest

@pytest.mark.start_methods("thread")
def test_unknown(start_method): pass

@pytest.mark.start_methods("spawn", "spawn")
def test_twice(): pass

@pytest.mark.start_methods(1)
def test_number(): pass

@pytest.mark.start_methods(method="spawn")
def test_keyword(): pass

class TestCase(unittest.TestCase):
    @pytest.mark.start_methods("spawn")
    def test_case(self): pass

@pytest.mark.start_methods("spawn", "forkserver")
def test_absent(): pass

@pytest.mark.start_methods
def test_all_there_are(): pass
"""


def test_wrong_markers_are_errors_and_absent_methods_are_skipped(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(WRONG)
    # As on Windows.
    pytester.makeconftest("import multiprocessing\nmultiprocessing.get_all_start_methods = lambda: ['spawn']")

    result = inner("-rs", "-v")

    result.assert_outcomes(passed=2, skipped=1, errors=5)
    result.stdout.fnmatch_lines(["test_*::test_all_there_are[[]spawn] *PASSED*"])
    for line in (
        "@pytest.mark.start_methods('thread'): 'thread' is not a start method: expected some of fork, spawn, *",
        "@pytest.mark.start_methods('spawn', 'spawn'): 'spawn' is named twice",
        "@pytest.mark.start_methods(1): expected names such as 'spawn', not 1",
        "@pytest.mark.start_methods(method='spawn'): got an unexpected keyword argument 'method'",
        "@pytest.mark.start_methods: this test cannot be run once per start method, since pytest does not *",
        "SKIPPED *there is no start method 'forkserver' on this system, which has spawn",
    ):
        result.stdout.fnmatch_lines([line.replace("[", "[[]")])


def test_ctrl_c_gives_the_default_back(suite: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    suite(
        """
        import pytest

        @pytest.mark.start_methods("spawn")
        def test_it():
            raise KeyboardInterrupt
        """
    )

    result = inner("-s")

    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert result.outlines.count("LEFT None") == 1


def test_without_the_plugin_nothing_happens(
    suite: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    suite("import pytest\n\n@pytest.mark.start_methods()\ndef test_it(): pass\n")

    result = inner("-p", "no:pytest_concurrency", "-W", "ignore::pytest.PytestUnknownMarkWarning")

    result.assert_outcomes(passed=1)


def test_a_run_without_the_marker_does_not_import_multiprocessing(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = run_python("import sys, pytest_concurrency._start_methods; print('multiprocessing' in sys.modules)")

    assert (result.stdout, result.stderr) == ("False\n", "")
