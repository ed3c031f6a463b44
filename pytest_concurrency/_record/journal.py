"""What a process of a test tells the others of itself: a file of its own, one JSON line for each thing that happens.

A line is written as it happens, by one `write` to a file that is only appended to. So whoever kills the process takes
nothing back, nobody has to listen while it runs, and nothing but text comes from it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._descriptors import identity
from .._trace import Clock, Place, Release, Span, Strand, Use, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


SUFFIX = ".journal"
_OPEN = "open"
"""A file in the folder of the journals as long as anybody will read them."""
# Ours, from before any wrapper: what the journal costs is not the program's doing.
_open, _write, _close, _exists = os.open, os.write, os.close, os.path.exists


@dataclass(frozen=True, slots=True)
class Start:
    """Who started a child process, and where."""

    strand: int
    """The strand that did, as its own process numbers them."""
    pid: int
    """That process."""
    place: Place | None
    by_test: bool


@dataclass(slots=True)
class Child:
    """What one child process has told."""

    pid: int
    name: str
    start: Start
    strands: dict[int, Strand] = field(default_factory=dict)
    spans: dict[int, Span] = field(default_factory=dict)
    clocks: list[Clock] = field(default_factory=list)
    seen: list[tuple[int, Clock]] = field(default_factory=list)
    """Clocks of other processes' threads that it read: the process, and what was read."""
    uses: list[Use] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    problem: str = ""
    """Why something in it could not be watched."""
    ended: bool = False
    """The process is gone."""


def open_folder(folder: str) -> None:
    """Say that the journals in *folder* are being read."""
    _close(_open(os.path.join(folder, _OPEN), os.O_WRONLY | os.O_CREAT, 0o600))


def close_folder(folder: str) -> None:
    """Say that nobody reads the journals in *folder* any more: their processes end them."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(folder, _OPEN))


def is_open(folder: str) -> bool:
    """Tell whether anybody will read the journals in *folder*."""
    return _exists(os.path.join(folder, _OPEN))


class Journal:
    """The file of this process.

    Args:
        on_over: Called when something happens after the test that it was written for has ended.
    """

    def __init__(self, folder: str, name: str, start: Start, on_over: Callable[[], object] = lambda: None) -> None:
        self._folder = folder
        self._on_over: Callable[[], object] | None = on_over
        self._path = os.path.join(folder, f"{os.getpid()}{SUFFIX}")
        self._file = _open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._identity = identity(self._file)
        self._tell("child", {"pid": os.getpid(), "name": name, "start": _fields(start)})

    # What becomes part of the trace

    def strand(self, strand: Strand) -> None:
        """A strand has begun, or something about it has changed."""
        self._tell("strand", {**_fields(strand), "steps": ()})

    def span(self, span: Span) -> None:
        """A span has begun, or something about it has changed."""
        self._tell("span", {**_fields(span), "native": threading.get_native_id()})

    def clock(self, clock: Clock) -> None:
        """A thread's clocks have been read."""
        self._tell("clock", _fields(clock))

    def seen(self, pid: int, clock: Clock) -> None:
        """The clocks of another process's thread have been read."""
        self._tell("seen", {"pid": pid, "clock": _fields(clock)})

    def use(self, use: Use) -> None:
        """Something that processes share was wanted, taken or given back."""
        self._tell("use", _fields(use))

    def release(self, release: Release) -> None:
        """Held calls were let go."""
        self._tell("release", _fields(release))

    def problem(self, text: str) -> None:
        """Something could not be watched."""
        self._tell("problem", {"text": text})

    # What the other processes want to know meanwhile

    def settled(self, expectation: int) -> None:
        """The verdict on an expectation is settled."""
        self._tell("settled", {"expectation": expectation})

    def spent(self, expectation: int, seconds: float) -> None:
        """Calls were held for so long."""
        if seconds > 0:
            self._tell("spent", {"expectation": expectation, "seconds": seconds})

    def starts(self, more: int) -> None:
        """One *more* process is about to be started, or one less."""
        self._tell("starts", {"more": more})

    def started(self, pid: int) -> None:
        """A process has been started, which will say when it is ready."""
        self._tell("started", {"pid": pid})

    def ready(self) -> None:
        """This process begins with its own work."""
        self._tell("ready", {})

    def rests(self, pid: int | None) -> None:
        """All of this process waits for the end of another one; of none any more."""
        self._tell("rests", {"pid": pid})

    def close(self) -> None:
        """Let go of the file, which stays."""
        file, self._file = self._file, -1
        if file >= 0 and identity(file) == self._identity:
            _close(file)

    def _tell(self, what: str, fields: dict[str, Any]) -> None:
        if self._file < 0:
            return
        if not is_open(self._folder):
            self._end()
            return
        with contextlib.suppress(OSError):
            if identity(self._file) != self._identity:
                self._file = _open(self._path, os.O_WRONLY | os.O_APPEND)
            _write(self._file, f"{json.dumps([what, fields])}\n".encode())

    def _end(self) -> None:
        """The test is over, and this process lives on: leave nothing behind."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
            os.rmdir(self._folder)
        on_over, self._on_over = self._on_over, None
        if on_over is not None:
            on_over()


def _fields(told: Any) -> dict[str, Any]:
    # Not `asdict`, which copies all that it meets: this is done for every call in a child process.
    return {name: _plain(getattr(told, name)) for name in type(told).__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, (Place, Wait)):
        return _fields(value)
    return [_plain(each) for each in value] if type(value) is tuple else value


class Reader:
    """Reads a file while somebody writes it: each time the lines that are new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what has been told since the last time."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            told = file.read()
        # Somebody may be writing the last one.
        whole = told[: told.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            what, fields = json.loads(line)
            yield what, fields


def read(folder: Path) -> list[Child]:
    """Return what all child processes have told so far, in the order of their numbers."""
    found = []
    for file in sorted(folder.glob(f"*{SUFFIX}")):
        child: Child | None = None
        for what, fields in Reader(file).lines():
            if what == "child":
                start = fields["start"]
                child = Child(
                    fields["pid"],
                    fields["name"],
                    Start(start["strand"], start["pid"], _place(start["place"]), start["by_test"]),
                )
            elif child is not None:
                _take_down(child, what, fields)
        if child is not None:
            child.ended = not is_alive(child.pid)
            found.append(child)
    return found


def _take_down(child: Child, what: str, fields: dict[str, Any]) -> None:
    if what == "strand":
        child.strands[fields["id"]] = Strand(**{**fields, "place": _place(fields["place"]), "steps": ()})
    elif what == "span":
        places = {"again": _place(fields["again"]), "place": _place(fields["place"])}
        callers = tuple(Place(**each) for each in fields["caller"])
        fields.pop("native")
        child.spans[fields["id"]] = Span(**{**fields, **places, "caller": callers})
    elif what == "clock":
        child.clocks.append(_clock(fields))
    elif what == "seen":
        child.seen.append((fields["pid"], _clock(fields["clock"])))
    elif what == "use":
        child.uses.append(Use(**{**fields, "place": _place(fields["place"])}))
    elif what == "release":
        waits = tuple(
            Wait(**{**wait, "on": tuple(wait["on"]), "place": _place(wait["place"])}) for wait in fields["waits"]
        )
        lists = {"spans": tuple(fields["spans"]), "waits": waits, "pending": tuple(fields["pending"])}
        child.releases.append(Release(**{**fields, **lists}))
    elif what == "problem":
        child.problem = fields["text"]


def _clock(fields: dict[str, Any]) -> Clock:
    return Clock(**{**fields, "lock": _place(fields["lock"])})


def _place(fields: dict[str, Any] | None) -> Place | None:
    return Place(**fields) if fields is not None else None


def is_alive(pid: int) -> bool:
    """Tell whether a process still runs: one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return False
    except OSError:
        pass
    if os.name == "nt":
        # Asking by signal would end it there.
        return True
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
