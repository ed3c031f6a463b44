"""Forked children: which locks the parent's other threads held when they were made, and where they stand now.

A forked child has the parent's locks, taken as they were, and none of its other threads: nobody gives those back. What
the threads were at is noted before each fork, at the price of a few copied dictionaries, and looked at only when a
child hangs. It says where it stands when its parent asks by a signal that is ignored otherwise. Until the first fork
this loads nothing.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .._folder import private_folder
from .._frames import current_frames, locals_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

    from .._hang import Hang

_ASK = getattr(signal, "SIGURG", None)
"""Ignored where nobody handles it: a child that knows nothing of this is not disturbed."""
_PATIENCE = 1.0
"""How long a child has to answer, in seconds."""
_STEP = 0.01


class Still(NamedTuple):
    """A frame as it was: the child must not touch those of threads that it does not have."""

    f_code: CodeType
    f_lasti: int
    f_lineno: int
    f_locals: dict[str, Any]
    f_globals: dict[str, Any]


class _State:
    on = False
    registered = False
    folder: str | None = None
    owner = 0
    noted: tuple[tuple[str, tuple[Still, ...]], ...] = ()
    """The parent's other threads at the last fork, in the parent until that is over, in the child for good."""


@contextlib.contextmanager
def noting() -> Iterator[None]:
    """Note before each fork what the other threads are at, for the length of the `with` block."""
    if _ASK is None or not hasattr(os, "register_at_fork") or _State.on:
        yield
        return
    if not _State.registered:
        # It cannot be taken out again: it does nothing while nobody notes.
        _State.registered = True
        os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
    _State.on, _State.owner = True, os.getpid()
    try:
        yield
    finally:
        if os.getpid() == _State.owner:
            _State.on = False
            if _State.folder is not None:
                import shutil

                shutil.rmtree(_State.folder, ignore_errors=True)
                _State.folder = None


def _before() -> None:
    if not _State.on:
        return
    with contextlib.suppress(Exception):
        if _State.folder is None:
            _State.folder = private_folder()
        if threading.active_count() > 1:
            _State.noted = _stills()


def _stills() -> tuple[tuple[str, tuple[Still, ...]], ...]:
    from .._places import outward
    from .draft import is_users

    names = {thread.ident: thread.name for thread in threading.enumerate()}
    me = threading.get_ident()
    found = []
    for ident, frame in current_frames().items():
        if ident != me and ident in names:
            stills = tuple(_still(each) for each in outward(frame) if is_users(each))
            if stills:
                found.append((names[ident], stills))
    return tuple(found)


def _still(frame: FrameType) -> Still:
    return Still(frame.f_code, frame.f_lasti, frame.f_lineno or 0, dict(locals_of(frame)), frame.f_globals)


def _after_in_parent() -> None:
    if os.getpid() == _State.owner:
        _State.noted = ()


def _after_in_child() -> None:
    if _State.on and _ASK is not None:
        with contextlib.suppress(Exception):
            handler = signal.getsignal(_ASK)
            # The parent's own means of ending a deadlock is nothing for a child.
            if handler is signal.SIG_DFL or getattr(handler, "__module__", "").startswith(__package__):
                signal.signal(_ASK, _tell)


def holder(lock: Any) -> str:
    """Return who held *lock* in the parent when this process was forked, in words, `` where nobody is known to have."""
    from .draft import inner_lock
    from .source import held_in

    for name, stills in _State.noted:
        for still in stills:
            for taken in held_in(still):  # type: ignore[arg-type]  # what is asked of a frame, it has
                if inner_lock(taken.value) is lock:
                    place = f"{os.path.basename(still.f_code.co_filename)}:{taken.line}"
                    return (
                        f"which thread {name!r} of the parent process held at {place} when it forked:"
                        " no thread here can give it back"
                    )
    return ""


def _tell(number: int, frame: FrameType | None) -> None:
    """Tell the parent where this process stands."""
    with contextlib.suppress(Exception):
        import json

        from .._hang import to_json
        from .snapshot import snapshot

        path = f"{_State.folder}/{os.getpid()}"
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(to_json(snapshot()), file)
        os.replace(f"{path}.part", path)


def ask(pid: int) -> Hang | None:
    """Return what the child *pid* says of itself, None where it says nothing."""
    if _ASK is None or _State.folder is None:
        return None
    import json

    from .._hang import from_json

    path = f"{_State.folder}/{pid}"
    # Not `time.sleep`, which others listen to.
    pause = _thread.allocate_lock()
    pause.acquire()
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        os.kill(pid, _ASK)
        for _ in range(round(_PATIENCE / _STEP)):
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    return from_json(json.load(file))
            pause.acquire(timeout=_STEP)
    return None
