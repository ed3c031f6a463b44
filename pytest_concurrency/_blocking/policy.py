"""Who may block: the built-in innocents, each with its reason, and what the user allows."""

from __future__ import annotations

import contextlib
import contextvars
import fnmatch
import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from .._allow import PlaceRule, parse_place, with_packages
from .._frames import caller_of
from .frames import module_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

    from .._settings import Blocking
    from .frames import Site


class _Allowance:
    def __init__(self, reason: str, outermost: FrameType) -> None:
        self.reason = reason
        self.open = True
        self.outermost: FrameType | None = outermost
        """The first frame of the code that is allowed, where a look from another thread cannot ask for its context."""


_open: list[_Allowance] = []
_allowance: contextvars.ContextVar[_Allowance | None] = contextvars.ContextVar(
    "pytest_concurrency_allow_blocking", default=None
)


@contextlib.contextmanager
def allow_blocking(reason: str) -> Iterator[None]:
    """Let the code in the `with` block, and what it awaits, block the event loop.

    Args:
        reason: Why it may, for whoever reads the report.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError("allow_blocking() needs a reason, such as allow_blocking('reads a 2 kB file once')")
    before = _allowance.get()
    mine = _Allowance(reason, _first(sys._getframe(1)))
    _open.append(mine)
    _allowance.set(mine)
    try:
        yield
    finally:
        # A task that was started inside has a copy of this context: it must not be allowed to block for ever.
        mine.open, mine.outermost = False, None
        _open.remove(mine)
        # Not by token: an async generator may be closed in another context than it was entered in.
        if _allowance.get() is mine:
            _allowance.set(before)


def allowed_here() -> str | None:
    """Return the reason of the innermost `allow_blocking` around the running code, None where there is none."""
    allowance = _allowance.get()
    return allowance.reason if allowance is not None and allowance.open else None


def allowed_under(frame: FrameType) -> str | None:
    """Return the same for the code of a greenlet whose innermost frame is *frame*."""
    outermost = _first(frame) if _open else None
    return next((each.reason for each in tuple(_open) if each.outermost is outermost is not None), None)


def _first(frame: FrameType) -> FrameType:
    while (caller := caller_of(frame)) is not None:
        frame = caller
    return frame


def allowed_in(context: contextvars.Context | None) -> str | None:
    """Return the same for code that runs in *context*, on whatever thread."""
    allowance = context.get(_allowance) if context is not None else None
    return allowance.reason if allowance is not None and allowance.open else None


class Innocent(NamedTuple):
    """Code that may make some calls on an event loop's thread."""

    modules: frozenset[str]
    """Modules or packages whose frame lies between the call and the user's line."""
    reason: str
    functions: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    but_not: frozenset[str] = frozenset()
    """Functions that run somebody else's code."""

    def covers(self, kind: str, names: frozenset[str], function: str) -> bool:
        """Tell whether a frame of a module with these *names* may make a call of this *kind*."""
        return (
            (self.kinds is None or kind in self.kinds)
            and not self.modules.isdisjoint(names)
            and (self.functions is None or function in self.functions)
            and function not in self.but_not
        )


def _innocent(
    reason: str, modules: str, *, functions: str | None = None, kinds: str | None = None, but_not: str = ""
) -> Innocent:
    def words(text: str | None) -> frozenset[str] | None:
        return frozenset(text.split()) if text is not None else None

    return Innocent(frozenset(modules.split()), reason, words(functions), words(kinds), frozenset(but_not.split()))


# Where loop libraries call what they were given: not their own doing.
_HAND_OVER = "_run run_cb run_sync_cb unprotected_fn _call_func _run_callback _invoke_callback"

INNOCENTS: tuple[Innocent, ...] = (
    _innocent("the import system reads modules", "importlib zipimport pkgutil runpy", kinds="file lock"),
    _innocent("modules are rewritten and cached as they are imported", "_pytest.assertion"),
    _innocent("pytest is at work", "_pytest pytest pluggy xdist execnet pytest_asyncio pytest_trio pytest_timeout"),
    _innocent("coverage is measured", "coverage pytest_cov"),
    _innocent("a log record is written to a local stream or file", "logging", kinds="file lock"),
    _innocent("a traceback is formatted", "traceback linecache tokenize inspect tracemalloc", kinds="file lock import"),
    _innocent("a warning is shown", "warnings", kinds="file lock import"),
    _innocent("a codec is looked up, once in a process", "encodings", kinds="file lock import"),
    _innocent("a thread is started, which takes microseconds", "threading", functions="start", kinds="lock"),
    _innocent(
        "an executor takes a job, which waits for nothing", "concurrent.futures", functions="submit", kinds="lock join"
    ),
    _innocent(
        "the loop starts a subprocess, reads it and its own files",
        "asyncio uvloop trio anyio tornado",
        kinds="file subprocess lock queue socket input import",
        but_not=_HAND_OVER,
    ),
    _innocent("asyncio waits for its own worker threads as it ends", "asyncio.base_events", kinds="join lock"),
    _innocent(
        "trio asks whether the name is numeric already",
        "trio._socket",
        functions="getaddrinfo getnameinfo",
        kinds="dns",
    ),
    _innocent(
        "gevent's hub waits, or its own threads do",
        "gevent zope.event",
        kinds="file subprocess lock queue socket input import join dns",
    ),
    _innocent("anyio gets a worker thread", "anyio._backends", kinds="queue lock", but_not=_HAND_OVER),
)
"""Asked of every frame between the call and the user's line."""


def innocent(kind: str, inner: Iterable[FrameType]) -> str | None:
    """Return why the frames *inner* may make a call of this *kind*, None where nobody says so."""
    for frame in inner:
        names = with_packages(module_of(frame))
        for each in INNOCENTS:
            if each.covers(kind, names, frame.f_code.co_name):
                return each.reason
    return None


_DEBUGGERS = frozenset(
    {"bdb", "pdb", "pydevd", "_pydevd_bundle", "pydevd_plugins", "debugpy", "ipdb", "pudb", "IPython"}
)


def is_debugged(frames: Iterable[FrameType]) -> bool:
    """Tell whether one of *frames* is a debugger's: what is typed at its prompt is nobody's program."""
    return any(module_of(frame).partition(".")[0] in _DEBUGGERS for frame in frames)


def is_importing(frames: Iterable[FrameType]) -> bool:
    """Tell whether one of *frames* is the import system's, which an exception would leave half done."""
    return any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames)


_CALL = r"[\w.*?\[\]]+"


class AllowRule:
    """One line of `concurrency_allow_blocking`."""

    def __init__(self, text: str, call: str | None, place: PlaceRule) -> None:
        self.text = text
        self.call = call
        self.place = place
        self.used = 0
        """How many blocks it has let off: a rule that never does is worth a word."""

    def matches(self, names: tuple[str, ...], frames: Iterable[FrameType], root: str) -> bool:
        """Tell whether a call known under *names*, made under *frames*, is let off."""
        if self.call is not None and not any(fnmatch.fnmatchcase(name, self.call) for name in names):
            return False
        return any(
            self.place.covers(frame.f_code.co_filename, module_of(frame), frame.f_code.co_qualname, root)
            for frame in frames
        )


def parse_rule(text: str) -> AllowRule:
    """Return the rule that *text* stands for.

    Raises:
        ValueError: It is none.
    """
    expected = (
        "expected package.module, package.module:function, a path such as src/shop/*.py, "
        "or call@place such as time.sleep@tests/helpers.py"
    )
    call, at, place = text.strip().rpartition("@")
    if at and not re.fullmatch(_CALL, call):
        raise ValueError(f"{text!r} does not say who may block: {expected}")
    try:
        return AllowRule(text, call or None, parse_place(place))
    except ValueError as error:
        problem = str(error) or "does not say who may block"
    raise ValueError(f"{text!r} {problem}: {expected}")


class Policy:
    """What may block in one test, or between tests.

    Args:
        exempt: The reason why everything may.
        rules: Parsed from `blocking.allow` unless given; share them between tests, so that their use adds up.
        root: The folder that path rules are relative to.
    """

    def __init__(
        self, blocking: Blocking, exempt: str | None = None, rules: tuple[AllowRule, ...] = (), root: str = ""
    ) -> None:
        self.blocking = blocking
        self.exempt = exempt
        self.rules = rules or tuple(parse_rule(text) for text in blocking.allow)
        self.root = root

    def allowed(self, site: Site, call: str, context_reason: str | None = None) -> str | None:
        """Return why the call at *site* may block, None where it may not."""
        reason = self.exempt or context_reason
        if reason is not None:
            return reason
        for rule in self.rules:
            if rule.matches((site.call, call), site.step, self.root or os.getcwd()):
                rule.used += 1
                return f"concurrency_allow_blocking: {rule.text}"
        return None
