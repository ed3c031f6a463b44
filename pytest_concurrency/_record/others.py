"""What the other processes of a test are doing: read from their journals, while they write them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .._originals import RLock
from .journal import SUFFIX, Reader, is_alive

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(slots=True)
class _Process:
    reader: Reader
    pid: int = 0
    name: str = ""
    open: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """Its spans in progress: the name, the strand, and how the system names its thread."""
    settled: set[int] = field(default_factory=set)
    spent: Counter[int] = field(default_factory=Counter)
    starting: int = 0
    """How many processes it is about to start."""
    started: list[int] = field(default_factory=list)
    is_ready: bool = False
    rests_on: int | None = None

    def calls(self) -> tuple[tuple[str, int, int], ...]:
        """Return its spans in progress, at one instant: another thread may be taking in more."""
        return tuple(self.open.values())

    def look(self) -> None:
        for what, fields in self.reader.lines():
            if what == "child":
                self.pid, self.name = fields["pid"], fields["name"]
            elif what == "span":
                if fields["last"] is None:
                    self.open[fields["id"]] = fields["name"], fields["strand"], fields["native"]
                else:
                    self.open.pop(fields["id"], None)
            elif what == "settled":
                self.settled.add(fields["expectation"])
            elif what == "spent":
                self.spent[fields["expectation"]] += fields["seconds"]
            elif what == "starts":
                self.starting += fields["more"]
            elif what == "started":
                self.started.append(fields["pid"])
            elif what in ("ready", "problem"):
                self.is_ready = True
            elif what == "rests":
                self.rests_on = fields["pid"]


class OtherProcesses:
    """The processes that write journals into one folder, as this one of them sees the rest."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._own = os.getpid()
        self._known: dict[str, _Process] = {}
        # Threads of this process ask at the same time, and a finalizer may in the middle of an answer.
        self._lock = RLock()
        self._is_reading = False
        self._delays: dict[int, float] = {}

    def inside(self, names: Iterable[str]) -> list[tuple[str, tuple[int, int]]]:
        """Return their calls of the targets *names* in progress: the name, and the process and its strand."""
        wanted = frozenset(names)
        return [
            (name, (process.pid, strand))
            for process in self._others()
            for name, strand, _ in process.calls()
            if name in wanted and is_alive(process.pid)
        ]

    def at_work(self) -> set[tuple[int, int, int]]:
        """Return which of their threads are in a call: the process, its strand, and how the system names the thread."""
        return {(process.pid, strand, native) for process in self._others() for _, strand, native in process.calls()}

    def has_settled(self, expectation: int) -> bool:
        """Tell whether one of them has settled that verdict."""
        return any(expectation in process.settled for process in self._others())

    def spent(self, expectation: int) -> float:
        """Return for how many seconds they have held calls for that verdict."""
        return sum(process.spent[expectation] for process in self._others())

    def are_starting(self) -> bool:
        """Tell whether one of them has been started and has not begun with its own work."""
        processes = self._all()
        ready = {process.pid for process in processes if process.is_ready}
        return any(
            (process.starting > 0 and process.pid != self._own)
            or any(pid not in ready and is_alive(pid) for pid in process.started)
            for process in processes
        )

    def pending(self) -> tuple[str, ...]:
        """Return those that could still move, in words."""
        names = {process.pid: process.name for process in self._all()}
        return tuple(
            f"process {names[pid]!r} (pid {pid})" if pid in names else f"process {pid}" for pid in self._moving()
        )

    def kept_waiting(self) -> float:
        """Return for how long, in seconds, one of them had to wait for a processor since this was asked last."""
        before, self._delays = self._delays, {pid: _delay(pid) for pid in self._moving()}
        return max((delay - before[pid] for pid, delay in self._delays.items() if pid in before), default=0.0)

    def _moving(self) -> list[int]:
        """Return those that could still move: not one that waits for the end of another which lives."""
        processes = self._all()
        started = {pid for process in processes for pid in process.started}
        rests_on = {process.pid: process.rests_on for process in processes}
        found = []
        for pid in sorted((started | rests_on.keys()) - {self._own}):
            on = rests_on.get(pid)
            if is_alive(pid) and (on is None or not is_alive(on)):
                found.append(pid)
        return found

    def _others(self) -> list[_Process]:
        return [process for process in self._all() if process.pid != self._own]

    def _all(self) -> list[_Process]:
        with self._lock:
            if not self._is_reading:
                self._is_reading = True
                try:
                    self._read()
                finally:
                    self._is_reading = False
            return [self._known[name] for name in sorted(self._known) if self._known[name].pid]

    def _read(self) -> None:
        try:
            files = [name for name in os.listdir(self._folder) if name.endswith(SUFFIX)]
        except OSError:
            # The test is over.
            files = []
        for name in self._known.keys() - files:
            del self._known[name]
        for name in files:
            process = self._known.setdefault(name, _Process(Reader(self._folder / name)))
            process.look()


def _delay(pid: int) -> float:
    """Return for how long the first thread of a process has waited for a processor, in seconds; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
