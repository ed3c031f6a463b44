"""The programs that block nothing, over and over beside endless loops: not one report.

Run: python tests/stress/innocent.py [--runs 1000] [--hogs 6] [--workers 4] [--seconds 500]
You will see how many runs were made on which loops and every report, each with what was seen. The exit status is 1 if
there was one. By hand and not in the suite: a thousand runs take an hour of a small machine. `--seconds` ends a slice
early; runs add up.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import multiprocessing
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent.parent / "blocking" / "test_corpus.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("stressed_corpus", CORPUS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def work(runs: Any, results: Any, until: float) -> None:
    """Take runs from a queue; put back the loop's name and what was reported."""
    warnings.simplefilter("ignore")
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for the life of this process: the programs print
    sys.stderr = sys.stdout
    corpus = load()
    while time.monotonic() < until and (loop := runs.get()) is not None:
        reports = []
        for name, program in corpus.INNOCENT.items():
            if loop == "trio" and inspect.iscoroutinefunction(program):
                continue
            with corpus.watched(corpus.EVERYTHING) as blocks:
                corpus.LOOPS[loop](program)
            found = corpus.findings(blocks, corpus.EVERYTHING)
            reports += [f"{loop}: {name}: {finding.kind} {finding.call} {finding.blocks}" for finding in found]
        results.put((loop, reports))
    results.put(None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--hogs", type=int, default=6, help="Endless loops beside it")
    parser.add_argument("--workers", type=int, default=4, help="Runs at the same time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="End after so long")
    given = parser.parse_args()

    loops = [name for name in ("asyncio", "uvloop", "trio") if name == "asyncio" or importlib.util.find_spec(name)]
    context = multiprocessing.get_context("spawn")
    runs, results = context.Queue(), context.Queue()
    for number in range(given.runs):
        runs.put(loops[number % len(loops)])
    for _ in range(given.workers):
        runs.put(None)
    hogs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(given.hogs)]
    done: Counter[str] = Counter()
    reports: list[str] = []
    try:
        until = time.monotonic() + given.seconds
        workers = [context.Process(target=work, args=(runs, results, until)) for _ in range(given.workers)]
        for worker in workers:
            worker.start()
        at_work = len(workers)
        while at_work:
            result = results.get()
            if result is None:
                at_work -= 1
                continue
            done[result[0]] += 1
            reports += result[1]
            for report in result[1]:
                print(report, flush=True)
        runs.cancel_join_thread()
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    print(f"{sum(done.values())} runs ({dict(done)}) beside {given.hogs} endless loops: {len(reports)} reports")
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
