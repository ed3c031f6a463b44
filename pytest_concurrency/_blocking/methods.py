"""Calls of methods of types written in C, such as reading a file that is open already: no event and no seam tells.

Types written in C stay as they are. From Python 3.13 on `sys.monitoring` tells of each place of a call, and forgets at
once those that cannot matter. Before, `sys.setprofile` tells of every call on a loop's thread; that is dear, so each
run of a loop has a number of calls that are looked at, which grows again while the loop has nothing to do.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import threading
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodDescriptorType, MethodType, MethodWrapperType
from typing import TYPE_CHECKING, Any, NamedTuple

from .._frames import about_to_profile
from .loops import LOOP_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Heard = Callable[["Method", FrameType], None]

_READING = ("read", "read1", "readinto", "readinto1", "readall", "readline", "readlines", "peek")
FILE_METHODS = frozenset((*_READING, "write", "writelines", "flush", "truncate", "close"))
DATABASE_METHODS = frozenset(
    ["execute", "executemany", "executescript", "commit", "rollback", "backup", "fetchone", "fetchmany", "fetchall"]
)
_NAMES = FILE_METHODS | DATABASE_METHODS
_FILES: tuple[type, ...] = (io.FileIO, io.BufferedReader, io.BufferedWriter, io.BufferedRandom, io.TextIOWrapper)
_MONITORING = sys.version_info >= (3, 13)
_TOOLS = (4, 3, 2)
"""Numbers of `sys.monitoring` that are nobody's by convention, then the profiler's."""
BURST = 5_000
"""Calls and returns that are looked at when a loop begins to run: two milliseconds' worth."""
_GROWTH = 20_000.0
"""How many more a second: a hundredth of the time."""
# Ours, from before any wrapper.
_fstat = os.fstat


_WITH_NAMES = frozenset({BuiltinFunctionType, MethodDescriptorType, MethodWrapperType, FunctionType, MethodType})


class Method(NamedTuple):
    """A call of a method that may wait."""

    kind: str
    call: str
    detail: str


def described(name: str, owner: Any, files: bool) -> Method | None:
    """Return what it means to call the method *name* of *owner*, None where that cannot wait or nobody asks.

    Args:
        files: Whether files matter at all.
    """
    if name in FILE_METHODS and files:
        file = next((each for each in _FILES if isinstance(owner, each)), None)
        if file is not None:
            path = _on_disk(owner)
            if path is None or (name == "close" and not owner.writable()):
                return None
            return Method("file", f"io.{file.__name__}.{name}", path)
        if name == "flush" and type(owner).__module__ == "mmap":
            return Method("file", "mmap.mmap.flush", "")
    if name in DATABASE_METHODS:
        database = sys.modules.get("_sqlite3")
        if database is not None:
            for each in ("Connection", "Cursor"):
                if isinstance(owner, getattr(database, each)):
                    return Method("database", f"sqlite3.{each}.{name}", "")
    return None


def _on_disk(file: Any) -> str | None:
    """Return the name of *file* if it lies on a disk: pipes and terminals are waited for, and found so."""
    # The streams of the program and pytest's stand-ins for them.
    if any(file is each for each in (sys.stdout, sys.stderr, sys.stdin)) or type(file).__module__.startswith("_pytest"):
        return None
    try:
        number = file.fileno()
        if number <= 2 or not stat.S_ISREG(_fstat(number).st_mode):
            return None
        name = file.name
    except (OSError, ValueError, AttributeError):
        return None
    return name[-60:] if isinstance(name, str) else ""


class Methods:
    """Hears of calls of these methods on the threads of loops."""

    def __init__(self, heard: Heard, over: Callable[[], None], clock: Callable[[], float]) -> None:
        self._heard = heard
        self._over = over
        self._clock = clock
        self._local = threading.local()
        self._tool: int | None = None
        self._wanted = False
        self.files = False
        """Whether files matter."""

    def switch(self, *, files: bool, database: bool) -> None:
        """Hear of what matters from now on."""
        self.files = files
        self._wanted = files or database

    @property
    def _listens(self) -> bool:
        return self._wanted and (self.files or "_sqlite3" in sys.modules)

    @contextmanager
    def on_this_thread(self) -> Iterator[None]:
        """Listen while a loop runs on this thread."""
        if _MONITORING:
            if self._listens and self._tool is None:
                self._monitor()
            yield
            return
        before = getattr(self._local, "ear", None)
        ear = self._local.ear = _Ear(self._called, self._over)
        self.refresh()
        try:
            yield
        finally:
            ear.rest()
            self._local.ear = before

    def refresh(self) -> None:
        """Time has passed: more calls may be looked at on this thread."""
        ear: _Ear | None = getattr(self._local, "ear", None)
        if ear is not None and self._listens:
            ear.listen(self._clock())

    def stop(self) -> None:
        """Hear of nothing any more."""
        self._wanted = False
        tool, self._tool = self._tool, None
        if tool is not None:
            _release(tool)

    def _called(self, name: str, owner: Any, frame: FrameType) -> None:
        try:
            method = described(name, owner, self.files) if self._wanted else None
        except Exception:
            # Somebody's own subclass, which answers in its own way.
            return
        if method is not None:
            self._heard(method, frame)

    def _monitor(self) -> None:
        if sys.version_info < (3, 13):
            return
        monitoring = sys.monitoring
        tool = next((each for each in _TOOLS if monitoring.get_tool(each) is None), None)
        if tool is None:
            return
        monitoring.use_tool_id(tool, "pytest_concurrency")
        self._tool = tool
        disable = monitoring.DISABLE

        def called(code: Any, offset: int, function: Any, first: Any) -> Any:
            # Anything else that can be called is somebody's own, and may answer as it likes when asked for its name.
            name = function.__name__ if type(function) in _WITH_NAMES else None
            if type(name) is not str or name not in _NAMES:
                return disable
            if threading.get_ident() in LOOP_THREADS:
                owner = getattr(function, "__self__", first)
                frame = sys._getframe(1)
                self._called(name, owner, frame)
            return None

        def returned(code: Any, offset: int, function: Any, first: Any) -> None:
            if threading.get_ident() in LOOP_THREADS:
                self._over()

        monitoring.register_callback(tool, monitoring.events.CALL, called)
        monitoring.register_callback(tool, monitoring.events.C_RETURN, returned)
        monitoring.set_events(tool, monitoring.events.CALL)


def _release(tool: int) -> None:
    if sys.version_info >= (3, 13):
        monitoring = sys.monitoring
        monitoring.set_events(tool, 0)
        for event in (monitoring.events.CALL, monitoring.events.C_RETURN):
            monitoring.register_callback(tool, event, None)
        monitoring.free_tool_id(tool)


class _Ear:
    """The profiler's function of one thread."""

    def __init__(self, called: Callable[[str, Any, FrameType], None], over: Callable[[], None]) -> None:
        self._left = BURST
        self._since = 0.0
        self._is_on = False
        self._called = called
        self._over = over
        # One object for as long as this lives: the interpreter has no reference of its own to the function that it is
        # about to call, while it makes the frame that it hands over. That may set off a garbage collection, in which
        # somebody's callback makes the call that is our last one.
        self._ear = self._heard

    def listen(self, now: float) -> None:
        """Look at some more calls, unless somebody else uses the profiler."""
        if self._since:
            self._left = min(BURST, self._left + int((now - self._since) * _GROWTH))
        self._since = now
        current = sys.getprofile()
        # It is taken out of force by an exception that we raise in a call's place.
        if self._left > 0 and current is None:
            about_to_profile()
            sys.setprofile(self._ear)

    def rest(self) -> None:
        """Look at nothing any more."""
        if sys.getprofile() is self._ear:
            sys.setprofile(None)

    def _heard(self, frame: FrameType, event: str, function: Any) -> None:
        __tracebackhide__ = True
        self._left -= 1
        if event == "c_call":
            name = function.__name__
            if name in _NAMES:
                self._called(name, function.__self__, frame)
        elif event == "c_return" and function.__name__ in _NAMES:
            self._over()
        if self._left <= 0:
            self.rest()
