"""The hooks of the plugin: wiring only. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from . import _blocking_run, _hang_run, _leaks_run, _markers, _settings, _start_methods, _timing, _warning
from ._errors import ConcurrencyError, ConcurrencyWarning

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ._concurrency import Concurrency
    from ._judge.blocking import Finding
    from ._session import Session as Session

    Phase = Generator[None, Any, Any]
    """What happens around one phase of a test, in the form of pytest's wrappers."""

_settings_key = pytest.StashKey[_settings.Settings]()
_session_key = pytest.StashKey["Session"]()
_blocking_key = pytest.StashKey[_blocking_run.BlockingRun]()
_run_key = pytest.StashKey["_Run"]()
_asked_key = pytest.StashKey[frozenset[str]]()
_layers_key = pytest.StashKey[tuple["_Layer", ...]]()

_MARKERS = frozenset().union(
    *(each.MARKERS for each in (_timing, _blocking_run, _start_methods, _leaks_run)), _markers.NAMES
)
_FIXTURES = frozenset({"concurrency", "virtual_clock"})
_RECORDED = _markers.NAMES | {"concurrency", "report", "must_finish_within"}


class _Layer(Protocol):
    """What is put around the phases of a test that asks for it."""

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase: ...

    def call(self, item: pytest.Item, phase: Phase) -> Phase: ...

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase: ...


@dataclass(frozen=True, slots=True)
class _Run:
    """What is in force in this pytest run."""

    blocking: _blocking_run.BlockingRun
    hang: _hang_run.HangRun
    leaks: _leaks_run.LeaksRun
    records_all: bool
    layers: tuple[tuple[frozenset[str], _Layer], ...]
    """What is put around a test's phases, from the inside out, and the markers and fixtures that ask for it."""

    def layers_of(self, asked: frozenset[str]) -> tuple[_Layer, ...]:
        """Return what is put around the phases of a test that asks for this."""
        if not asked and not self.leaks.is_on:
            return ()
        return tuple(
            layer for names, layer in self.layers if asked & names or (layer is self.leaks and self.leaks.is_on)
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    _settings.add_options(parser)


# Before the conftest files: what they and the program import is to be seen from the start.
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    _start_blocking(early_config)


def _start_blocking(config: pytest.Config) -> _blocking_run.BlockingRun:
    if _blocking_key not in config.stash:
        run = config.stash[_blocking_key] = _blocking_run.BlockingRun()
        config.add_cleanup(run.stop)
        run.start()
    return config.stash[_blocking_key]


def pytest_configure(config: pytest.Config) -> None:
    settings = config.stash[_settings_key] = _settings.read(config)
    if settings.reports and not hasattr(config, "workerinput"):
        from ._reporting import Reporting

        config.pluginmanager.register(Reporting(settings.reports), "pytest_concurrency_reporting")
    blocking = _start_blocking(config)
    blocking.configure(settings.blocking, str(config.rootpath))
    blocking.session_of = _session_of
    blocking.clock_of = _timing.clock_of
    blocking.page_of = _page
    if settings.junit:
        blocking.on_found = _note_properties
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_start_methods.Disagreements(), "pytest_concurrency_start_methods")
    for plugin, name in ((blocking.baseline, "baseline"), (blocking.rules, "rules")):
        if plugin is not None:
            config.pluginmanager.register(plugin, f"pytest_concurrency_{name}")
    hang = _hang_run.HangRun()
    hang.session_of, hang.page_of = blocking.session_of, _page
    config.add_cleanup(hang.stop)
    hang.start()
    leaks = _leaks_run.LeaksRun()
    config.add_cleanup(leaks.stop)
    leaks.session_of, leaks.page_of = blocking.session_of, _page
    leaks.configure(settings.leaks, config)
    layers: tuple[tuple[frozenset[str], _Layer], ...] = (
        (_RECORDED, _Recording()),
        (_timing.MARKERS, _timing.Timing(_timing.Of(_session_of, _page, blocking.blocks))),
        (_start_methods.MARKERS, _start_methods),
        (_hang_run.ASKED, hang),
        (_leaks_run.ASKED, leaks),
    )
    records_all = bool(settings.reports) or settings.timeline
    config.stash[_run_key] = _Run(blocking, hang, leaks, records_all, layers)
    documented = (_markers, _timing, _blocking_run, _start_methods, _leaks_run)
    for line in (line for each in documented for line in each.DOCS):
        config.addinivalue_line("markers", line)


def _session_of(item: pytest.Item) -> Session | None:
    return item.stash.get(_session_key, None)


virtual_clock = _timing.virtual_clock
start_method = _start_methods.start_method


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    _start_methods.parametrize(metafunc)


@pytest.fixture
def concurrency(request: pytest.FixtureRequest) -> Concurrency:
    """What this test does: watch functions, mark stretches of work, ask what overlapped."""
    from ._concurrency import Concurrency

    return Concurrency(request.node.stash[_session_key])


@contextmanager
def _ended_with_the_run(session: Session) -> Iterator[None]:
    """Stop recording where the whole run ends inside: no teardown hook follows Ctrl-C."""
    try:
        yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        session.stop()
        raise


# Each phase of a test has one wrapper, since every wrapper costs every test. What a test asks for is put around the
# phase from the inside out: record it, put it on virtual time, watch its loops. First of all wrappers, so that every
# other plugin's work on the test lies inside, and a verdict comes when all are done with it.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    run = item.config.stash[_run_key]
    run.hang.item = item
    asked = item.stash[_asked_key] = _asked(item, run)
    layers = item.stash[_layers_key] = run.layers_of(asked)
    run.blocking.begin(item, asked)
    with run.blocking.around("setup"):
        if not layers:
            return (yield)
        phase = _bare()
        for layer in layers:
            phase = layer.setup(item, asked, phase)
        return (yield from phase)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    with item.config.stash[_run_key].blocking.around("call"):
        layers = item.stash[_layers_key]
        if not layers:
            return (yield)
        phase = _bare()
        for layer in layers:
            phase = layer.call(item, phase)
        return (yield from phase)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    run = item.config.stash[_run_key]
    try:
        with run.blocking.around("teardown"):
            layers = item.stash[_layers_key]
            if not layers:
                return (yield)
            phase = _bare()
            for layer in layers:
                phase = layer.teardown(item, phase)
            return (yield from phase)
    finally:
        run.hang.item = None


def _asked(item: pytest.Item, run: _Run) -> frozenset[str]:
    """Return which of our markers and fixtures a test uses, and `report` where every test is to be recorded."""
    names = {mark.name for mark in item.iter_markers() if mark.name in _MARKERS}
    names.update(_FIXTURES.intersection(getattr(item, "fixturenames", ())))
    if run.records_all:
        names.add("report")
    return frozenset(names)


def _bare() -> Phase:
    return (yield)


class _Recording:
    """What is put around the phases of a test that is recorded."""

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
        """Record from before the fixtures on; a target is looked up after them, since one may provide its module."""
        from ._session import Session

        session = item.stash[_session_key] = Session(
            item.nodeid, _page(item), item.config.stash[_settings_key].blocking
        )
        session.find_leaks = partial(item.config.stash[_run_key].leaks.now, item)
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
        session = item.stash[_session_key]
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
            item.stash[_session_key].stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.stash[_asked_key] & _start_methods.MARKERS:
        _start_methods.attach(item, report)
    if call.excinfo is not None:
        text = item.config.stash[_run_key].hang.take_text()
        if text is not None:
            _hang_run.add_to(report, text)
    if call.excinfo is None and not item.stash[_asked_key] & _RECORDED:
        return report
    if call.excinfo is not None and isinstance(call.excinfo.value, (ConcurrencyError, ConcurrencyWarning)):
        _show_as_text(report, call.excinfo)
    session = item.stash.get(_session_key, None)
    if session is not None and call.when in ("call", "teardown"):
        _attach(item, call, session, report)
    return report


def _attach(item: pytest.Item, call: pytest.CallInfo[None], session: Session, report: pytest.TestReport) -> None:
    settings = item.config.stash[_settings_key]
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


def _note_properties(item: pytest.Item, found: tuple[Finding, ...]) -> None:
    from ._show.junit import of_blocks

    item.user_properties.extend(of_blocks(found, _page(item)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_run_key].hang.finish(int(exitstatus))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[_blocking_key].baseline is None and terminalreporter.stats.get("warnings"):
        from ._blocking_baseline import hint

        hint(terminalreporter)
    if config.stash[_settings_key].timeline and not config.getoption("no_summary"):
        from ._reporting import write_timelines

        write_timelines(terminalreporter)


def _show_as_text(report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Show a verdict that this plugin raised, and not the test, as its message alone."""
    raised_here = str(excinfo.traceback[-1].path) in (
        __file__,
        _timing.__file__,
        _hang_run.__file__,
        _blocking_run.__file__,
        _leaks_run.__file__,
        _warning.__file__,
    )
    if not raised_here or report.outcome != "failed":
        return
    shown: Any = excinfo.getrepr(style="value")
    # The short summary shows one line: the verdict's numbers, without the exception's name.
    shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
    report.longrepr = shown


def _page(item: pytest.Item) -> Any:
    from ._show.messages import Page
    from ._show.timeline import ASCII, UNICODE

    reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
    width, style = 80, ASCII
    if reporter is not None:
        width = max(60, min(reporter._tw.fullwidth, 120))
        encoding = getattr(reporter._tw._file, "encoding", None) or "ascii"
        try:
            "".join((UNICODE.running, UNICODE.waiting, UNICODE.blocked, UNICODE.held)).encode(encoding)
            style = UNICODE
        except (LookupError, UnicodeEncodeError):
            pass
    return Page(str(item.config.rootpath), width, style)
