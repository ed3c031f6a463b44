"""The hooks behind `start_methods`: wiring only. `multiprocessing` is imported when a test asks for it."""

from __future__ import annotations

import textwrap
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ._markers import parsed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from multiprocessing.context import BaseContext

    from ._inheritance.facts import Facts
    from ._inheritance.record import Handovers as Handovers

    Phase = Generator[None, Any, Any]

_COMPARER = "pytest_concurrency_start_methods"
NAME = "start_method"
METHODS = ("fork", "spawn", "forkserver")
TITLE = "start method"
ENTRY = "_pytest_concurrency_start_method"
"""The attribute of a report that carries what is told of its test, as built-in types, to the controller."""

_undo_key = pytest.StashKey[ExitStack]()
_handovers_key = pytest.StashKey["Handovers"]()
_facts_key = pytest.StashKey[tuple["Facts | None", str]]()


def context_of(request: pytest.FixtureRequest) -> BaseContext:
    """Return the context of the start method that a test runs under; without the marker, the one of the program."""
    import multiprocessing

    # Not `get_start_method()`, which would settle the default for good where nobody has chosen one.
    default = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    context: BaseContext = multiprocessing.get_context(getattr(request, "param", default))
    return context


def _start_methods(*names: str) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"expected names such as 'spawn', not {name!r}")
        if name not in METHODS:
            raise ValueError(f"{name!r} is not a start method: expected some of {', '.join(METHODS)}")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice")
    return names


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one test of each start method that the nearest marker names.

    A malformed marker is left for the set-up of its test to tell of: it is not the whole module's affair.
    """
    mark = metafunc.definition.get_closest_marker("start_methods")
    if mark is None:
        return
    try:
        names = parsed(mark, _start_methods)
    except ValueError:
        return
    import multiprocessing

    there = multiprocessing.get_all_start_methods()
    params = []
    for name in names or [name for name in METHODS if name in there]:
        reason = f"there is no start method {name!r} on this system, which has {', '.join(there)}"
        marks = () if name in there else pytest.mark.skip(reason=reason)
        params.append(pytest.param(name, id=name, marks=marks))
    if NAME not in metafunc.fixturenames:
        metafunc.fixturenames.append(NAME)
    metafunc.parametrize(NAME, params, indirect=True)


def _method(item: pytest.Item) -> str | None:
    method = getattr(getattr(item, "callspec", None), "params", {}).get(NAME)
    return method if isinstance(method, str) else None


def _problem(item: pytest.Item) -> str | None:
    mark = item.get_closest_marker("start_methods")
    assert mark is not None
    try:
        parsed(mark, _start_methods)
    except ValueError as error:
        return str(error)
    if _method(item) is None:
        return (
            "@pytest.mark.start_methods: this test cannot be run once per start method, since pytest does not"
            " parametrize it, as those of a unittest.TestCase; write a function, or a class of your own"
        )
    return None


def _begin(item: pytest.Item) -> None:
    """Make the start method of *item* the default of the program, and look at what the test hands over."""
    import multiprocessing

    from ._inheritance import record

    method = _method(item)
    assert method is not None
    with ExitStack() as undo:
        undo.callback(multiprocessing.set_start_method, multiprocessing.get_start_method(allow_none=True), force=True)
        multiprocessing.set_start_method(method, force=True)
        handovers = item.stash[_handovers_key] = record.Handovers(method)
        undo.enter_context(handovers.record())
        item.stash[_undo_key] = undo.pop_all()


def _give_back(item: pytest.Item) -> None:
    if _undo_key in item.stash:
        item.stash[_undo_key].close()
        del item.stash[_undo_key]


@contextmanager
def _told(item: pytest.Item) -> Iterator[None]:
    """Ask what the children lack where the test fails inside; give back where the run ends: no teardown follows it."""
    try:
        yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        _give_back(item)
        raise
    except (pytest.skip.Exception, pytest.xfail.Exception):
        raise
    except BaseException as error:
        # While fixtures are in place: what they have changed is what a child does not have.
        if _handovers_key in item.stash:
            try:
                item.stash[_facts_key] = item.stash[_handovers_key].facts(), _as_text(error)
            except Exception:
                # The test has failed by itself, and that is what counts.
                item.stash.setdefault(_facts_key, (None, ""))
        raise


def _as_text(error: BaseException) -> str:
    # Without the lines of code, whose text may look like an error's.
    texts: list[str] = []
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < 50:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        texts.append("".join(traceback.format_exception_only(each)))
        waiting += [inner for inner in (each.__cause__, each.__context__) if inner is not None]
        waiting += getattr(each, "exceptions", ())
    return "\n".join(texts)


def setup(item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
    """Set the default before a test's fixtures start any process."""
    problem = _problem(item)
    if problem is None:
        _begin(item)
    with _told(item):
        result = yield from phase
    if problem is not None:
        # Only now: pytest's own plugins tear down what they have not set up.
        pytest.fail(problem, pytrace=False)
    return result


def call(item: pytest.Item, phase: Phase) -> Phase:
    """Look closer where the test fails."""
    with _told(item):
        return (yield from phase)


def teardown(item: pytest.Item, phase: Phase) -> Phase:
    """Give the default back."""
    try:
        return (yield from phase)
    finally:
        _give_back(item)


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put on the report of one test how it went under its start method, and why, where that is known."""
    method = _method(item)
    if method is None or (report.when == "setup" and not report.failed) or report.when == "teardown":
        return
    said: list[str] = []
    if report.failed:
        from ._inheritance.judge import findings

        facts, error = item.stash.get(_facts_key, (None, ""))
        if facts is not None:
            said = findings(facts, error, report.capstderr)
    test = _without(item.nodeid, method)
    setattr(report, ENTRY, {"test": test, "method": method, "said": said})
    if said:
        report.sections.append((f"{TITLE} {method}", _wrapped(said)))


def _without(nodeid: str, method: str) -> str:
    """Return the name of a test without its start method: `test_it[fork-1]` is `test_it[*-1]`."""
    base, bracket, ids = nodeid.rpartition("[")
    words = ids.removesuffix("]").split("-")
    if words == [method]:
        return base
    if method in words:
        words[words.index(method)] = "*"
    return f"{base}{bracket}{'-'.join(words)}]"


def _wrapped(said: list[str]) -> str:
    return "\n".join(textwrap.fill(each, 80, break_long_words=False, break_on_hyphens=False) for each in said)


def compare(config: pytest.Config) -> None:
    """Compare how each test goes under its start methods, from now on."""
    if not config.pluginmanager.has_plugin(_COMPARER):
        config.pluginmanager.register(Disagreements(), _COMPARER)


class Disagreements:
    """Compares how each test went under its start methods, where all workers report."""

    def __init__(self) -> None:
        self._reports: dict[str, dict[str, pytest.TestReport]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = getattr(report, ENTRY, None)
        if entry is not None and report.outcome in ("passed", "failed"):
            self._reports.setdefault(entry["test"], {})[entry["method"]] = report

    def _lines(self) -> Iterator[tuple[str, str, dict[str, pytest.TestReport]]]:
        from ._inheritance.judge import outcome_line

        for test, reports in self._reports.items():
            ordered = {method: reports[method] for method in METHODS if method in reports}
            line = outcome_line({method: str(report.outcome) for method, report in ordered.items()})
            if line is not None:
                yield test, line, ordered

    # Before the failures are shown.
    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        for _, line, reports in self._lines():
            for method, report in reports.items():
                if report.failed:
                    title = f"{TITLE} {method}"
                    said = [text for name, text in report.sections if name == title]
                    report.sections = [section for section in report.sections if section[0] != title]
                    report.sections.append((title, "\n".join([f"This test {line}.", *said])))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        lines = list(self._lines())
        if not lines or config.getoption("no_summary"):
            return
        terminalreporter.section("start methods")
        for test, line, reports in lines:
            terminalreporter.write_line(f"{test}: {line}")
            said = dict.fromkeys(text for report in reports.values() for text in getattr(report, ENTRY)["said"])
            for text in said:
                terminalreporter.write_line(textwrap.indent(_wrapped([text]), "  "))
