"""The baseline over a run: what it forgives, what has gone, and writing it anew, also under xdist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ._blocking.baseline import Entry, entry_of, parse, write
from ._errors import BlockingCallWarning

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ._judge.blocking import Finding

_WIRE = "pytest_concurrency_baseline"


class BaselineRun:
    """Sorts findings into known ones and new ones, and keeps account of which known ones occur."""

    def __init__(self, path: Path, root: str, *, update: bool) -> None:
        self._path = path
        self._root = root
        self._update = update
        self._seen: set[Entry] = set()
        try:
            self._known = parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not update:
                raise pytest.UsageError(
                    f"--blocking-baseline={path}: there is no such file; write it with --blocking-baseline-update"
                ) from None
            self._known = frozenset()
        except (OSError, UnicodeDecodeError) as error:
            raise pytest.UsageError(f"--blocking-baseline={path}: {error}") from None
        except ValueError as error:
            raise pytest.UsageError(f"--blocking-baseline={path}: {error}") from None

    def new(self, found: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return those of *found* that the baseline does not forgive."""
        fresh = []
        for finding in found:
            entry = entry_of(finding, self._root)
            self._seen.add(entry)
            if entry not in self._known and not self._update:
                fresh.append(finding)
        return tuple(fresh)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", None) or {}
        self._seen.update(Entry(*fields) for fields in output.get(_WIRE, ()))

    # Last: under xdist all workers have been heard by then.
    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WIRE] = [list(entry) for entry in sorted(self._seen)]
        elif self._update:
            write(self._path, self._seen)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        gone = sorted(self._known - self._seen)
        if self._update:
            terminalreporter.section("blocking baseline")
            terminalreporter.line(f"{self._path.name}: written, with {_count(len(self._seen))} that block")
        elif gone:
            terminalreporter.section("blocking baseline")
            terminalreporter.line(
                f"{self._path.name}: {_count(len(gone))} did not block in this run; if all tests ran,"
            )
            terminalreporter.line("take them out, or write it anew with --blocking-baseline-update:")
            for entry in gone[:20]:
                terminalreporter.line(f"  {entry}")
            if len(gone) > 20:
                terminalreporter.line(f"  and {len(gone) - 20} more")


_MANY = 20


def hint(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell a run that warns of many places that they can be forgiven all at once."""
    warned = terminalreporter.stats.get("warnings", [])
    places = {each.fslocation for each in warned if f": {BlockingCallWarning.__name__}: " in each.message}
    if len(places) >= _MANY:
        terminalreporter.section("blocking")
        terminalreporter.line(f"{_count(len(places))} block an event loop. To forgive them, and fail on what is new:")
        terminalreporter.line("  pytest --blocking-baseline=blocking.txt --blocking-baseline-update")
        terminalreporter.line("once, and from then on")
        terminalreporter.line("  pytest --blocking-baseline=blocking.txt")


def _count(number: int) -> str:
    return f"{number} place{'s' * (number != 1)}"
