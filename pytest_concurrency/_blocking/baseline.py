"""The baseline: a file of places that are known to block, so that a suite with many findings can begin.

One place a line, sorted, keyed by the path, the function and the call, and not by the line's number: it stays true
when code moves, and a change of it reads well in a diff.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .._judge.blocking import Finding

_HEAD = """\
# Places that are known to block an event loop: path::function, then the call.
# Written by pytest --blocking-baseline-update. Take a line out when its place is mended.
"""


class Entry(NamedTuple):
    """One place that is known to block."""

    file: str
    """Relative to pytest's rootdir where it lies below it, with forward slashes."""
    function: str
    call: str

    def __str__(self) -> str:
        return f"{self.file}::{self.function}  {self.call}"


def entry_of(finding: Finding, root: str) -> Entry:
    """Return the entry under which *finding* is known."""
    file = finding.place.file
    if root:
        with contextlib.suppress(ValueError):  # another drive
            relative = os.path.relpath(file, root)
            file = file if relative.startswith(os.pardir) else relative
    return Entry(file.replace(os.sep, "/"), finding.place.function, finding.call)


def parse(text: str) -> frozenset[Entry]:
    """Return the entries that *text* lists.

    Raises:
        ValueError: A line is none; the message has its number.
    """
    entries = set()
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        place, _, call = content.rpartition("  ")
        file, colons, function = place.strip().rpartition("::")
        if not colons or not file or not function or not call:
            raise ValueError(f"line {number}: {content!r}: expected path::function, two spaces, and the call")
        entries.add(Entry(file, function, call.strip()))
    return frozenset(entries)


def render(entries: Iterable[Entry]) -> str:
    """Return the text of a baseline with *entries*."""
    return _HEAD + "".join(f"{entry}\n" for entry in sorted(set(entries)))


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a baseline, all of it or nothing."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(render(entries))
        # A temporary file is its owner's alone; this one is for the repository.
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
