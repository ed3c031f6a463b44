"""A child process that another one started: it begins to record when it is told to.

What tells it travels with the process object, and does its work when it is unpickled there: by then the child has the
parent's `sys.path` and main module, and has not begun with the user's own code.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._record.journal import Start
    from ._session import Session


_sessions: list[Session] = []


class Summons:
    """Tells a child process what to record, and where to."""

    def __init__(
        self, folder: str, start: Start, origin: float, targets: tuple[tuple[str, str], ...], most: int
    ) -> None:
        self._arguments = (folder, start, origin, targets, most, os.getpid())

    def __reduce__(self) -> tuple[Any, ...]:
        return begin, self._arguments


def begin(
    folder: str, start: Start, origin: float, targets: tuple[tuple[str, str], ...], most: int, parent: int
) -> None:
    """Record in this process, until it ends.

    Args:
        origin: When the recording began, by the clock that all processes of this system share.
        targets: What to watch, each with the name that its spans carry.
        most: How often clocks are to be read; 0 for never.
        parent: The process that wrote this: it copies process objects, too, and is not to be recorded twice.
    """
    if os.getpid() == parent or not os.path.isdir(folder):
        return
    from ._record.journal import Journal

    journal = Journal(folder, _process_name(), start)
    try:
        from ._record.processes import tell_the_end
        from ._session import Session

        session = Session()
        # Until the process ends: what is let go of is undone.
        _sessions.append(session)
        session.record_as_child(journal, folder, origin)
        tell_the_end(session.recorder)
        if most:
            session.read_clocks(most)
    except Exception as error:
        journal.problem(f"A child process was not watched: {type(error).__name__}: {error}")
        return
    for target, name in targets:
        try:
            session.watch(target, name)
        except Exception as error:
            journal.problem(f"In a child process {target} was not watched: {error}")


def _process_name() -> str:
    from multiprocessing import current_process

    return current_process().name
