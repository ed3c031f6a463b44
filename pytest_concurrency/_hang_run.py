"""When a test is stopped: write down who waits for whom before anything is torn down. Wiring only."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ._autopsy import forks
from ._errors import DeadlockError
from ._imports import when_imported
from ._markers import OVERLAP
from ._patching import patched
from ._record import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import FrameType

    import pytest

    from ._autopsy.quiet import Watch
    from ._hang import Hang
    from ._session import Session
    from ._show.messages import Page

    Phase = Generator[None, Any, Any]

ASKED = OVERLAP | {"must_finish_within", "concurrency"}
"""The markers and fixtures of tests that have an opinion on how they go on: a proven deadlock fails these at once."""
_DEBUGGERS = ("pdb.py", "bdb.py", "pydevd.py")


class HangRun:
    """What is told of a test of this run that is stopped by a time-out or by Ctrl-C."""

    def __init__(self) -> None:
        self.item: pytest.Item | None = None
        """The test that runs, from its set-up to its teardown."""
        self.session_of: Callable[[pytest.Item], Session | None] = lambda item: None
        self.page_of: Callable[[pytest.Item], Page]
        self.beside: Callable[[], Callable[[], None]] = lambda: lambda: None
        """Hears of a thread of ours that is about to wait, and returns what it is to call as soon as it goes on."""
        self.on_text: Callable[[], object] = lambda: None
        """Told when there is something to be said in the report of a test."""
        self._undo = ExitStack()
        self._watch: Watch | None = None
        self._watching = ExitStack()
        self._stderr: int | None = None
        self._pid = os.getpid()
        self._text: str | None = None
        """For the report of the test that runs."""

    def start(self) -> None:
        """Listen for the ends that come from outside."""
        self._undo.enter_context(_kept_stderr(self))
        self._undo.enter_context(forks.noting())
        timeout = sys.modules.get("pytest_timeout")
        if timeout is not None:
            self._undo.enter_context(patched(timeout, "dump_stacks", self._timed_out))
        if threading.current_thread() is threading.main_thread():
            self._undo.enter_context(self._interrupts())
            self._undo.enter_context(when_imported("asyncio", self._watch_asyncio))
            self._undo.enter_context(when_imported("trio", self._watch_trio))

    def stop(self) -> None:
        """Undo all that was put in place."""
        self._end_watch()
        self._undo.close()

    def set_stderr(self, descriptor: int | None) -> None:
        """Write to *descriptor*: the run's own error output, past pytest's capturing."""
        self._stderr = descriptor

    def finish(self, status: int) -> None:
        """Take what the process will end with."""
        if "pytest_concurrency._autopsy.stranded" in sys.modules:
            from ._autopsy import stranded

            stranded.status = status

    # Deadlocks that can be proven

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
        """Watch a test that has an opinion on concurrency for the moment in which nobody can go on any more.

        Args:
            asked: Our markers and fixtures that it uses.
        """
        self._end_watch()
        # Virtual time has a proof of its own.
        if "virtual_clock" not in asked and kernel.TELLS:
            from ._autopsy.quiet import Watch

            self._watch = Watch(self._snapshot)
            self._watching.enter_context(when_imported("asyncio", self._watch_asyncios_quiet))
            self._watching.enter_context(when_imported("trio", self._watch_trios_quiet))
        return (yield from phase)

    def _watch_asyncios_quiet(self) -> None:
        from ._autopsy.asyncio_quiet import watch

        assert self._watch is not None
        watch(self._watching, self._watch)

    def _watch_trios_quiet(self) -> None:
        from ._autopsy.trio_quiet import watch

        assert self._watch is not None
        watch(self._watching, self._watch)

    def call(self, item: pytest.Item, phase: Phase) -> Phase:
        """Fail at the moment in which it is proven that nobody can go on any more."""
        watch = self._watch
        if watch is None:
            return (yield from phase)
        from ._autopsy.lookout import Lookout

        result = None
        try:
            watch.on = True
            with Lookout(watch, self.beside).looking():
                result = yield from phase
        except BaseException:
            if watch.found is None:
                raise
        finally:
            watch.on = False
        if watch.found is None:
            return result
        # Outside the handler: how the loop was ended says nothing.
        raise DeadlockError(self._text_of(watch.found, proven=True))

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase:
        """Watch no more, but for fixtures that would wait for threads that cannot end."""
        watch = self._watch
        try:
            if watch is None or watch.found is None:
                return (yield from phase)
            from ._autopsy.lookout import Lookout
            from ._autopsy.quiet import Deadlocked

            try:
                with Lookout(watch, self.beside).looking():
                    return (yield from phase)
            except Deadlocked:
                pass
            raise DeadlockError("a fixture waited for what its test has been proven to wait for in vain")
        finally:
            self._end_watch()

    def _end_watch(self) -> None:
        self._watch = None
        self._watching.close()

    # pytest-timeout

    def _timed_out(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def dump_stacks(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if threading.current_thread() is threading.main_thread():
                # The test fails and is reported in the usual way.
                self._text = self._look()
                self.on_text()
                return original(*args, **kwargs)
            # The process ends without another word after this.
            self._write(self._look(), "stopped by its time-out")
            return original(*args, **kwargs)

        return dump_stacks

    def take_text(self) -> str | None:
        """Return what is to be said in the report of the test that runs, once."""
        text, self._text = self._text, None
        return text

    # Ctrl-C

    @contextlib.contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Look around at Ctrl-C, and then do what Python does.

        It stays *the* default handler: asyncio and trio put theirs in its place as they do without us.
        """
        default = signal.default_int_handler
        if signal.getsignal(signal.SIGINT) is not default:
            yield
            return

        @functools.wraps(default)
        def interrupted(number: int, frame: FrameType | None) -> Any:
            __tracebackhide__ = True
            self._interrupted(frame)
            return default(number, frame)

        signal.default_int_handler = interrupted
        signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            if signal.default_int_handler is interrupted:
                signal.default_int_handler = default
            if signal.getsignal(signal.SIGINT) is interrupted:
                signal.signal(signal.SIGINT, default)

    def _watch_asyncio(self) -> None:
        from ._autopsy import asyncio_interrupt

        asyncio_interrupt.tell(self._undo, self._interrupted)

    def _watch_trio(self) -> None:
        from ._autopsy import trio_interrupt

        trio_interrupt.tell(self._undo, self._interrupted)

    def _interrupted(self, frame: FrameType | None) -> None:
        if os.getpid() == self._pid and not _in_debugger(frame):
            self._write(self._look(), "stopped by Ctrl-C")

    # What is said

    def _look(self) -> str | None:
        """Return who waits for whom, None where nobody waits or no test runs."""
        if self.item is None:
            return None
        try:
            from ._show.autopsy import is_telling

            hang = self._snapshot()
            return self._text_of(hang) if is_telling(hang) else None
        except Exception as error:
            return f"Who waits for whom could not be found out: {type(error).__name__}: {error}"

    def _snapshot(self) -> Hang:
        from ._autopsy.snapshot import snapshot

        assert self.item is not None
        session = self.session_of(self.item)
        return snapshot(_code_of(self.item), session.recorder if session is not None else None)

    def _text_of(self, hang: Hang, *, proven: bool = False) -> str:
        from ._show.autopsy import autopsy_message

        assert self.item is not None
        session = self.session_of(self.item)
        trace = session.trace() if session is not None else None
        return autopsy_message(hang, self.page_of(self.item), trace, proven=proven)

    def _write(self, text: str | None, why: str) -> None:
        if text is None or self.item is None:
            return
        rule = "~" * 80
        whole = f"\n{rule}\n{self.item.nodeid} {why}: who waits for whom\n\n{text}\n{rule}\n"
        data = whole.encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            # Past Python's buffers: they may be in use by what was interrupted, and die with the process.
            os.write(self._stderr if self._stderr is not None else 2, data)


@contextlib.contextmanager
def _kept_stderr(run: HangRun) -> Iterator[None]:
    """Keep a way to the run's own error output, as pytest's faulthandler does: capturing changes what 2 means."""
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (AttributeError, ValueError, OSError):
        yield
        return
    run.set_stderr(descriptor)
    try:
        yield
    finally:
        run.set_stderr(None)
        os.close(descriptor)


def _code_of(item: pytest.Item) -> Any:
    function = getattr(item, "obj", None)
    function = getattr(function, "__func__", function)
    return getattr(function, "__code__", None)


def _in_debugger(frame: FrameType | None) -> bool:
    while frame is not None:
        if os.path.basename(frame.f_code.co_filename) in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def add_to(report: pytest.TestReport, text: str) -> None:
    """Show *text* below a failure."""
    title = "who waits for whom"
    longrepr: Any = report.longrepr
    if hasattr(longrepr, "addsection"):
        longrepr.addsection(title, text, "-")
    elif isinstance(longrepr, str):
        report.longrepr = f"{longrepr}\n\n{title}:\n\n{text}"
    else:
        report.sections.append((title, text))
