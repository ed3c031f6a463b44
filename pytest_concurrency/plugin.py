"""The hooks of the plugin: wiring only. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from . import _blocking_run, _leaks_run, _markers, _settings, _start_methods, _timing, _warning
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
_leaks_key = pytest.StashKey[_leaks_run.LeaksRun]()
_asked_key = pytest.StashKey[frozenset[str]]()

_MARKERS = _markers.NAMES | _timing.MARKERS | _blocking_run.MARKERS | _leaks_run.MARKERS | _start_methods.MARKERS
_FIXTURES = frozenset({"concurrency", "virtual_clock"})
_RECORDED = _markers.NAMES | {"concurrency", "report"}


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
    blocking.session_of = lambda item: item.stash.get(_session_key, None)
    blocking.page_of = _page
    if settings.junit:
        blocking.on_found = _note_properties
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_start_methods.Disagreements(), "pytest_concurrency_start_methods")
    for plugin, name in ((blocking.baseline, "baseline"), (blocking.rules, "rules")):
        if plugin is not None:
            config.pluginmanager.register(plugin, f"pytest_concurrency_{name}")
    leaks = config.stash[_leaks_key] = _leaks_run.LeaksRun()
    config.add_cleanup(leaks.stop)
    leaks.session_of, leaks.page_of = blocking.session_of, _page
    leaks.configure(settings.leaks, config)
    for line in (*_markers.DOCS, *_timing.DOCS, *_blocking_run.DOCS, *_leaks_run.DOCS, *_start_methods.DOCS):
        config.addinivalue_line("markers", line)


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
    asked = item.stash[_asked_key] = _asked(item)
    phase = _bare()
    if asked & _RECORDED:
        phase = _record_setup(item, phase)
    if asked & _timing.ASKED:
        phase = _timing.setup(item, phase)
    if asked & _start_methods.MARKERS:
        phase = _start_methods.setup(item, phase)
    leaks = item.config.stash[_leaks_key]
    if leaks.is_on or asked & _leaks_run.ASKED:
        phase = leaks.setup(item, asked, phase)
    return (yield from item.config.stash[_blocking_key].setup(item, asked, phase))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    asked = item.stash[_asked_key]
    phase = _bare()
    if asked & _RECORDED:
        phase = _record_call(item, phase)
    if asked & _timing.ASKED:
        phase = _timing.call(item, phase)
    if asked & _start_methods.MARKERS:
        phase = _start_methods.call(item, phase)
    leaks = item.config.stash[_leaks_key]
    if leaks.is_on or asked & _leaks_run.ASKED:
        phase = leaks.call(phase)
    return (yield from item.config.stash[_blocking_key].call(phase))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    asked = item.stash[_asked_key]
    phase = _bare()
    if asked & _RECORDED:
        phase = _record_teardown(item, phase)
    if asked & _timing.ASKED:
        phase = _timing.teardown(item, phase)
    if asked & _start_methods.MARKERS:
        phase = _start_methods.teardown(item, phase)
    leaks = item.config.stash[_leaks_key]
    if leaks.is_on or asked & _leaks_run.ASKED:
        phase = leaks.teardown(phase)
    return (yield from item.config.stash[_blocking_key].teardown(phase))


def _asked(item: pytest.Item) -> frozenset[str]:
    """Return which of our markers and fixtures a test uses, and `report` where every test is to be recorded."""
    names = {mark.name for mark in item.iter_markers()} & _MARKERS
    names.update(_FIXTURES.intersection(getattr(item, "fixturenames", ())))
    settings = item.config.stash[_settings_key]
    if settings.reports or settings.timeline:
        names.add("report")
    return frozenset(names)


def _bare() -> Phase:
    return (yield)


def _record_setup(item: pytest.Item, phase: Phase) -> Phase:
    """Record from before the fixtures on; a target is looked up after them, since one may provide its module."""
    from ._session import Session

    session = item.stash[_session_key] = Session(item.nodeid, _page(item), item.config.stash[_settings_key].blocking)
    session.find_leaks = partial(item.config.stash[_leaks_key].now, item)
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


def _record_call(item: pytest.Item, phase: Phase) -> Phase:
    session = item.stash[_session_key]
    with _ended_with_the_run(session), session.body():
        # The body's own exception, a skip and Ctrl-C pass: there is no verdict over them.
        result = yield from phase
    failed = [judged for judged in session.judge() if not judged.held]
    if failed:
        raise failed[0].error("\n\n".join(judged.message for judged in failed))
    return result


def _record_teardown(item: pytest.Item, phase: Phase) -> Phase:
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
