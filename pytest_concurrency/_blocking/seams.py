"""Wrappers for calls that the interpreter does not announce, in place for the length of a run.

Only attributes of modules and of classes written in Python are replaced; types written in C stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from types import ModuleType
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


class BuiltinSeam:
    """A builtin function with a listener before it.

    It is an object and not a function, since a builtin that is put on a class does not become a method.
    """

    def __init__(self, original: Any, before: Callable[..., None]) -> None:
        self.__wrapped__ = original
        self._before = before
        self.__name__ = str(original.__name__)
        for name in ("__qualname__", "__module__", "__doc__", "__text_signature__"):
            setattr(self, name, getattr(original, name, None))
        self.__self__ = getattr(original, "__self__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        self._before(*args, **kwargs)
        return self.__wrapped__(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BuiltinSeam):
            other = other.__wrapped__
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __reduce__(self) -> str:
        # By name: another process finds the original there.
        return self.__name__

    def __copy__(self) -> BuiltinSeam:
        return self

    def __deepcopy__(self, memo: object) -> BuiltinSeam:
        return self


@contextlib.contextmanager
def builtin_installed(module: ModuleType, name: str, before: Callable[..., None]) -> Iterator[None]:
    """Call *before* ahead of a builtin function, in its own module and wherever it was imported to already."""
    original = getattr(module, name)
    seam = BuiltinSeam(original, before)
    places = [(module, name), *_imported_to(original, module)]
    for owner, attribute in places:
        setattr(owner, attribute, seam)
    try:
        yield
    finally:
        # Also from where it was imported to in the meantime.
        for owner, attribute in [(module, name), *_imported_to(seam, module)]:
            if vars(owner).get(attribute) is seam:
                setattr(owner, attribute, original)


def _imported_to(value: object, home: ModuleType) -> list[tuple[ModuleType, str]]:
    found = []
    for module in list(sys.modules.values()):
        # Only plain modules: a lazy one would be loaded by the question.
        if type(module) is ModuleType and module is not home:
            found += [(module, name) for name, held in list(vars(module).items()) if held is value]
    return found
