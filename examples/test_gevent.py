"""Coroutines without their syntax: the claim V1 of the notes, with gevent.

Run it with `pytest examples/test_gevent.py`. You will see one program twice: without gevent's patch its greenlets run
one after the other, with it they overlap, and not a line of the function is different.

The patch replaces the sockets, locks and sleeps of a whole process, so the program has a process of its own each time:
`programs/greenlets.py`, which records itself with `pytest_concurrency.record()`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gevent", reason="this example needs gevent")
PROGRAM = Path(__file__).parent / "programs" / "greenlets.py"


def run_greenlets(*args: str) -> dict[str, Any]:
    """Return what the program tells of itself."""
    result = subprocess.run([sys.executable, PROGRAM, *args], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_v1_unpatched_greenlets_that_sleep_do_not_overlap_and_are_reported() -> None:
    """V1: gevent's monkey patch gives the effect without coroutine syntax ("不使用协程的写法,但是有协程的开发效果").

    It is the patch that does it: a greenlet that calls the real `time.sleep` keeps all others waiting, as a coroutine
    would. Only calls that gevent can replace become cooperative: a driver written in C still blocks.

    Verdict: true.
    Seen: unpatched, 3 greenlets run one after the other and each time.sleep is reported with its line; patched, the
    same code has all 3 in progress at once and nothing blocks.
    """
    told = run_greenlets()

    assert told["steps"] == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]
    assert told["at once"] < 2
    (line,) = [number for number, text in enumerate(PROGRAM.read_text().splitlines(), 1) if "time.sleep(0" in text]
    assert told["blocks"] == [["time.sleep", line]] * 3


def test_v1_patched_the_same_code_overlaps() -> None:
    """V1, with the patch: all begin before any ends."""
    told = run_greenlets("patched")

    assert told["steps"][:3] == ["a begins", "b begins", "c begins"]
    assert told["at once"] == 3
    assert told["blocks"] == []
