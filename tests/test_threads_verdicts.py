"""Every verdict on calls in threads, and the text that says why: fakes that return at once, and no test sleeps."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

ROWS = """
import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

must_overlap = pytest.mark.must_overlap
must_not_overlap = pytest.mark.must_not_overlap
LOCK = threading.Lock()


def fetch():
    return 1


def locked():
    with LOCK:
        fetch()


def run(*functions):
    threads = [threading.Thread(target=function, name=f"T{number}") for number, function in enumerate(functions, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@must_overlap("test_rows.fetch", at_least=3)
def test_held_threads():
    run(fetch, fetch, fetch)


@must_overlap("test_rows.fetch", at_least=3)
def test_held_pool():
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: fetch(), range(3))) == [1, 1, 1]


@must_overlap("test_rows.fetch", patience=20)
def test_held_to_thread():
    async def main():
        await asyncio.gather(asyncio.to_thread(fetch), asyncio.to_thread(fetch))

    asyncio.run(main())


@must_overlap("test_rows.fetch", at_least=2, at_most=2)
def test_held_limit():
    limit = threading.Semaphore(2)

    def limited():
        with limit:
            fetch()

    run(limited, limited, limited)


@must_not_overlap("test_rows.fetch")
def test_held_exclusion():
    run(locked, locked, locked)


@must_overlap("test_rows.fetch", patience=20)
def test_broken_join():
    for _ in range(2):
        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join()


@must_overlap("test_rows.fetch", patience=20)
def test_broken_join_with_a_time_limit():
    for _ in range(2):
        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join(20)


@must_overlap("test_rows.fetch", patience=20)
def test_broken_result():
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            pool.submit(fetch).result()


@must_overlap("test_rows.fetch", patience=20)
def test_broken_pool_of_one():
    with ThreadPoolExecutor(1) as pool:
        futures = [pool.submit(fetch), pool.submit(fetch), pool.submit(fetch)]
        assert [future.result() for future in futures] == [1, 1, 1]


@must_overlap("test_rows.fetch", patience=20)
def test_broken_lock():
    run(locked, locked, locked)


@must_overlap("test_rows.fetch", patience=20)
def test_broken_calls():
    for _ in range(2):
        fetch()


@must_overlap("test_rows.fetch", patience=20)
def test_broken_to_thread():
    async def main():
        for _ in range(2):
            await asyncio.to_thread(fetch)

    asyncio.run(main())


@must_not_overlap("test_rows.fetch")
def test_broken_exclusion():
    run(fetch, fetch)


@must_overlap()
def test_broken_strands():
    for _ in range(2):
        run(fetch)


@must_overlap("test_rows.fetch", patience=0.05)
def test_inconclusive():
    import socket

    mine, theirs = socket.socketpair()
    thread = threading.Thread(target=mine.recv, args=(1,), name="receiver")
    thread.start()
    fetch()
    theirs.send(b"x")
    thread.join()
    mine.close()
    theirs.close()


@must_overlap("test_rows.fetch", patience=60)
def test_interrupted():
    import signal
    import socket

    def interrupt(*_):
        raise KeyboardInterrupt

    mine, theirs = socket.socketpair()
    thread = threading.Thread(target=mine.recv, args=(1,), name="receiver")
    thread.start()
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    theirs.send(b"x")
    thread.join()
    mine.close()
    theirs.close()
"""


def lines(row: str) -> str:
    """Return what follows the drawing, as one line, without figures and line numbers."""
    text = re.sub(r"\d+\.\d+ m?s", "N s", row)
    text = re.sub(r"test_rows\.py:\d+", "test_rows.py:N", text)
    return " ".join(text.split())


@pytest.fixture(scope="module")
def verdicts(
    run_pytest: Callable[..., subprocess.CompletedProcess[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return what became of each row: nothing where it passed, its message where it did not."""
    import xml.etree.ElementTree as ET

    folder: Path = tmp_path_factory.mktemp("rows")
    (folder / "test_rows.py").write_text(ROWS)
    result = run_pytest(folder, "--junit-xml=junit.xml", "--blocking=off", "-q")
    assert result.returncode == 1, result.stdout + result.stderr
    return {
        case.attrib["name"].removeprefix("test_"): lines("".join(child.text or "" for child in case))
        for case in ET.parse(folder / "junit.xml").getroot().iter("testcase")
    }


@pytest.mark.parametrize("row", re.findall(r"def test_(held_\w+)", ROWS))
def test_held(row: str, verdicts: dict[str, str]) -> None:
    assert verdicts[row] == ""


QUIET = "held at the end for N s, until nothing else in the program could move."
START = "Start all of them before joining any; submit all the jobs before asking for any result."


@pytest.mark.parametrize(
    ("row", "headline", "reason"),
    [
        (
            "broken_join",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} Run one after the other: test_rows.py:N in test_broken_join waits for each call to end"
            f" before the next one starts. {START}",
        ),
        (
            "broken_join_with_a_time_limit",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} Run one after the other: test_rows.py:N in test_broken_join_with_a_time_limit waits for"
            f" each call to end before the next one starts. {START}",
        ),
        (
            "broken_result",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} Run one after the other: test_rows.py:N in test_broken_result waits for each call to"
            f" end before the next one starts. {START}",
        ),
        (
            "broken_pool_of_one",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} One worker thread does all the jobs handed in at test_rows.py:N in"
            " test_broken_pool_of_one: there are no more at once than workers. Give the pool at least 2 workers.",
        ),
        (
            "broken_lock",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"{QUIET} A lock lets them in one at a time: 'T1' holds it during its call, and 2 others wait at"
            " test_rows.py:N in locked. Hold it for less: do the call outside, or allow more at once.",
        ),
        (
            "broken_calls",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} Run one after the other: test_rows.py:N in test_broken_calls waits for each call to end"
            f" before the next one starts. {START}",
        ),
        (
            "broken_to_thread",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            f"fetch#1: {QUIET} Awaited one after the other: test_rows.py:N in test_broken_to_thread.<locals>.main waits"
            " for each call to end before the next one starts. Start all of them before waiting for any:"
            " asyncio.gather() or an asyncio.TaskGroup.",
        ),
        (
            "broken_exclusion",
            "expected calls of test_rows.fetch one at a time, saw 2 in progress together",
            "Nothing keeps them apart: hold one lock around both calls, from start to end.",
        ),
        (
            "broken_strands",
            "expected 2 strands of the test at once, saw at most 1",
            "Started one after the other: test_rows.py:N in run starts each one when the one before has ended."
            f" {START}",
        ),
        (
            "inconclusive",
            "expected 2 calls of test_rows.fetch at once, saw at most 1",
            "fetch#1: held at the end for N s, until patience ran out. Still pending when patience ran out:",
        ),
    ],
    ids=lambda value: value if value.startswith(("broken", "inconclusive")) and " " not in value else "",
)
def test_broken_with_its_reason(row: str, headline: str, reason: str, verdicts: dict[str, str]) -> None:
    text = verdicts[row]
    assert headline in text
    assert reason in text


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that interrupts")
def test_ctrl_c_ends_the_holding(verdicts: dict[str, str]) -> None:
    assert "saw at most 1" in verdicts["interrupted"]
    assert "Only one call was made, by test_rows.py:N in test_interrupted" in verdicts["interrupted"]
