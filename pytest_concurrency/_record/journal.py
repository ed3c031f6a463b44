"""What a child process tells of itself: a file of its own, one JSON line for each thing that happens.

A line is written as it happens, by one `write` to a file that is only appended to. So whoever kills the child takes
nothing back, nobody has to listen while it runs, and nothing but text comes from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._trace import Clock, Place, Span, Strand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_SUFFIX = ".journal"
# Ours, from before any wrapper: what the journal costs is not the program's doing.
_open, _write, _close = os.open, os.write, os.close


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
    problem: str = ""
    """Why something in it could not be watched."""
    ended: bool = False
    """The process is gone."""


class Journal:
    """The file of this process."""

    def __init__(self, folder: str, name: str, start: Start) -> None:
        self._file = _open(
            os.path.join(folder, f"{os.getpid()}{_SUFFIX}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )
        self._tell("child", {"pid": os.getpid(), "name": name, "start": dataclasses.asdict(start)})

    def strand(self, strand: Strand) -> None:
        """A strand has begun, or something about it has changed."""
        self._tell("strand", dataclasses.asdict(dataclasses.replace(strand, steps=())))

    def span(self, span: Span) -> None:
        """A span has begun, or something about it has changed."""
        self._tell("span", dataclasses.asdict(span))

    def clock(self, clock: Clock) -> None:
        """A thread's clocks have been read."""
        self._tell("clock", dataclasses.asdict(clock))

    def problem(self, text: str) -> None:
        """Something could not be watched."""
        self._tell("problem", {"text": text})

    def close(self) -> None:
        """Let go of the file, which stays."""
        _close(self._file)

    def _tell(self, what: str, fields: dict[str, Any]) -> None:
        # The program may have closed all files.
        with contextlib.suppress(OSError):
            _write(self._file, f"{json.dumps([what, fields])}\n".encode())


def read(folder: Path) -> list[Child]:
    """Return what all children have told so far, in the order of their numbers."""
    found = []
    for file in sorted(folder.glob(f"*{_SUFFIX}")):
        child: Child | None = None
        for what, fields in _lines(file):
            if what == "child":
                start = fields["start"]
                child = Child(
                    fields["pid"],
                    fields["name"],
                    Start(start["strand"], start["pid"], _place(start["place"]), start["by_test"]),
                )
            elif child is None:
                break
            elif what == "strand":
                child.strands[fields["id"]] = Strand(**{**fields, "place": _place(fields["place"]), "steps": ()})
            elif what == "span":
                places = {"again": _place(fields["again"]), "place": _place(fields["place"])}
                callers = tuple(Place(**each) for each in fields["caller"])
                child.spans[fields["id"]] = Span(**{**fields, **places, "caller": callers})
            elif what == "clock":
                child.clocks.append(Clock(**{**fields, "lock": _place(fields["lock"])}))
            elif what == "problem":
                child.problem = fields["text"]
        if child is not None:
            child.ended = not is_alive(child.pid)
            found.append(child)
    return found


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in file.read_text(encoding="ascii").splitlines(keepends=True):
        # Somebody may be writing the last one.
        if line.endswith("\n"):
            what, fields = json.loads(line)
            yield what, fields


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
