"""Wrappers for calls that the interpreter does not announce, in place for the length of a run.

Only attributes of modules and of classes written in Python are replaced; types written in C stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .audit import seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Enter = Callable[[str, str, str], Any]
    """Kind, call, detail -> a token if this call is to be measured, else None. May raise in the call's place."""
    Leave = Callable[[Any], None]


class Seam(NamedTuple):
    """One function that is wrapped."""

    module: str
    attribute: str
    """Its name in the module, `Class.method` for a method."""
    kind: str
    call: str
    can_wait: Callable[..., str | None]
    """Called as the function is: a few words about the call, None where it cannot wait."""


def _timeout(value: float | None, otherwise: str = "") -> str | None:
    if value is None:
        return otherwise
    return f"timeout {seconds_text(value)}" if value > 0 else None


def _condition(self: Any, timeout: float | None = None) -> str | None:
    return _timeout(timeout)


def _join(self: threading.Thread, timeout: float | None = None) -> str | None:
    if not self.is_alive() or self is threading.current_thread():
        return None
    return _timeout(timeout)


def _child(self: Any, timeout: float | None = None) -> str | None:
    if self.returncode is not None or _has_exited(self.pid):
        return None
    return _timeout(timeout)


def _communicate(self: Any, *data: Any, timeout: float | None = None, **more: Any) -> str | None:
    has_pipes = any(pipe is not None for pipe in (self.stdin, self.stdout, self.stderr))
    return _timeout(timeout) if has_pipes or self.returncode is None else None


def _has_exited(pid: int) -> bool:
    import os

    if not hasattr(os, "waitid"):
        return False
    try:
        # Looks without taking the exit status away.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:
        return False


SEAMS: tuple[Seam, ...] = (
    Seam("threading", "Condition.wait", "lock", "threading.Condition.wait", _condition),
    Seam("threading", "Thread.join", "join", "threading.Thread.join", _join),
    Seam("subprocess", "Popen.wait", "subprocess", "subprocess.Popen.wait", _child),
    Seam("subprocess", "Popen.communicate", "subprocess", "subprocess.Popen.communicate", _communicate),
)


def wrap(seam: Seam, original: Callable[..., Any], enter: Enter, leave: Leave) -> Callable[..., Any]:
    """Return *original* with *enter* and *leave* around those of its calls that can wait."""
    can_wait, kind, call = seam.can_wait, seam.kind, seam.call
    from .loops import running_backend

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        if running_backend() is None:
            return original(*args, **kwargs)
        try:
            detail = can_wait(*args, **kwargs)
        except Exception:
            # Called in a way that the original will complain about, in its own words.
            detail = None
        token = enter(kind, call, detail) if detail is not None else None
        if token is None:
            return original(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            leave(token)

    return wrapper


@contextlib.contextmanager
def installed(seam: Seam, enter: Enter, leave: Leave) -> Iterator[None]:
    """Put *seam* in place, in a module that has been imported, for the length of the `with` block."""
    owner: Any = sys.modules.get(seam.module)
    *path, name = seam.attribute.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    if owner is None or name not in vars(owner):
        # Another tool has put something else here, or a later Python has moved it.
        yield
        return
    original = vars(owner)[name]
    replacement = wrap(seam, original, enter, leave)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        if vars(owner).get(name) is replacement:
            setattr(owner, name, original)
