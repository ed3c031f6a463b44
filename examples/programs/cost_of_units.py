"""What a thread, a coroutine and a process cost to have and to start, measured here and now, and drawn.

`python examples/programs/cost_of_units.py PICTURE` measures each way with more and more units that do nothing but wait,
up to 20 000, and writes the picture (half a minute). Needs matplotlib, and Linux for the memory of processes.

Each measurement has a Python of its own, so that nothing is left over from the one before. Memory is what the kernel
says that a process and its children have for themselves alone, and their share of what they have in common (PSS).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAYS = ("threads", "coroutines", "processes", "all three")
PROCESSES, THREADS = 4, 2
"""Of which the third way is made: so many processes, each with so many threads, each with an event loop."""


def memory_of(pid: int) -> int:
    """Return the bytes that a process uses."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise LookupError("Pss")


def in_threads(many: int, arrived: Callable[[], object], leave: Any) -> None:
    """Run *many* threads that wait until *leave* is set."""

    def unit() -> None:
        arrived()
        leave.wait()

    threads = [threading.Thread(target=unit) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_coroutines(many: int, arrived: Callable[[], object], leave: Any) -> None:
    """Run *many* coroutines that wait until *leave* is set, on one event loop."""

    async def main() -> None:
        left = asyncio.Event()

        async def unit() -> None:
            arrived()
            await left.wait()

        async def is_time_to_leave() -> None:
            await asyncio.to_thread(leave.wait)
            left.set()

        await asyncio.gather(*(unit() for _ in range(many)), is_time_to_leave())

    asyncio.run(main())


def in_processes(many: int, arrived: Callable[[], object], leave: Any) -> None:
    """Run *many* processes that wait until *leave* is set."""

    def unit() -> None:
        arrived()
        leave.wait()

    _run_processes([unit] * many)


def in_all_three(many: int, arrived: Callable[[], object], leave: Any) -> None:
    """Run *many* coroutines, a multiple of 8, in some threads of some processes, until *leave* is set."""
    each = many // (PROCESSES * THREADS)

    def unit() -> None:
        threads = [threading.Thread(target=in_coroutines, args=(each, arrived, leave)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    _run_processes([unit] * PROCESSES)


def _run_processes(units: Sequence[Callable[[], None]]) -> None:
    # What it costs where it is cheapest: on systems that can fork.
    processes = [multiprocessing.get_context("fork").Process(target=unit) for unit in units]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


RUN = {"threads": in_threads, "coroutines": in_coroutines, "processes": in_processes, "all three": in_all_three}


def measure_here(way: str, many: int) -> dict[str, float]:
    """Return what one unit costs: bytes to have, seconds to start."""
    context = multiprocessing.get_context("fork")
    has_processes = way in ("processes", "all three")
    leave: Any = context.Event() if has_processes else threading.Event()
    # Counts across processes as well; a lock of one process would do for the others, but cost something else.
    count = context.Semaphore(0)
    before = memory_of(os.getpid())
    begun = time.perf_counter()
    runner = threading.Thread(target=RUN[way], args=(many, count.release, leave))
    runner.start()
    for _ in range(many):
        count.acquire()
    seconds = time.perf_counter() - begun
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children() if child.pid is not None)]
    used = sum(map(memory_of, pids)) - before
    leave.set()
    runner.join()
    return {"many": many, "memory": used / many, "start": seconds / many}


def measure(way: str, many: int) -> dict[str, float]:
    """Return the same, measured in a Python of its own."""
    command = [sys.executable, __file__, "--measure", way, str(many)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)  # type: ignore[no-any-return]


def draw(figures: dict[str, list[dict[str, float]]], file: str) -> None:
    """Draw what a unit costs against how many there are, on two scales of powers of ten."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    def as_bytes(value: float, _: int) -> str:
        return f"{value / 2**20:g} MB" if value >= 2**20 else f"{value / 2**10:g} kB"

    def as_time(value: float, _: int) -> str:
        return f"{value * 1e3:g} ms" if value >= 1e-3 else f"{value * 1e6:g} us"

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, what, title in zip(axes, ("memory", "start"), ("memory per unit", "time to start a unit"), strict=True):
        for (way, points), mark in zip(figures.items(), "os^D", strict=False):
            axis.plot([p["many"] for p in points], [p[what] for p in points], marker=mark, label=way)
        axis.set_xscale("log")
        axis.set_yscale("log", base=2 if what == "memory" else 10)
        axis.set_xlabel("units that wait at once")
        axis.set_title(title)
        axis.grid(alpha=0.3)
    axes[0].yaxis.set_major_formatter(FuncFormatter(as_bytes))
    axes[1].yaxis.set_major_formatter(FuncFormatter(as_time))
    axes[0].legend()
    figure.savefig(file, dpi=90)
    pyplot.close(figure)


SIZES = (8, 32, 104, 304, 1000, 3000, 10_000, 20_000)
MOST = {"threads": 3000, "coroutines": 20_000, "processes": 104, "all three": 20_000}


def main(file: str) -> None:
    """Measure all, and draw it."""
    figures = {way: [measure(way, many) for many in SIZES if many <= MOST[way]] for way in WAYS}
    for way, points in figures.items():
        for point in points:
            print(f"{way:<11} {point['many']:>6} {point['memory'] / 1024:10.1f} kB {point['start'] * 1e6:10.1f} us")
    draw(figures, file)


if __name__ == "__main__":
    if sys.argv[1] == "--measure":
        print(json.dumps(measure_here(sys.argv[2], int(sys.argv[3]))))
    else:
        main(sys.argv[1])
