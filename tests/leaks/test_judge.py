"""Which leaks count. Leaks by hand; no loop, no thread, nothing runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_concurrency._judge.leaks import counts, findings, innocent, parse_rule
from pytest_concurrency._trace import Leak, Maker, Place

LINE = Place("/project/shop/client.py", 12, "Client.fetch")
MADE = (
    Maker("asyncio.tasks", Place("/lib/asyncio/tasks.py", 400, "create_task")),
    Maker("shop.client", LINE),
    Maker("test_shop", Place("/project/tests/test_shop.py", 5, "test_it")),
)
TASK = Leak("task", "Task-2", LINE, what="worker", state="still pending", made=MADE)
THREAD = Leak("thread", "Thread-1 (run)", LINE, what="run", state="still running", made=MADE)


def test_what_the_test_started_counts() -> None:
    assert innocent(TASK) is None
    assert counts(TASK, (), "/project")


def maker(module: str) -> tuple[Maker, ...]:
    return (*MADE[:1], Maker(module, Place("/site-packages/x.py", 1, "x")), *MADE[2:])


def standing_in(*lines: str) -> Leak:
    """Return a thread that stands in these lines, each a file and a function, outermost first."""
    return replace(THREAD, stack=tuple(Place(line.split()[0], 1, line.split()[1]) for line in lines))


TRIO = ("/lib/threading.py Thread.run", "/site/trio/_core/_thread_cache.py WorkerThread._work")
ANYIO = ("/lib/threading.py Thread._bootstrap", "/site/anyio/_backends/_asyncio.py WorkerThread.run")


@pytest.mark.parametrize(
    ("leak", "reason"),
    [
        pytest.param(
            replace(TASK, made=maker("pytest_asyncio.plugin")), "the test runner made it", id="pytest-asyncio"
        ),
        pytest.param(replace(TASK, made=maker("anyio.pytest_plugin")), "the test runner made it", id="anyio's plugin"),
        pytest.param(replace(THREAD, made=maker("xdist.workermanage")), "the test runner made it", id="xdist"),
        pytest.param(replace(THREAD, made=maker("_pydevd_bundle.pydevd_comm")), "a debugger's", id="a debugger"),
        pytest.param(
            replace(THREAD, made=(Maker("multiprocessing.resource_tracker", LINE), *MADE)),
            "multiprocessing keeps its tracker",
            id="the resource tracker",
        ),
        pytest.param(
            standing_in(*TRIO, "/site/blockbuster/blockbuster.py wrapper"),
            "trio keeps idle threads",
            id="an idle thread of trio's",
        ),
        pytest.param(
            standing_in(*ANYIO, "/lib/queue.py Queue.get", "/lib/threading.py Condition.wait"),
            "anyio keeps idle threads",
            id="an idle thread of anyio's",
        ),
        pytest.param(
            replace(THREAD, name="asyncio-waitpid-0"), "it waits for a child process", id="a child watcher's thread"
        ),
        pytest.param(Leak("socket", "to 1.2.3.4:5", None), "a server accepted it", id="an accepted connection"),
    ],
)
def test_these_are_innocent(leak: Leak, reason: str) -> None:
    assert (innocent(leak) or "").startswith(reason)
    assert not counts(leak, (), "/project")


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(
            standing_in(*TRIO, "/site/trio/_core/_thread_cache.py WorkerThread._handle_job", "/lib/queue.py Queue.get"),
            id="a thread of trio's that works",
        ),
        pytest.param(standing_in(*ANYIO, "/project/job.py run"), id="a thread of anyio's that works"),
        pytest.param(standing_in(*ANYIO), id="a thread of anyio's that works in C"),
        pytest.param(replace(TASK, made=maker("anyio.from_thread")), id="a library's"),
        pytest.param(replace(TASK, made=maker("pytest_asyncio_helpers")), id="a name that only begins like a runner's"),
        pytest.param(Leak("socket", "to 1.2.3.4:5", LINE), id="a connection that the test opened"),
    ],
)
def test_these_are_not(leak: Leak) -> None:
    assert innocent(leak) is None


@pytest.mark.parametrize(
    ("rule", "lets_off"),
    [
        ("Task-*", True),
        ("Task-2", True),
        ("work?r", True),
        ("Thread-*", False),
        ("shop.client", True),
        ("shop", True),
        ("test_shop", True),
        ("shop.client:Client.fetch", True),
        ("shop.client:fetch", True),
        ("shop.client:Client.*", True),
        ("shop.client:close", False),
        ("shop.server:fetch", False),
        ("shop/*.py", True),
        ("tests/test_shop.py", True),
        ("./shop/client.py", True),
        ("shop/server.py", False),
    ],
)
def test_a_rule_names_what_is_left_or_a_line_that_led_to_it(rule: str, lets_off: bool) -> None:
    assert parse_rule(rule).lets_off(TASK, "/project") is lets_off
    assert counts(TASK, (parse_rule(rule),), "/project") is not lets_off


@pytest.mark.parametrize("text", ["", "  ", ":fetch", "shop.client:", "shop/client.py:fetch", "shop client:fetch"])
def test_a_malformed_rule_is_refused_with_the_forms_that_are_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a name such as Thread-\*, package\.module:function") as caught:
        parse_rule(text)

    assert repr(text) in str(caught.value)


def test_what_one_line_leaves_in_one_state_is_one_finding() -> None:
    leaks = [replace(TASK, name=f"Task-{number}") for number in range(3)]

    found = findings([*leaks, THREAD], (), "/project")

    assert [(finding.leak, finding.count) for finding in found] == [(leaks[0], 3), (THREAD, 1)]


def test_without_a_line_nothing_says_that_two_are_alike() -> None:
    leaks = [replace(TASK, name=f"Task-{number}", place=None) for number in range(2)]

    assert [finding.count for finding in findings(leaks, (), "/project")] == [1, 1]
