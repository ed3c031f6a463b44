"""The hooks of the plugin: wiring only. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from . import _blocking_run, _markers, _settings, _timing, _warning
from ._errors import ConcurrencyError, ConcurrencyWarning

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from ._concurrency import Concurrency
    from ._session import Session as Session

_settings_key = pytest.StashKey[_settings.Settings]()
_session_key = pytest.StashKey["Session"]()
_blocking_key = pytest.StashKey[_blocking_run.BlockingRun]()


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
    config.pluginmanager.register(_timing, "pytest_concurrency_timing")
    blocking = _start_blocking(config)
    blocking.configure(settings.blocking, str(config.rootpath))
    blocking.session_of = lambda item: item.stash.get(_session_key, None)
    blocking.is_recorded, blocking.page_of = _is_recorded, _page
    config.pluginmanager.register(blocking, "pytest_concurrency_blocking")
    if blocking.baseline is not None:
        config.pluginmanager.register(blocking.baseline, "pytest_concurrency_baseline")
    for line in (*_markers.DOCS, *_timing.DOCS, *_blocking_run.DOCS):
        config.addinivalue_line("markers", line)


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


def _is_recorded(item: pytest.Item) -> bool:
    if "concurrency" in getattr(item, "fixturenames", ()):
        return True
    settings = item.config.stash[_settings_key]
    return (
        bool(settings.reports) or settings.timeline or any(mark.name in _markers.NAMES for mark in item.iter_markers())
    )


# First, so that fixtures are recorded; a target is looked up after them, since a fixture may provide its module.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    if not _is_recorded(item):
        return (yield)
    from ._session import Session

    session = item.stash[_session_key] = Session(item.nodeid, _page(item), item.config.stash[_settings_key].blocking)
    session.start()
    with _ended_with_the_run(session):
        result = yield
    try:
        session.expect(_markers.expectations(item.iter_markers()))
    except ValueError as error:
        problem = str(error)
    else:
        return result
    # Outside the handler: the reader is not to see two tracebacks of one mistake.
    pytest.fail(problem, pytrace=False)


# First, so that the verdict comes when all others are done with the body.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    session = item.stash.get(_session_key, None)
    if session is None:
        return (yield)
    with _ended_with_the_run(session), session.body():
        # The body's own exception, a skip and Ctrl-C pass: there is no verdict over them.
        result = yield
    failed = [judged for judged in session.judge() if not judged.held]
    if failed:
        raise failed[0].error("\n\n".join(judged.message for judged in failed))
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    try:
        return (yield)
    finally:
        session = item.stash.get(_session_key, None)
        if session is not None:
            session.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, (ConcurrencyError, ConcurrencyWarning)):
        _show_as_text(report, call.excinfo)
    session = item.stash.get(_session_key, None)
    if session is not None and call.when == "call" and item.config.stash[_settings_key].timeline:
        from ._reporting import attach_timeline

        attach_timeline(report, session)
    if session is not None and call.when == "teardown" and item.config.stash[_settings_key].reports:
        from ._reporting import attach

        attach(report, session, str(item.config.rootpath))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[_settings_key].timeline and not config.getoption("no_summary"):
        from ._reporting import write_timelines

        write_timelines(terminalreporter)


def _show_as_text(report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Show a verdict that this plugin raised, and not the test, as its message alone."""
    raised_here = str(excinfo.traceback[-1].path) in (
        __file__,
        _timing.__file__,
        _blocking_run.__file__,
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
