"""The words about leaks, whole. Findings by hand."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest

from pytest_concurrency._judge.leaks import Finding
from pytest_concurrency._show.leaks import failure_text, warning_text
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Leak, Place

PAGE = Page("/project")
LINE = Place("/project/shop.py", 12, "start")
AT = Place("/project/shop.py", 20, "worker")
TASK = Leak("task", "Task-2", LINE, what="worker", state="still pending", waits="queue", at=AT)
ALLOW = """\
To let it: a line of concurrency_allow_leaks with its name or place, or
may_leak(reason) for the whole test.
"""


def text_of(*findings: Finding) -> str:
    return failure_text(findings, PAGE)


def test_one_task() -> None:
    assert text_of(Finding((TASK,))) == dedent(
        f"""\
        left behind: task Task-2 (worker), started at shop.py:12

          task Task-2, which runs worker
            still pending
            started at shop.py:12 in start
            waits for a queue at shop.py:20 in worker

        To end it: await it, or cancel it and await that; a TaskGroup or a nursery does
        both.

        {ALLOW.replace(chr(10), chr(10) + "        ").rstrip()}"""
    )


def test_many_things() -> None:
    thread = Leak(
        "thread",
        "Thread-1 (run)",
        LINE,
        what="run",
        state="still running",
        at=AT,
        stack=(AT, Place("/lib/queue.py", 3, "Queue.get")),
        fixture="module fixture 'server'",
    )
    process = Leak("process", "pid 7", LINE, what="sleep 3", state="still running")
    found = (Finding((TASK, replace(TASK, name="Task-3"))), Finding((thread,)), Finding((process,)))

    assert text_of(*found) == dedent(
        f"""\
        left behind: 2 tasks, 1 thread and 1 process; first of all task Task-2, started at shop.py:12

          task Task-2, which runs worker
            2 times, still pending
            started at shop.py:12 in start
            waits for a queue at shop.py:20 in worker

          thread Thread-1 (run), which runs run
            still running
            started at shop.py:12 in start
            by the module fixture 'server'
            is at shop.py:20 in worker
            in /lib/queue.py:3 in Queue.get

          process pid 7, which runs sleep 3
            still running
            started at shop.py:12 in start

        Task: await it, or cancel it and await that; a TaskGroup or a nursery does both.
        Thread: tell it to end, and join() it.
        Process: terminate() it, then wait(), communicate() or join().

        {ALLOW.replace(chr(10), chr(10) + "        ").rstrip()}"""
    )


def test_many_lines_are_cut() -> None:
    found = tuple(Finding((replace(TASK, place=replace(LINE, line=line)),)) for line in range(1, 13))

    text = text_of(*found)

    assert text.startswith("left behind: 12 tasks; first of all task Task-2, started at shop.py:1\n")
    assert "\n\n  and what 2 more lines left\n\n" in text


@pytest.mark.parametrize(
    ("leak", "lines"),
    [
        pytest.param(
            Leak("coroutine", "fetch", LINE, state="never awaited"),
            """\
            left behind: coroutine fetch, made at shop.py:12

              coroutine fetch
                never awaited
                made at shop.py:12 in start

            To end it: await it, or start a task with it; if it is not needed, do not make
            it.""",
            id="coroutine",
        ),
        pytest.param(
            Leak("generator", "pages", LINE, state="dropped before its end", at=AT),
            """\
            left behind: async generator pages, begun at shop.py:12

              async generator pages
                dropped before its end
                begun at shop.py:12 in start
                suspended at shop.py:20 in worker

            To end it: iterate it to its end, or inside `async with
            contextlib.aclosing(...)`.""",
            id="generator",
        ),
        pytest.param(
            Leak("executor", "ThreadPoolExecutor", LINE, state="not shut down, with 2 workers"),
            """\
            left behind: executor ThreadPoolExecutor, made at shop.py:12

              executor ThreadPoolExecutor
                not shut down, with 2 workers
                made at shop.py:12 in start

            To end it: shut it down, or use it in a `with` block.""",
            id="executor",
        ),
        pytest.param(
            Leak("loop", "Loop", LINE, state="never closed"),
            """\
            left behind: event loop Loop, made at shop.py:12

              event loop Loop
                never closed
                made at shop.py:12 in start

            To end it: close() it, or let asyncio.run() or asyncio.Runner do that.""",
            id="loop",
        ),
        pytest.param(
            Leak("socket", "listening at ::1:80", LINE, what="Server", state="left open on its event loop"),
            """\
            left behind: socket listening at ::1:80, opened at shop.py:12

              socket listening at ::1:80
                left open on its event loop
                opened at shop.py:12 in start

            To end it: close() it and await wait_closed(); `async with` does both.""",
            id="socket",
        ),
        pytest.param(
            Leak("exception", "Task-2", LINE, what="ValueError: no", state="raised, and nobody looked", stack=(AT,)),
            """\
            left behind: exception that nobody retrieved of Task-2, task started at shop.py:12

              exception that nobody retrieved of Task-2
                raised, and nobody looked
                task started at shop.py:12 in start
                  shop.py:20 in worker
                  ValueError: no

            To end it: await the task, or ask for its exception().""",
            id="exception",
        ),
    ],
)
def test_each_kind(leak: Leak, lines: str) -> None:
    assert text_of(Finding((leak,))) == f"{dedent(lines)}\n\n{ALLOW.rstrip()}"


def test_a_warning_is_the_same_each_time_for_the_same_line() -> None:
    text = warning_text(Finding((TASK,)), PAGE)

    assert text == dedent(
        """\
        task worker left behind: still pending
          started at shop.py:12 in start
          waits for a queue at shop.py:20 in worker
          instead: await it, or cancel it and await that; a TaskGroup or a nursery does both"""
    )
    assert warning_text(Finding((replace(TASK, name="Task-77"),)), PAGE) == text
