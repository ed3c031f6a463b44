"""How much of the corpus is found, on each loop: a table of recall, and no false report."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._blocking.guard import Guard
from pytest_concurrency._judge.blocking import findings
from pytest_concurrency._settings import KINDS, Blocking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_concurrency._judge.blocking import Finding
    from pytest_concurrency._trace import Block

FOLDER = Path(__file__).parent / "corpus"
EVERYTHING = Blocking(kinds=frozenset(KINDS), past_threshold=frozenset())

pytestmark = [
    pytest.mark.usefixtures("alone"),
    pytest.mark.skipif(sys.platform == "win32", reason="the corpus is written for POSIX"),
    pytest.mark.filterwarnings("ignore"),
]


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"corpus_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _programs(name: str) -> dict[str, Callable[[], Any]]:
    module = _load(name)
    return {
        each: function
        for each, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not each.startswith("_")
    }


@contextmanager
def watched(blocking: Blocking) -> Iterator[list[Block]]:
    blocks: list[Block] = []
    problems: list[str] = []
    guard = Guard(blocking, problems.append)
    guard.on_block = blocks.append
    guard.install()
    try:
        yield blocks
    finally:
        guard.remove()
    assert problems == []


def run_asyncio(program: Callable[[], Any]) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        result = program()
        if inspect.isawaitable(result):
            await result
        await asyncio.sleep(0)

    asyncio.run(main())


def run_uvloop(program: Callable[[], Any]) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        await asyncio.sleep(0.001)
        result = program()
        if inspect.isawaitable(result):
            await result
        await asyncio.sleep(0.001)

    uvloop.run(main())


def run_trio(program: Callable[[], Any]) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        await trio.sleep(0)
        program()
        await trio.sleep(0)

    trio.run(main)


LOOPS: dict[str, Callable[[Callable[[], Any]], None]] = {
    "asyncio": run_asyncio,
    "uvloop": run_uvloop,
    "trio": run_trio,
}
BLOCKING = _programs("blocking") if sys.platform != "win32" else {}
INNOCENT = _programs("innocent") if sys.platform != "win32" else {}


LINES = _load("lines") if sys.platform != "win32" else None
BLOCKING_LINES = LINES.programs(LINES.BLOCKING) if LINES is not None else {}
INNOCENT_LINES = LINES.programs(LINES.INNOCENT) if LINES is not None else {}
# Handlers of signals, the folders that modules are found in: what a line may change and leave behind.
_KINDS = sorted({name.partition("_")[0] for name in BLOCKING_LINES})


def _run_line(line: Any, loop: str, folder: Path) -> tuple[Finding, ...]:
    with watched(EVERYTHING) as blocks:
        LOOPS[loop](line.prepared(folder))
    return findings(blocks, EVERYTHING)


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """Collect here what the programs leave open: a later test is not to be told of it."""
    yield
    gc.collect()


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back the handlers of signals and the search path that a line may have changed."""
    import signal

    monkeypatch.setattr(sys, "path", list(sys.path))
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", _KINDS)
def test_each_blocking_line_is_found(kind: str, loop: str, tmp_path: Path) -> None:
    missed = {}
    for name, line in BLOCKING_LINES.items():
        if name.partition("_")[0] == kind:
            folder = tmp_path / name
            folder.mkdir()
            found = _run_line(line, loop, folder)
            if not any(finding.place.file == line.file for finding in found):
                missed[name] = _seen(found)

    assert missed == {}


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("loop", LOOPS)
def test_no_innocent_line_is_reported(loop: str, tmp_path: Path) -> None:
    reported = {}
    for name, line in INNOCENT_LINES.items():
        folder = tmp_path / name
        folder.mkdir()
        found = _run_line(line, loop, folder)
        if found:
            reported[name] = _seen(found)

    assert reported == {}


def test_the_corpus_is_broad() -> None:
    assert len(BLOCKING) + len(BLOCKING_LINES) >= 197
    assert len(INNOCENT) + len(INNOCENT_LINES) >= 71


def _seen(found: tuple[Finding, ...]) -> list[str]:
    return [f"{finding.kind} {finding.call} line {finding.place.line}" for finding in found]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", BLOCKING)
def test_what_blocks_is_found_with_its_kind_and_its_line(name: str, loop: str) -> None:
    program = BLOCKING[name]

    with watched(EVERYTHING) as blocks:
        LOOPS[loop](program)

    found = findings(blocks, EVERYTHING)
    kinds = {finding.kind for finding in found}
    expected = {name.partition("_")[0]}
    # A sleeping `select` is a sleep to its reader and a select to us; SQLite's busy wait sleeps in the kernel.
    expected |= {"sleep_by_select": {"socket"}, "database_busy": {"sleep"}}.get(name, set())
    expected |= {"subprocess_multiprocessing_join": {"join"}, "queue_simple": {"lock"}}.get(name, set())
    assert kinds & expected, _seen(found)
    files = {finding.place.file for finding in found if finding.kind in expected}
    assert files & {str(FOLDER / "blocking.py"), "<string>"}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", INNOCENT)
def test_what_only_looks_like_it_is_not_reported(name: str, loop: str) -> None:
    program = INNOCENT[name]
    if loop == "trio" and inspect.iscoroutinefunction(program):
        pytest.skip("written for asyncio")

    with watched(EVERYTHING) as blocks:
        LOOPS[loop](program)

    assert _seen(findings(blocks, EVERYTHING)) == []
