"""How much of the corpus of `tests/blocking/corpus` each detector finds, and what it reports of the innocent programs.

Run: python benchmarks/recall.py [loop ...]
You will see a Markdown table per loop, by kind. A peer (blockbuster, aiocop, pyleak) has a column where it is there;
asyncio's debug mode always has one. Every detector runs in a process of its own, with its own default settings, and a
program counts as found when anything is reported while it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORPUS = pathlib.Path(__file__).parent.parent / "tests" / "blocking" / "corpus"
LOOPS = ("asyncio", "uvloop", "trio")

Detector = "Callable[[list[str]], contextlib.AbstractContextManager[None]]"


@contextlib.contextmanager
def ours(found: list[str]) -> Iterator[None]:
    from pytest_concurrency._blocking.guard import Guard
    from pytest_concurrency._judge.blocking import findings
    from pytest_concurrency._settings import KINDS, Blocking

    everything = Blocking(kinds=frozenset(KINDS), past_threshold=frozenset())
    blocks: list[Any] = []
    guard = Guard(everything, print)
    guard.on_block = blocks.append
    guard.install()
    try:
        yield
    finally:
        guard.remove()
        found += [f"{each.place.file}:{each.place.line}" for each in findings(blocks, everything)]


@contextlib.contextmanager
def blockbuster(found: list[str]) -> Iterator[None]:
    from blockbuster import BlockingError, blockbuster_ctx

    original = BlockingError.__init__

    def noted(self: Any, *args: Any) -> None:
        # Also those that the program under test swallows.
        found.append(str(args))
        original(self, *args)

    BlockingError.__init__ = noted
    try:
        with blockbuster_ctx():
            yield
    finally:
        BlockingError.__init__ = original


@contextlib.contextmanager
def aiocop(found: list[str]) -> Iterator[None]:
    # It wants a running loop: set up in the program itself, see `_run`.
    AIOCOP.clear()
    yield
    found += AIOCOP


AIOCOP: list[str] = []


@contextlib.contextmanager
def pyleak(found: list[str]) -> Iterator[None]:
    # It wants a running loop: put around the program itself, see `_run`.
    yield


@contextlib.contextmanager
def debug_mode(found: list[str]) -> Iterator[None]:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "took" in record.getMessage():
                found.append(record.getMessage())

    handler = Handler()
    logging.getLogger("asyncio").addHandler(handler)
    os.environ["PYTHONASYNCIODEBUG"] = "1"
    try:
        yield
    finally:
        logging.getLogger("asyncio").removeHandler(handler)


DETECTORS: dict[str, Callable[[list[str]], contextlib.AbstractContextManager[None]]] = {
    "ours": ours,
    "blockbuster": blockbuster,
    "aiocop": aiocop,
    "pyleak": pyleak,
    "asyncio debug": debug_mode,
}


def _run(loop: str, program: Callable[[], Any], detector: str, found: list[str]) -> None:
    async def body() -> None:
        result = program()
        if inspect.isawaitable(result):
            await result

    async def watched() -> None:
        if detector == "aiocop":
            import aiocop as library

            library.patch_audit_functions()
            library.start_blocking_io_detection()
            library.detect_slow_tasks(on_slow_task=lambda event: AIOCOP.append(str(event)))
            library.activate()
            # What it watches are steps that begin after this.
            await asyncio.sleep(0)
        if detector != "pyleak":
            await body()
            return
        from pyleak import EventLoopBlockError, no_event_loop_blocking

        try:
            async with no_event_loop_blocking(action="raise"):
                await body()
        except EventLoopBlockError as error:
            found.append(str(error))

    if loop == "trio":
        import trio

        trio.run(watched)
        return

    async def main() -> None:
        await asyncio.sleep(0.001)
        await watched()
        await asyncio.sleep(0.001)

    if loop == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"corpus_{name}", CORPUS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def programs() -> Iterator[tuple[str, str, Any, bool]]:
    """Yield the kind, the name, the program and whether it blocks; a line of `lines.py` has to be prepared first."""
    lines = _load("lines")
    for table, blocks in (("blocking", True), ("innocent", False)):
        module = _load(table)
        for name, function in list(vars(module).items()):
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                yield name.partition("_")[0] if blocks else "innocent", name, function, blocks
        for name, line in lines.programs(getattr(lines, table.upper())).items():
            yield name.partition("_")[0] if blocks else "innocent", f"line {name}", line, blocks


def child(detector: str, loop: str) -> None:
    """Run all programs under one detector and print what it reported of each."""
    if detector == "ours":
        from pytest_concurrency._blocking.early import sleep_announced

        # As the plugin does when it is loaded.
        early = sleep_announced()
        early.__enter__()
    for kind, name, program, _blocks in programs():
        if loop == "trio" and inspect.iscoroutinefunction(program):
            continue
        found: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            try:
                function = program if inspect.isfunction(program) else program.prepared(pathlib.Path(folder))
                with DETECTORS[detector](found):
                    _run(loop, function, detector, found)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                sys.stderr.write(f"{name}: {type(error).__name__}: {error}\n")
        print("\0" + json.dumps([kind, name, bool(found)]), flush=True)
    # Threads and children that a program left behind are not waited for.
    os._exit(0)


def measured(detector: str, loop: str) -> dict[str, tuple[int, int]]:
    """Return kind -> (found, of how many)."""
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, __file__, "--child", detector, loop]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdout=output, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=300)
        output.seek(0)
        rows = [json.loads(line.rpartition("\0")[2]) for line in output if "\0" in line]
    sums: dict[str, tuple[int, int]] = {}
    for kind, _name, found in rows:
        before = sums.get(kind, (0, 0))
        sums[kind] = (before[0] + found, before[1] + 1)
    return sums


def main(loops: list[str]) -> None:
    names = [name for name in DETECTORS if name in ("ours", "asyncio debug") or find_spec(name)]
    for loop in loops:
        columns = {name: measured(name, loop) for name in names}
        print(f"\n| {loop}, Python {sys.version_info.major}.{sys.version_info.minor} | of | {' | '.join(names)} |")
        print("|---" * (len(names) + 2) + "|")
        kinds = sorted(columns["ours"].keys() - {"innocent"})
        for kind in kinds:
            figures = " | ".join(str(columns[name].get(kind, (0, 0))[0]) for name in names)
            print(f"| {kind} | {columns['ours'][kind][1]} | {figures} |")
        totals = [sum(columns[name].get(kind, (0, 0))[0] for kind in kinds) for name in names]
        count = sum(columns["ours"][kind][1] for kind in kinds)
        print(f"| **found** | {count} | {' | '.join(f'{n} ({n * 100 // count} %)' for n in totals)} |")
        innocent = columns["ours"]["innocent"][1]
        reported = " | ".join(str(columns[name].get("innocent", (0, 0))[0]) for name in names)
        print(f"| falsely reported | {innocent} | {reported} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(sys.argv[1:] or [loop for loop in LOOPS if find_spec(loop)])
