"""Are the verdicts on threads and processes the same every time? Alone, or beside other programs.

Run: python benchmarks/verdicts.py [rounds] [hogs]. Judges each row that often (50), beside so many endless loops (0).
Prints, for each row, how often its verdict was the one that is expected, and the first text that was not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from parallel_demand import hogs

WORK = """
import hashlib, threading, time, zlib

DATA = bytes(1 << 24)
NOISE = hashlib.sha512(b"noise").digest() * (1 << 18)
LOCK = threading.Lock()

def compute(number=0):
    total = 0
    for each in range(1_500_000):
        total += each

def digest(number=0):
    for _ in range(4):
        hashlib.sha256(DATA).digest()

def squeeze(number=0):
    zlib.compress(NOISE)

def nap(number=0):
    time.sleep(0.1)

def locked(number=0):
    with LOCK:
        digest()

def quick(number=0):
    return number

def quick_locked(number=0):
    with LOCK:
        quick()
"""
ROWS = """
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

import work

ROUNDS = {rounds}
again = pytest.mark.parametrize("again", range(ROUNDS), ids=str)
parallel, overlap = pytest.mark.must_run_in_parallel, pytest.mark.must_overlap
apart = pytest.mark.must_not_overlap
both = pytest.mark.parametrize("count", [2, 4])
methods = pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())

def threads(function, count, workers=None):
    with ThreadPoolExecutor(workers or count) as pool:
        list(pool.map(function, range(count)))

def processes(function, count, method, workers=None):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers or count, mp_context=context) as pool:
        list(pool.map(function, range(count)))

@again
@both
@parallel("work:compute")
def test_computing_in_threads(count, again):
    threads(work.compute, count)

@again
@both
@parallel("work:digest")
def test_hashlib_in_threads(count, again):
    threads(work.digest, count)

@again
@both
@parallel("work:squeeze")
def test_zlib_in_threads(count, again):
    threads(work.squeeze, count)

@again
@parallel("work:nap")
def test_sleeping_in_threads(again):
    threads(work.nap, 2)

@again
@parallel("work:digest")
def test_one_worker(again):
    threads(work.digest, 2, workers=1)

@again
@parallel("work:locked")
def test_a_lock(again):
    threads(work.locked, 3)

@again
@methods
@both
@parallel("work:compute")
def test_computing_in_processes(count, method, again):
    processes(work.compute, count, method)

@again
@overlap("work:quick", at_least=3)
def test_threads_overlap(again):
    threads(work.quick, 3)

@again
@overlap("work:quick")
def test_threads_in_turn(again):
    for _ in range(2):
        thread = threading.Thread(target=work.quick)
        thread.start()
        thread.join()

@again
@overlap("work:quick")
def test_threads_with_a_lock(again):
    threads(work.quick_locked, 3)

@again
@apart("work:quick")
def test_threads_kept_apart(again):
    threads(work.quick_locked, 3)

@again
@apart("work:quick")
def test_threads_not_kept_apart(again):
    threads(work.quick, 3)

@again
@methods
@overlap("work:quick")
def test_processes_overlap(method, again):
    processes(work.quick, 2, method)

@again
@overlap("work:quick")
def test_processes_in_turn(again):
    for _ in range(2):
        process = multiprocessing.get_context("spawn").Process(target=work.quick)
        process.start()
        process.join()
"""
GIL = "the GIL lets one thread at a time run Python code" if getattr(sys, "_is_gil_enabled", lambda: True)() else ""
EXPECTED = {
    "computing_in_threads": GIL,
    "hashlib_in_threads": "",
    "zlib_in_threads": "",
    "sleeping_in_threads": "They waited, they did not compute",
    "one_worker": "One worker thread does all the jobs",
    "a_lock": "They took turns on a lock",
    "computing_in_processes": "",
    "threads_overlap": "",
    "threads_in_turn": "Run one after the other",
    "threads_with_a_lock": "A lock lets them in one at a time",
    "threads_kept_apart": "",
    "threads_not_kept_apart": "saw 2 in progress together",
    "processes_overlap": "",
    "processes_in_turn": "Run one after the other",
}


def main(rounds: int, number: int) -> int:
    right: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name, hogs(number):
        folder = Path(name)
        (folder / "work.py").write_text(WORK)
        (folder / "test_rows.py").write_text(ROWS.replace("{rounds}", str(rounds)))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=junit.xml"]
        subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": name}, stdout=subprocess.DEVNULL, check=False
        )
        for case in ET.parse(folder / "junit.xml").getroot().iter("testcase"):
            row, _, ids = case.attrib["name"].removeprefix("test_").partition("[")
            text = " ".join("".join(child.text or "" for child in case).split())
            label = f"{row} {'-'.join(ids.rstrip(']').split('-')[:-1])}"
            expected = EXPECTED[row]
            if (text == "") == (expected == "") and expected in text:
                right[label] += 1
            else:
                wrong.setdefault(label, []).append(re.sub(r"\|.*?\|", "|…|", text) or "passed")
    for label in sorted({*right, *wrong}):
        print(f"{label:40} {right[label]:3} of {right[label] + len(wrong.get(label, ()))}")
    for label, texts in wrong.items():
        print(f"\n{label}: {texts[0]}")
    return sum(map(len, wrong.values()))


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]]
    sys.exit(main(asked[0] if asked else 50, asked[1] if len(asked) > 1 else 0) > 0)
