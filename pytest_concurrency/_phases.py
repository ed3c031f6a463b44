"""What is put around the phases of each test: there from when a test asks for something, or a loop may run."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

# The trace is loaded here, before any loop of the test runs, since what is found in one is written in its terms.
from . import _markers, _trace  # noqa: F401
from ._errors import ConcurrencyError, ConcurrencyWarning
from ._hang_run import ASKED, add_to
from ._item import asked_by, page_of, session_key, session_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

    from ._blocking_run import BlockingRun
    from ._hang_run import HangRun
    from ._leaks_run import LeaksRun
    from ._session import Session
    from ._settings import Settings

    Phase = Generator[None, Any, Any]
    """What happens around one phase of a test, in the form of pytest's wrappers."""

_asked_key = pytest.StashKey[frozenset[str]]()
_layers_key = pytest.StashKey[tuple["Layer", ...]]()

_RECORDED = _markers.OVERLAP | {"concurrency", "report", "must_finish_within"}
# What is put around a test's phases, from the inside out, and the markers and fixtures that ask for it.
_LAYERS = (
    ("recording", _RECORDED),
    ("timing", _markers.TIMING),
    ("start_methods", _markers.START_METHODS),
    ("hang", ASKED),
    ("leaks", _markers.LEAKS | {"concurrency"}),
)
_VERDICTS = frozenset(
    os.path.join(os.path.dirname(__file__), f"{name}.py")
    for name in ("_phases", "_timing", "_hang_run", "_blocking_run", "_leaks_run", "_warning")
)
"""The files that raise what is to be shown as its message alone."""
_WRAPPERS = _VERDICTS | {os.path.join(os.path.dirname(__file__), "_start_methods.py")}
"""The files of what is around a phase: whatever is raised inside passes through."""
_NOTHING: frozenset[str] = frozenset()


class Layer(Protocol):
    """What is put around the phases of a test that asks for it."""

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase: ...

    def call(self, item: pytest.Item, phase: Phase) -> Phase: ...

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase: ...


class Phases:
    """Wraps each phase of each test. What a test asks for is loaded when the first one does."""

    def __init__(self, config: pytest.Config, settings: Settings, blocking: BlockingRun, hang: HangRun) -> None:
        self._config = config
        self._settings = settings
        self._blocking = blocking
        self._hang = hang
        self._watches_leaks = settings.leaks.mode != "off"
        self._late: pytest.Item | None = None
        self._layers: dict[str, Layer] = {"recording": _Recording(self), "hang": hang}

    def begin_late(self, item: pytest.Item) -> None:
        """Watch the loops of a test that has begun before anybody knew that it would have one.

        The phase that it is in has no wrapper of ours: its report has to do.
        """
        self._late = item
        self._blocking.begin(item, _NOTHING)

    @cached_property
    def leaks(self) -> LeaksRun:
        """What watches over what tests leave behind.

        Raises:
            pytest.UsageError: A line of `concurrency_allow_leaks` is malformed.
        """
        from ._leaks_run import LeaksRun

        leaks = LeaksRun()
        self._config.add_cleanup(leaks.stop)
        leaks.session_of, leaks.page_of = session_of, page_of
        leaks.configure(self._settings.leaks, self._config)
        return leaks

    def _layers_of(self, asked: frozenset[str]) -> tuple[Layer, ...]:
        if not asked and not self._watches_leaks:
            return ()
        return tuple(
            self._layer(name) for name, names in _LAYERS if asked & names or (name == "leaks" and self._watches_leaks)
        )

    def _layer(self, name: str) -> Layer:
        if name not in self._layers:
            self._layers[name] = self._load(name)
        return self._layers[name]

    def _load(self, name: str) -> Layer:
        if name == "leaks":
            return self.leaks
        from . import _start_methods, _timing

        if name == "timing":
            return _timing.Timing(_timing.Of(session_of, page_of, self._blocking.blocks))
        return _start_methods

    # Each phase of a test has one wrapper, since every wrapper costs every test. First of all wrappers, so that every
    # other plugin's work on the test lies inside, and a verdict comes when all are done with it.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        asked = asked_by(item)
        if self._settings.records_all:
            asked |= {"report"}
        item.stash[_asked_key] = asked
        layers = item.stash[_layers_key] = self._layers_of(asked)
        self._blocking.begin(item, asked)
        with self._blocking.around("setup"):
            if not layers:
                return (yield)
            phase = _bare()
            for layer in layers:
                phase = layer.setup(item, asked, phase)
            return (yield from phase)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        with self._blocking.around("call"):
            layers = item.stash.get(_layers_key, ())
            if not layers:
                return (yield)
            phase = _bare()
            for layer in layers:
                phase = layer.call(item, phase)
            return (yield from phase)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        try:
            with self._blocking.around("teardown"):
                layers = item.stash.get(_layers_key, ())
                if not layers:
                    return (yield)
                phase = _bare()
                for layer in layers:
                    phase = layer.teardown(item, phase)
                return (yield from phase)
        finally:
            self._hang.item = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        if call.excinfo is not None:
            _step_aside(call.excinfo.tb)
        report = yield
        if self._late is not None:
            late, self._late = self._late, None
            if late is item and not self._ends_well(call):
                report = pytest.TestReport.from_item_and_call(item, call)
        asked = item.stash.get(_asked_key, _NOTHING)
        if call.excinfo is None and not asked:
            return report
        if asked & _markers.START_METHODS:
            from . import _start_methods

            _start_methods.attach(item, report)
        if call.excinfo is not None:
            text = self._hang.take_text()
            if text is not None:
                add_to(report, text)
        if call.excinfo is not None and isinstance(call.excinfo.value, (ConcurrencyError, ConcurrencyWarning)):
            _show_as_text(report, call.excinfo)
        session = session_of(item)
        if session is not None and call.when in ("call", "teardown"):
            self._attach(item, call, session, report)
        return report

    def _ends_well(self, call: pytest.CallInfo[None]) -> bool:
        """Say what was found in a phase that is over; tell whether it is to end as it did."""
        assert call.when in ("setup", "call", "teardown")
        try:
            self._blocking.end_phase(call.when, call.excinfo.value if call.excinfo is not None else None)
        except Exception:
            call.excinfo = pytest.ExceptionInfo.from_current()
            return False
        return True

    def _attach(
        self, item: pytest.Item, call: pytest.CallInfo[None], session: Session, report: pytest.TestReport
    ) -> None:
        settings = self._settings
        from . import _reporting

        error = call.excinfo.value if call.excinfo is not None else None
        if call.when == "call":
            _reporting.note_verdicts(session, item.stash[_asked_key], error)
            if settings.timeline:
                _reporting.attach_timeline(report, session)
        elif settings.reports or settings.junit or settings.html:
            if "must_not_leak" in item.stash[_asked_key]:
                _reporting.note_late_leak(session, error)
            _reporting.attach(report, session, settings, str(item.config.rootpath))

    def recording_of(self, item: pytest.Item) -> Session:
        """Return a new recording of a test."""
        from ._session import Session

        session = item.stash[session_key] = Session(item.nodeid, page_of(item), self._settings.blocking)
        session.find_leaks = partial(self.leaks.now, item)
        return session


class _Recording:
    """What is put around the phases of a test that is recorded."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
        """Record from before the fixtures on; a target is looked up after them, since one may provide its module."""
        session = self._phases.recording_of(item)
        session.start()
        with _ended_with_the_run(session):
            result = yield from phase
        try:
            session.expect(_markers.expectations(item.iter_markers()))
        except ValueError as error:
            problem = str(error)
        else:
            return result
        # Outside the handler: the reader is not to see two tracebacks of one mistake.
        pytest.fail(problem, pytrace=False)

    def call(self, item: pytest.Item, phase: Phase) -> Phase:
        """Judge what the body did."""
        session = item.stash[session_key]
        with _ended_with_the_run(session), session.body():
            # The body's own exception, a skip and Ctrl-C pass: there is no verdict over them.
            result = yield from phase
        failed = [judged for judged in session.judge() if not judged.held]
        if failed:
            raise failed[0].error("\n\n".join(judged.message for judged in failed))
        return result

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase:
        """Record no more."""
        try:
            return (yield from phase)
        finally:
            item.stash[session_key].stop()


def _bare() -> Phase:
    return (yield)


@contextmanager
def _ended_with_the_run(session: Session) -> Iterator[None]:
    """Stop recording where the whole run ends inside: no teardown hook follows Ctrl-C."""
    try:
        yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        session.stop()
        raise


def _step_aside(traceback: TracebackType) -> None:
    """Take the wrappers out of *traceback*, which have only passed on what was raised further in.

    Where no line of it is the user's, as with a fixture that pytest refuses, pytest shows all there is, and must not
    find a part that looks like the culprit.
    """
    last = traceback
    while (entry := last.tb_next) is not None:
        if entry.tb_next is not None and entry.tb_frame.f_code.co_filename in _WRAPPERS:
            last.tb_next = entry.tb_next
        else:
            last = entry


def _show_as_text(report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Show a verdict that this plugin raised, and not the test, as its message alone."""
    if str(excinfo.traceback[-1].path) not in _VERDICTS or report.outcome != "failed":
        return
    shown: Any = excinfo.getrepr(style="value")
    # The short summary shows one line: the verdict's numbers, without the exception's name.
    shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
    report.longrepr = shown
