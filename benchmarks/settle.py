"""How long it takes to prove that calls do *not* overlap, on a loop where nothing else goes on.

Run it with `python benchmarks/settle.py [--tests 50]`. You will see, for each event loop, for how many milliseconds the
first of two calls was held at the door until the verdict was final. `patience`, 1 s by default, never has to run out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

SUITE = r'''
import asyncio
import json
import os
import time

import pytest

LIBRARIES = os.environ["SETTLE_LIBRARIES"].split()

pytestmark = [
    pytest.mark.must_overlap("test_settle:fetch"),
    pytest.mark.parametrize("number", range(int(os.environ["SETTLE_TESTS"]))),
    pytest.mark.parametrize("library", LIBRARIES),
]


async def fetch():
    pass


class Stopwatch:
    """Notes how long the first call took: it does nothing, so that is how long it was held."""

    def __init__(self, kind):
        self.kind = kind
        self.open = True

    async def fetch(self):
        begun = time.perf_counter()
        await fetch()
        seconds = time.perf_counter() - begun
        if self.open:
            self.open = False
            with open(os.environ["SETTLE_FILE"], "a") as file:
                file.write(json.dumps([self.kind, seconds]) + "\n")


def run(library, main):
    if library == "trio":
        import trio

        trio.run(main)
    elif library == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    else:
        asyncio.run(main())


def test_one_after_the_other(library, number):
    watch = Stopwatch(f"{library}, one after the other")

    async def main():
        await watch.fetch()
        await watch.fetch()

    run(library, main)


def test_a_lock(library, number):
    watch = Stopwatch(f"{library}, under a lock")

    async def locked(lock):
        async with lock:
            await watch.fetch()

    async def main():
        if library == "trio":
            import trio

            lock = trio.Lock()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(locked, lock)
                nursery.start_soon(locked, lock)
        else:
            lock = asyncio.Lock()
            await asyncio.gather(locked(lock), locked(lock))

    run(library, main)
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=50, help="Tests of each kind")
    tests = parser.parse_args().tests

    libraries = [name for name in ("asyncio", "uvloop", "trio") if importlib.util.find_spec(name)]
    options = ["-q", "--tb=no", "--no-summary", "-p", "no:cacheprovider", "--import-mode=prepend"]
    if not importlib.metadata.entry_points(group="pytest11", name="pytest_concurrency"):
        options += ["-p", "pytest_concurrency.plugin"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_settle.py").write_text(SUITE)
        times = folder / "times"
        times.touch()
        environment = os.environ | {
            "SETTLE_TESTS": str(tests),
            "SETTLE_LIBRARIES": " ".join(libraries),
            "SETTLE_FILE": str(times),
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=folder, env=environment, capture_output=True, text=True
        )
        held: defaultdict[str, list[float]] = defaultdict(list)
        for line in times.read_text().splitlines():
            kind, seconds = json.loads(line)
            held[kind].append(seconds * 1000)

    expected = f"{2 * len(libraries) * tests} failed in "
    if expected not in done.stdout:
        raise SystemExit(f"each verdict should have been `broken`: {expected!r} is not in\n{done.stdout[-2000:]}")
    print(f"Python {sys.version.split()[0]}, {tests} tests of each kind, milliseconds until the verdict was final\n")
    print(f"{'':32}{'least':>8}{'median':>8}{'most':>8}")
    for kind, values in sorted(held.items()):
        print(f"{kind:32}{min(values):8.2f}{statistics.median(values):8.2f}{max(values):8.2f}")


if __name__ == "__main__":
    main()
