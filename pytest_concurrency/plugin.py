"""The hooks of the plugin: wiring only. Nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import _blocking_run, _hang_run, _markers, _settings
from ._item import asked_by, page_of, session_key, session_of

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

    from ._concurrency import Concurrency
    from ._judge.blocking import Finding
    from ._phases import Phases
    from ._virtual_time import VirtualClock

_settings_key = pytest.StashKey[_settings.Settings]()
_blocking_key = pytest.StashKey[_blocking_run.BlockingRun]()
_run_key = pytest.StashKey["_Run"]()


class _Run:
    """What is in force in this pytest run."""

    def __init__(self, config: pytest.Config, settings: _settings.Settings) -> None:
        self._config = config
        self._settings = settings
        self._phases: Phases | None = None
        self.blocking = _start_blocking(config)
        self.hang = _hang_run.HangRun()
        self.hang.beside = self.blocking.beside

    def wrap_phases(self) -> Phases:
        """Put what is to be done for each test around its phases from now on. Not every suite needs that."""
        if self._phases is None:
            from ._phases import Phases

            self._phases = Phases(self._config, self._settings, self.blocking, self.hang)
            self._config.pluginmanager.register(self._phases, "pytest_concurrency_phases")
            if self.hang.item is not None:
                self._phases.begin_late(self.hang.item)
        return self._phases


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
    run = config.stash[_run_key] = _Run(config, settings)
    blocking, hang = run.blocking, run.hang
    blocking.configure(settings.blocking, str(config.rootpath))
    blocking.session_of, blocking.clock_of, blocking.page_of = session_of, _clock_of, page_of
    if settings.junit:
        blocking.on_found = _note_properties
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        from . import _start_methods

        # The tests, and with them their markers, are known to xdist's workers only.
        _start_methods.compare(config)
    for plugin, name in ((blocking.baseline, "baseline"), (blocking.rules, "rules")):
        if plugin is not None:
            config.pluginmanager.register(plugin, f"pytest_concurrency_{name}")
    hang.session_of, hang.page_of, hang.on_text = session_of, page_of, run.wrap_phases
    config.add_cleanup(hang.stop)
    hang.start()
    blocking.on_loop = run.wrap_phases
    if settings.watches_all:
        run.wrap_phases()
    if settings.leaks != _settings.Leaks():
        # It watches from now on, or complains of its settings.
        run.wrap_phases().leaks  # noqa: B018
    for line in _markers.DOCS:
        config.addinivalue_line("markers", line)


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(asked_by(item) for item in session.items):
        session.config.stash[_run_key].wrap_phases()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.config.stash[_run_key].hang.item = item


def _clock_of(item: pytest.Item) -> tuple[float, bool] | None:
    from ._timing import clock_of

    return clock_of(item)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if _markers.used(metafunc.definition, _markers.START_METHODS):
        from . import _start_methods

        _start_methods.parametrize(metafunc)
        if not hasattr(metafunc.config, "workerinput"):
            _start_methods.compare(metafunc.config)


@pytest.fixture
def concurrency(request: pytest.FixtureRequest) -> Concurrency:
    """What this test does: watch functions, mark stretches of work, ask what overlapped."""
    from ._concurrency import Concurrency

    return Concurrency(request.node.stash[session_key])


@pytest.fixture
def virtual_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The clock on which this test's event loops run: `now`, `elapsed` (seconds) and `advance(seconds)`."""
    from ._timing import clock_in

    return clock_in(request.node)


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> BaseContext:
    """The context of the start method that this test runs under: `start_method.Process(...)`, `.get_start_method()`.

    Without the marker `start_methods` it is the context of the start method that the program has anyway.
    """
    from ._start_methods import context_of

    return context_of(request)


def _note_properties(item: pytest.Item, found: tuple[Finding, ...]) -> None:
    from ._show.junit import of_blocks

    item.user_properties.extend(of_blocks(found, page_of(item)))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_run_key].hang.finish(int(exitstatus))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[_blocking_key].baseline is None and terminalreporter.stats.get("warnings"):
        from ._blocking_baseline import hint

        hint(terminalreporter)
    if config.stash[_settings_key].timeline and not config.getoption("no_summary"):
        from ._reporting import write_timelines

        write_timelines(terminalreporter)
