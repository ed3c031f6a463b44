"""Every verdict on every backend, each with fakes that return at once, fakes that sleep, and real requests.

The rows are in `overlap_rows`: tests whose docstrings say what the plugin must make of them. One inner run holds all
rows of one backend and one kind of work.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import sys
import xml.etree.ElementTree as ET
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent / "overlap_rows"
FAKES = ("instant", "sleeping", "http")
# Backend -> the file with its rows, and the libraries that it takes.
BACKENDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "asyncio": ("rows_tasks.py", ()),
    "uvloop": ("rows_tasks.py", ("uvloop",)),
    "trio": ("rows_nurseries.py", ("trio",)),
    "anyio-asyncio": ("rows_nurseries.py", ("anyio",)),
    "anyio-trio": ("rows_nurseries.py", ("anyio", "trio")),
    "gevent": ("rows_greenlets.py", ("gevent",)),
    "gevent-patched": ("rows_greenlets.py", ("gevent",)),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one row."""

    status: str
    """`held`, `broken`, `inconclusive`, `error` or `skipped`."""
    text: str


def _rows(file: str) -> dict[str, str]:
    """Return the docstring of each row, with `{name}` replaced by the line that carries the comment `# name`."""
    source = (HERE / file).read_text()
    marks = {
        line.rpartition("  # ")[2]: f"test_rows.py:{number}"
        for number, line in enumerate(source.splitlines(), start=1)
        if "  # " in line
    }
    return {
        node.name: (ast.get_docstring(node) or "").format_map(marks)
        for node in ast.parse(source).body
        if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)) and node.name.startswith("test_")
    }


def _expected(docstring: str, *cases: str) -> tuple[str, list[str]]:
    """Return the status and the pieces of text, in their order, that a row's docstring asks for in these cases."""
    wanted, *exceptions = docstring.splitlines()
    for line in exceptions:
        case, _, other = line.strip().partition(": ")
        if case in cases:
            wanted = other
    status, _, text = wanted.partition(": ")
    return status, text.split(" ... ") if text else []


ROWS = [
    pytest.param(backend, fake, row, id=f"{backend}-{fake}-{row.removeprefix('test_')}")
    for backend, (file, _) in BACKENDS.items()
    for fake in FAKES
    # One kind of work will do for a patched process; its HTTP server would be a greenlet that is never quiet.
    if backend != "gevent-patched" or fake == "instant"
    for row in _rows(file)
]


@pytest.fixture(scope="session")
def outcomes(
    run_pytest: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
    worker_is_one_of_many: bool,
) -> Callable[[str, str], dict[str, Outcome]]:
    """Return a function that runs all rows of a backend and a kind of work, once."""
    base = tmp_path_factory.getbasetemp()
    # The workers of one run share what they find out.
    shared = (base.parent if worker_is_one_of_many else base) / "overlap_rows"
    shared.mkdir(exist_ok=True)
    known: dict[tuple[str, str], dict[str, Outcome]] = {}

    def run(backend: str, fake: str) -> dict[str, Outcome]:
        if (backend, fake) not in known:
            folder = shared / f"{backend}-{fake}"
            with _only_one(shared / f"{backend}-{fake}.lock"):
                if not folder.exists():
                    _run_rows(folder, backend, fake, run_pytest)
            known[backend, fake] = _read(folder / "junit.xml")
        return known[backend, fake]

    return run


@pytest.fixture(scope="session")
def worker_is_one_of_many() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Keep other processes out, where the system can."""
    with path.open("w") as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_rows(
    folder: Path, backend: str, fake: str, run_pytest: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    folder.mkdir()
    for file in HERE.glob("*.py"):
        if not file.name.startswith("rows_"):
            shutil.copy(file, folder)
    shutil.copy(HERE / BACKENDS[backend][0], folder / "test_rows.py")
    (folder / "choice.py").write_text(f"BACKEND, FAKE = {backend!r}, {fake!r}\n")
    result = run_pytest(folder, "--junit-xml=junit.xml", "--blocking=off", "-q")
    assert result.returncode in (0, 1), result.stdout + result.stderr


def _read(junit: Path) -> dict[str, Outcome]:
    return {case.attrib["name"]: _outcome(case) for case in ET.parse(junit).getroot().iter("testcase")}


def _outcome(case: ET.Element) -> Outcome:
    children = [child for child in case if child.tag in ("failure", "error", "skipped")]
    if not children:
        return Outcome("held", "")
    text = " ".join(f"{children[0].text} {children[0].attrib.get('message', '')}".split())
    if children[0].tag == "skipped":
        return Outcome("skipped", children[0].attrib["message"])
    if text.startswith("expected "):
        return Outcome("broken", text)
    return Outcome("inconclusive" if text.startswith("inconclusive: ") else "error", text)


@pytest.mark.parametrize(("backend", "fake", "row"), ROWS)
def test_verdict(backend: str, fake: str, row: str, outcomes: Callable[[str, str], dict[str, Outcome]]) -> None:
    file, libraries = BACKENDS[backend]
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")

    outcome = outcomes(backend, fake)[row]

    if outcome.status == "skipped":
        pytest.skip(outcome.text)
    status, pieces = _expected(_rows(file)[row], backend, fake, f"{backend}-{fake}")
    assert outcome.status == status, outcome.text
    position = 0
    for piece in pieces:
        position = outcome.text.find(piece, position)
        assert position >= 0, f"{piece!r} is not in {outcome.text!r}"
