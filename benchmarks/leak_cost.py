"""What looking for leaks costs: the time of many tasks, and of a suite of trivial tests.

Run it with `python benchmarks/leak_cost.py [--tasks 50000] [--tests 2000] [--rounds 9]`. You will see the ratio of CPU
times with `--leaks=fail` and without for the tasks, on asyncio's loop and on uvloop where it is installed, and the
milliseconds that it adds to a trivial test. Both ways take turns in one run; each ratio is one of neighbours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_concurrency._leaks.owner import Owner, current
from pytest_concurrency._leaks.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable


async def leaf() -> None:
    pass


async def make(tasks: int) -> None:
    await asyncio.gather(*[asyncio.create_task(leaf()) for _ in range(tasks)])


def timed(tasks: int, new_loop: Callable[[], Any], *, watched: bool) -> float:
    """Return the CPU seconds that so many tasks take."""
    watch = Watch(print)
    if watched:
        watch.install()
        current.set(Owner())
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(make(100))
            begun = time.process_time()
            runner.run(make(tasks))
            return time.process_time() - begun
    finally:
        current.set(None)
        watch.remove()


def suite(folder: Path, *options: str) -> float:
    """Return the CPU seconds of one run of the suite in *folder*."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=9, help="Runs each way")
    arguments = parser.parse_args()

    print(f"Python {sys.version.split()[0]}")
    loops: dict[str, Callable[[], Any]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    except ImportError:
        pass
    for name, new_loop in loops.items():
        pairs = []
        for turn in range(arguments.rounds):
            taken = {}
            for watched in (turn % 2 == 0, turn % 2 == 1):
                taken[watched] = timed(arguments.tasks, new_loop, watched=watched)
            pairs.append(taken[True] / taken[False])
        print(
            f"{arguments.tasks} tasks on {name}: {statistics.median(pairs):.2f} times as long"
            f" (least {min(pairs):.2f}, most {max(pairs):.2f})"
        )

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "pytest.ini").write_text("[pytest]\n")
        tests = "".join(f"def test_{number}():\n    assert True\n\n" for number in range(arguments.tests))
        (path / "test_trivial.py").write_text(tests)
        suite(path)
        added = []
        for turn in range(arguments.rounds):
            ways = dict.fromkeys(("off", "fail"), 0.0)
            for mode in sorted(ways, reverse=turn % 2 == 1):
                ways[mode] = suite(path, f"--leaks={mode}")
            added.append((ways["fail"] - ways["off"]) / arguments.tests * 1000)
    print(f"a trivial test: {statistics.median(added):.3f} ms more (least {min(added):.3f}, most {max(added):.3f})")


if __name__ == "__main__":
    main()
