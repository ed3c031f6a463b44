"""Leaks over a run: who answers for what, when each test and fixture is asked, and what is said then."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ._errors import ConcurrencyWarning, LeakError, LeakWarning
from ._markers import LEAKS, parsed, written
from ._settings import Leaks
from ._warning import issue

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ._judge.leaks import Finding, Rule
    from ._leaks.owner import Owner
    from ._leaks.source import Left
    from ._leaks.watch import Watch
    from ._session import Session
    from ._show.messages import Page
    from ._trace import Leak

    Phase = Generator[None, Any, Any]

# Their fixtures carry the loop and end nothing else that a test starts.
_RUNNERS = ("_pytest.", "pytest_asyncio.", "anyio.pytest_plugin", "pytest_trio.", "pytest_concurrency.", "xdist.")


@dataclass(slots=True, eq=False)
class _Test:
    """What is known of one test."""

    item: pytest.Item
    owner: Owner
    mode: str
    rules: tuple[Rule, ...] = ()
    exempt: bool = False
    marker: str | None = None
    """`must_not_leak` as it was written, where the test has it."""
    own: set[Owner] = field(default_factory=set)
    """The test itself, and its fixtures that end with it."""
    ended: set[Owner] = field(default_factory=set)
    """Fixtures of a wider scope that ended after it."""
    passed: bool = False
    told_problem: bool = False


class LeaksRun:
    """Watches over one pytest run, or only over the tests that ask for it. It is a plugin for what fixtures tell."""

    def __init__(self) -> None:
        self._settings = Leaks()
        self._rules: tuple[Rule, ...] = ()
        self._root = ""
        self._watch: Watch | None = None
        self._test: _Test | None = None
        self._fixtures: dict[pytest.FixtureDef[Any], Owner] = {}
        self._ends_something: set[Owner] = set()
        self._problem: str | None = None
        self._problem_told = False
        self.session_of: Callable[[pytest.Item], Session | None] = lambda item: None
        self.page_of: Callable[[pytest.Item], Page] | None = None

    @property
    def is_on(self) -> bool:
        """Whether every test is watched."""
        return self._settings.mode != "off"

    def configure(self, settings: Leaks, config: pytest.Config) -> None:
        """Take the settings of the run, and begin to watch where they say so.

        Raises:
            pytest.UsageError: A line of `concurrency_allow_leaks` is malformed.
        """
        self._settings, self._root = settings, str(config.rootpath)
        if settings.allow:
            from ._judge.leaks import parse_rule

            try:
                self._rules = tuple(parse_rule(text) for text in settings.allow)
            except ValueError as error:
                raise pytest.UsageError(f"concurrency_allow_leaks: {error}") from None
        if self.is_on:
            self._start(config)

    def _start(self, config: pytest.Config) -> None:
        from ._leaks.watch import Watch

        self._watch = Watch(self._failed)
        self._watch.install()
        if not config.pluginmanager.is_registered(self):
            config.pluginmanager.register(self, "pytest_concurrency_leaks")

    def stop(self) -> None:
        """Undo all that was put in place."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None

    def _failed(self, text: str) -> None:
        self._problem = text

    # Fixtures

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, Any, Any]:
        if self._watch is None or self._test is None:
            return (yield)
        from ._leaks.owner import Owner, current

        scope = fixturedef.scope
        wide = f"{scope} " if scope != "function" else ""
        mine = Owner(f"{wide}fixture {fixturedef.argname!r}")
        self._fixtures[fixturedef] = mine
        if scope == "function":
            self._test.own.add(mine)
        if _ends_something(fixturedef):
            self._ends_something.add(mine)
        before = current.get()
        current.set(mine)
        try:
            return (yield)
        finally:
            current.set(before)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        owner = self._fixtures.pop(fixturedef, None)
        if owner is not None and self._test is not None and owner not in self._test.own:
            self._test.ended.add(owner)

    # Around the phases of a test

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
        """Watch a test from its fixtures on."""
        problem = self._begin(item, asked)
        result = yield from phase
        if problem is not None:
            pytest.fail(problem, pytrace=False)
        return result

    def call(self, item: pytest.Item, phase: Phase) -> Phase:
        """Say what the body has left behind, where no fixture can be about to end it."""
        __tracebackhide__ = True
        test = self._test
        if test is not None:
            _tell_test_case(test)
        result = yield from phase
        if test is not None:
            test.passed = True
            # Which fixture ends what is not to be known: what is there after them, none did.
            final = self._ends_something.isdisjoint(test.own)
            self._say(test, {test.owner}, self._asked(test, {test.owner}, now=final))
        return result

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase:
        """Say what is there after the fixtures have ended."""
        __tracebackhide__ = True
        try:
            result = yield from phase
            test = self._test
            if test is not None:
                owners = test.ended | (test.own if test.passed else set())
                self._say(test, owners, self._asked(test, owners, now=True))
            return result
        finally:
            self._end()

    def _begin(self, item: pytest.Item, asked: frozenset[str]) -> str | None:
        """Begin with a test; return what is wrong with its marker, None if nothing is."""
        from ._leaks.owner import Owner, current

        problem = None
        test = _Test(item, Owner(), self._settings.mode, self._rules)
        if asked & LEAKS:
            try:
                _apply_marker(test)
            except ValueError as error:
                problem = str(error)
        if self._watch is None:
            self._start(item.config)
        test.own.add(test.owner)
        self._test = test
        current.set(test.owner)
        return problem

    def _end(self) -> None:
        from ._leaks.owner import current

        test, self._test = self._test, None
        current.set(None)
        if test is not None and self._watch is not None:
            self._watch.forget(test.own | test.ended)
            self._ends_something -= test.own | test.ended
        if not self.is_on:
            self.stop()
            self._fixtures.clear()

    # What is left

    def _asked(self, test: _Test, owners: set[Owner], *, now: bool) -> list[Leak]:
        """Return what these owners have left behind for good, and what is there now if that is final."""
        watch = self._watch
        if watch is None:
            return []
        watch.collect()
        found = watch.take(owners)
        if now:
            for left in watch.left(owners, lambda leak: self._counts(test, leak)):
                if self._goes_on(test, left):
                    continue
                if watch.tasks is not None and left.leak.kind == "task":
                    watch.tasks.tell(left.key)
                found.append(left.leak)
            watch.forget(owners)
        session = self.session_of(test.item)
        if session is not None:
            session.leaks += [leak for leak in found if self._counts(test, leak)]
        return found

    def _goes_on(self, test: _Test, left: Left) -> bool:
        """Tell whether a fixture that lives on holds what the test started: it is asked for when that ends."""
        if left.owner not in test.own or self._watch is None or left.key is None:
            return False
        from ._leaks.reach import reaches

        for fixture, owner in self._fixtures.items():
            result = fixture.cached_result
            lives_on = owner not in test.own and owner in self._ends_something
            if lives_on and result is not None and reaches([result[0]], left.key):
                self._watch.move(left.key, owner)
                return True
        return False

    def _counts(self, test: _Test, leak: Leak) -> bool:
        from ._judge.leaks import counts

        return counts(leak, test.rules, self._root)

    def now(self, item: pytest.Item) -> tuple[Leak, ...]:
        """Return what a test would leave behind if it ended here."""
        session = self.session_of(item)
        found = list(session.leaks) if session is not None else []
        test, watch = self._test, self._watch
        if watch is not None and test is not None and test.item is item:
            watch.collect()
            seen = watch.take(test.own)
            for leak in seen:
                watch.add(test.owner, leak)
            left = watch.left(test.own, lambda leak: self._counts(test, leak))
            found += [leak for leak in (*seen, *(each.leak for each in left)) if self._counts(test, leak)]
        return tuple(found)

    # What is said

    def _say(self, test: _Test, owners: set[Owner], leaks: Sequence[Leak]) -> None:
        __tracebackhide__ = True
        self._say_what_failed(test)
        if self._watch is not None and self._watch.orphans:
            orphans, self._watch.orphans = self._watch.orphans, []
            self._warn_of(test, orphans)
        if test.exempt:
            # Its fixtures of a wider scope are other tests', too.
            leaks = [leak for leak in leaks if leak.fixture and not leak.fixture.startswith("fixture ")]
        if test.mode == "warn":
            self._warn_of(test, leaks)
        elif test.mode == "fail":
            found = self._findings(test, leaks)
            if found:
                from ._show.leaks import failure_text

                raise LeakError(failure_text(found, self._page(test)))

    def _say_what_failed(self, test: _Test) -> None:
        __tracebackhide__ = True
        if self._problem is None:
            return
        if test.marker is not None and not test.told_problem:
            test.told_problem = True
            raise LeakError(f"{test.marker}: nothing was watched, since {self._problem}")
        if not self._problem_told and test.marker is None:
            self._problem_told = True
            from ._trace import Place

            issue(ConcurrencyWarning(self._problem), Place(str(test.item.path), 1, test.item.name), test.item)

    def _warn_of(self, test: _Test, leaks: Sequence[Leak]) -> None:
        from ._show.leaks import warning_text
        from ._trace import Place

        for finding in self._findings(test, leaks):
            text = warning_text(finding, self._page(test))
            place = finding.leak.place or Place(str(test.item.path), 1, test.item.name)
            issue(LeakWarning(text), place, test.item)

    def _findings(self, test: _Test, leaks: Sequence[Leak]) -> tuple[Finding, ...]:
        if not leaks:
            return ()
        from ._judge.leaks import findings

        return findings(leaks, test.rules, self._root)

    def _page(self, test: _Test) -> Page:
        if self.page_of is not None:
            return self.page_of(test.item)
        from ._show.messages import Page

        return Page(self._root)


def _tell_test_case(test: _Test) -> None:
    """Say who it is in the context in which `IsolatedAsyncioTestCase` runs a test: a copy, as old as the collection."""
    context = getattr(getattr(test.item, "instance", None), "_asyncioTestContext", None)
    if context is not None:
        from ._leaks.owner import current

        context.run(current.set, test.owner)


def _ends_something(fixturedef: pytest.FixtureDef[Any]) -> bool:
    """Tell whether a fixture has an end of its own, in which it may end what the test has started."""
    function: Any = inspect.unwrap(fixturedef.func)
    module = getattr(function, "__module__", None) or ""
    # pytest's own fixtures that carry a user's `teardown_method` and the like have names of their own.
    if module.startswith(_RUNNERS) and "xunit" not in fixturedef.argname and "unittest" not in fixturedef.argname:
        return False
    return (
        inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
        or not {"request", "event_loop"}.isdisjoint(fixturedef.argnames)
    )


def _apply_marker(test: _Test) -> None:
    """Take over what the marker that is nearest to the test says.

    Raises:
        MarkerError: It has wrong arguments.
    """
    for mark in test.item.iter_markers():
        if mark.name == "may_leak":
            parsed(mark, _may_leak)
            test.exempt = True
            return
        if mark.name == "must_not_leak":
            test.rules = (*test.rules, *parsed(mark, _must_not_leak))
            test.mode, test.marker = "fail", written(mark)
            return


def _must_not_leak(*, allow: object = ()) -> tuple[Rule, ...]:
    from ._judge.leaks import parse_rule

    texts = (allow,) if isinstance(allow, str) else tuple(allow)  # type: ignore[arg-type]  # what is no iterable is refused
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"allow={allow!r}: expected texts such as 'package.module:function'")
    return tuple(parse_rule(text) for text in texts)


def _may_leak(reason: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError("expected the reason why it may, such as may_leak('the server is ended by the next test')")
