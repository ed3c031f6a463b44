"""A child process that another one started: it begins to record when it is told to.

What tells it travels with the process object, and does its work when it is unpickled there: by then the child has the
parent's `sys.path` and main module, and has not begun with the user's own code. To a Python that was started as any
program is, it comes as text.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._record.door import Rule
    from ._record.journal import Start
    from ._session import Session


_sessions: list[Session] = []


@dataclass(frozen=True, slots=True)
class Target:
    """What a child is to watch."""

    target: str
    name: str
    """What its spans are called."""
    module: str
    """Where it is defined."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child process is to record, and where to."""

    folder: str
    start: Start
    origin: float
    """When the recording began, by the clock that all processes of this system share."""
    targets: tuple[Target, ...]
    rules: tuple[Rule, ...]
    """Which calls it may have to hold."""
    clocks: int
    """How often clocks are to be read; 0 for never."""


class Summons:
    """Tells a child process what to record."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __reduce__(self) -> tuple[Any, ...]:
        # Plain data: what reads it finds out first whether it is to do anything at all.
        return begin_by_text, (self.as_text(), os.getpid())

    def as_text(self) -> str:
        """Return it as text, for an environment variable."""
        return json.dumps(dataclasses.asdict(self._orders))


def begin_by_text(text: str, parent: int) -> None:
    """Record in this process, which `multiprocessing` has started, until it ends.

    Args:
        parent: The process that wrote this: it copies process objects, too, and is not to be recorded twice.
    """
    if os.getpid() == parent:
        return
    from multiprocessing import current_process

    from ._record.processes import tell_start_and_end

    session = _begin(_orders(text), current_process().name)
    if session is not None:
        tell_start_and_end(session.recorder)


def begin_by_environment() -> None:
    """Record in this process, which has been started as any program is, until it ends."""
    import atexit

    from ._record.subprocesses import VARIABLE

    text = os.environ.get(VARIABLE, "")
    if not text.startswith("{"):
        return
    # What it starts itself asks for it as it did.
    os.environ[VARIABLE] = "1"
    name = " ".join([os.path.basename(sys.executable), *sys.orig_argv[1:3]])[:40]
    session = _begin(_orders(text), name, on_import=True)
    if session is not None:
        recorder = session.recorder
        if recorder.journal is not None:
            recorder.journal.ready()
        atexit.register(lambda: recorder.end_strand(recorder.here()))


def _orders(text: str) -> Orders:
    from ._record.door import Rule
    from ._record.journal import Start
    from ._trace import Place

    told = json.loads(text)
    start, place = told["start"], told["start"]["place"]
    return Orders(
        **{
            **told,
            "start": Start(**{**start, "place": Place(**place) if place is not None else None}),
            "targets": tuple(Target(**each) for each in told["targets"]),
            "rules": tuple(Rule(**{**each, "targets": tuple(each["targets"])}) for each in told["rules"]),
        }
    )


def _begin(orders: Orders, name: str, *, on_import: bool = False) -> Session | None:
    from ._record.journal import Journal, is_open

    if not is_open(orders.folder):
        return None
    over = ExitStack()
    journal = Journal(orders.folder, name, orders.start, over.close)
    try:
        from ._session import Session

        session = Session()
        # Until the process ends: what is let go of is undone.
        _sessions.append(session)
        over.callback(session.stop)
        session.record_as_child(journal, orders)
    except Exception as error:
        journal.problem(f"A child process was not watched: {type(error).__name__}: {error}")
        return None
    for target in orders.targets:

        def watch(target: Target = target) -> None:
            try:
                session.watch(target.target, target.name)
            except Exception as error:
                journal.problem(f"In a child process {target.target} was not watched: {error}")

        if on_import:
            session.when_imported(target.module, watch)
        else:
            watch()
    return session
