"""What the plugin costs a suite that does not use it: trivial tests, with it and with `-p no:pytest_concurrency`.

Run it with `python benchmarks/idle_suite.py [--tests 2000] [--rounds 15]`. You will see seconds, both ways, and their
ratio. The two take turns, and who begins changes from round to round, so that a machine that gets slower or faster
meanwhile does so for both. On a busy machine trust the last line: it compares each run with its neighbour, by CPU time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = 20


def write_suite(folder: Path, tests: int) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n")
    for file in range(FILES):
        body = "".join(f"def test_{number}():\n    assert True\n\n" for number in range(file, tests, FILES))
        (folder / f"test_{file}.py").write_text(body)


def timed(folder: Path, options: list[str]) -> tuple[float, float]:
    """Return the wall and the CPU seconds of one run."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with status {os.waitstatus_to_exitcode(status)}")
    return wall, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=15, help="Runs each way")
    arguments = parser.parse_args()

    installed = importlib.metadata.entry_points(group="pytest11", name="pytest_concurrency")
    ways = {
        "without": ["-p", "no:pytest_concurrency"] if installed else [],
        "with": [] if installed else ["-p", "pytest_concurrency.plugin"],
    }
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_suite(folder, arguments.tests)
        for options in ways.values():
            timed(folder, options)  # compiles
        for turn in range(arguments.rounds):
            for way in sorted(ways, reverse=turn % 2 == 1):
                taken[way].append(timed(folder, ways[way]))

    print(f"Python {sys.version.split()[0]}, {arguments.tests} tests, {arguments.rounds} runs each way, seconds\n")
    print(f"{'':12}{'wall least':>12}{'wall median':>12}{'CPU least':>12}{'CPU median':>12}")
    figures = {}
    for way, results in taken.items():
        walls, cpus = zip(*results, strict=True)
        figures[way] = [min(walls), statistics.median(walls), min(cpus), statistics.median(cpus)]
        print(f"{way:12}" + "".join(f"{figure:12.3f}" for figure in figures[way]))
    ratios = [with_ / without for with_, without in zip(figures["with"], figures["without"], strict=True)]
    print(f"{'ratio':12}" + "".join(f"{ratio:12.3f}" for ratio in ratios))
    pairs = sorted(with_[1] / without[1] for with_, without in zip(taken["with"], taken["without"], strict=True))
    low, middle, high = statistics.quantiles(pairs, n=4)
    print(f"\nratio of neighbours, by CPU time: {middle:.3f} (half of them between {low:.3f} and {high:.3f})")


if __name__ == "__main__":
    main()
