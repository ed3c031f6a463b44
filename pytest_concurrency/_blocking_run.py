"""Blocking detection over a run: one guard, a policy for each test, and what is said at its end."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from . import _markers
from ._blocking.early import sleep_announced
from ._errors import BlockingCallError, BlockingCallWarning, BlockingError, ConcurrencyWarning
from ._imports import unwatchable, unwatchable_loops, when_imported
from ._markers import parsed, written
from ._settings import Blocking, parse_kinds, parse_seconds
from ._warning import issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._blocking.guard import Guard
    from ._blocking.policy import AllowRule, Policy
    from ._blocking_baseline import BaselineRun
    from ._blocking_rules import RulesRun
    from ._judge.blocking import Finding
    from ._session import Session
    from ._show.messages import Page
    from ._trace import Block

_OFF = Blocking(mode="off")


class _Test:
    """What one test may do, and what it did so far.

    Args:
        marker: `must_not_block` as it was written, where the test has it.
        problem: What is wrong with its marker.
    """

    def __init__(
        self,
        item: pytest.Item,
        blocking: Blocking,
        exempt: str | None = None,
        marker: str | None = None,
        problem: str | None = None,
        *,
        is_recorded: bool = False,
    ) -> None:
        self.item = item
        self.blocking = blocking
        self.exempt = exempt
        self.marker = marker
        self.problem = problem
        self.is_recorded = is_recorded
        self.blocks: list[Block] = []
        self.reported: set[object] = set()

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing that the run does not."""
        return not (self.is_recorded or self.marker or self.exempt or self.blocking is _OFF)

    @property
    def fails(self) -> bool:
        """Whether a block fails the test."""
        return self.blocking.mode in ("fail", "raise")


class BlockingRun:
    """Watches the loops of one pytest run. Nothing of the detector is imported before an event loop library is."""

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self._undo = ExitStack()
        self._settings = _OFF
        self._rules: tuple[AllowRule, ...] = ()
        self._root = ""
        self.baseline: BaselineRun | None = None
        self.rules: RulesRun | None = None
        self._test: _Test | None = None
        self._phases = {name: _Phase(self, name) for name in ("setup", "call", "teardown")}
        self._problem: str | None = None
        self._problem_told = False
        self._unwatchable_told: set[str] = set()
        self._unwatched_told: set[str] = set()
        self._usual: Policy | None = None
        """The policy of tests that ask for nothing, once one has been in force."""
        self.session_of: Callable[[pytest.Item], Session | None] = lambda item: None
        self.clock_of: Callable[[pytest.Item], tuple[float, bool] | None] = lambda item: None
        """What the test's virtual clock shows, and whether `time.sleep` follows it; None where it has none."""
        self.page_of: Callable[[pytest.Item], Page] | None = None
        self.on_loop: Callable[[], object] = lambda: None
        """Told when a loop runs in a test that nobody has begun: that is to be made up for."""
        self._has_begun = False
        self.on_found: Callable[[pytest.Item, tuple[Finding, ...]], None] | None = None
        """Told of what is found in a test, also where that is only warned of."""

    def start(self) -> None:
        """Get ready to watch, before the program under test is imported."""
        self._undo.enter_context(sleep_announced())
        for library in ("asyncio", "trio", "gevent"):
            self._undo.enter_context(when_imported(library, self._arm))

    def stop(self) -> None:
        """Undo all that was put in place."""
        if self._guard is not None:
            self._guard.remove()
            self._guard = None
        self._undo.close()

    def configure(self, settings: Blocking, root: str) -> None:
        """Take the settings of the run.

        Raises:
            pytest.UsageError: A line of `concurrency_allow_blocking` is malformed.
        """
        if settings.allow:
            from ._blocking.policy import parse_rule

            try:
                self._rules = tuple(parse_rule(text) for text in settings.allow)
            except ValueError as error:
                raise pytest.UsageError(f"concurrency_allow_blocking: {error}") from None
            if settings.mode != "off":
                from ._blocking_rules import RulesRun

                self.rules = RulesRun(self._rules)
        if settings.baseline is not None:
            from ._blocking_baseline import BaselineRun

            self.baseline = BaselineRun(settings.baseline, root, update=settings.baseline_update)
            # What is new fails at the test's end; what is known is forgiven, and so must not be stopped.
            settings = settings._replace(mode="fail")
        self._settings, self._root = settings, root
        self._apply()

    def _arm(self) -> None:
        if self._guard is not None:
            return
        from ._blocking.guard import Guard

        self._guard = Guard(_OFF, self._failed)
        self._guard.on_block = self._take_down
        self._guard.strand_here = self._strand_here
        self._guard.on_loop = self._loop_runs
        self._guard.install()
        self._apply()

    def _loop_runs(self) -> None:
        if not self._has_begun:
            self.on_loop()

    def blocks(self) -> tuple[Block, ...]:
        """Return what counts of what has blocked a loop in the present test, as far as it has not been told yet."""
        from ._judge.blocking import counts

        test = self._test
        return tuple(block for block in test.blocks if counts(block, test.blocking)) if test is not None else ()

    def beside(self) -> Callable[[], None]:
        """Hear of another thread of ours that is about to wait, and return what it is to call as soon as it goes on."""
        return self._guard.beside() if self._guard is not None else lambda: None

    def _failed(self, text: str) -> None:
        self._problem = text

    def _apply(self) -> None:
        """Put the present test's policy in force, where there is a guard already."""
        guard, test = self._guard, self._test
        if guard is None:
            return
        guard.is_on = self._settings.mode != "off" or (test is not None and not test.is_plain)
        if test is not None and test.is_plain and guard.policy is self._usual:
            return
        from ._blocking.policy import Policy

        if test is None:
            guard.observe = False
            # Until the first test is begun in which a loop runs, something has to tell that one does.
            awaits = self._settings.mode == "warn" and not self._has_begun
            guard.policy = Policy(self._settings if awaits else _OFF, None, self._rules, self._root)
            return
        rules = self._rules
        if test.blocking.allow != self._settings.allow:
            rules = ()
        guard.observe = test.is_recorded
        guard.policy = Policy(test.blocking, test.exempt, rules, self._root)
        self._usual = guard.policy if test.is_plain else None

    def _take_down(self, block: Block) -> None:
        self._loop_runs()
        test = self._test
        if test is None:
            return
        test.blocks.append(block)
        session = self.session_of(test.item)
        if session is not None:
            session.add_block(block)

    def _strand_here(self) -> int | None:
        session = self.session_of(self._test.item) if self._test is not None else None
        return session.recorder.here().strand.id if session is not None else None

    # One test

    def _end(self) -> None:
        plain = self._test is not None and self._test.is_plain
        if self.rules is not None and self._guard is not None and self._guard.loops_seen:
            self.rules.has_watched = True
        self._test = None
        # Most tests have the same policy as the one before: it stays in force between them, where it stops nothing
        # and nobody is told.
        if not plain or self._settings.mode == "raise":
            self._apply()

    def _say(self, phase: str) -> None:
        """Warn of what was found, or fail; once for each place."""
        __tracebackhide__ = True
        test = self._test
        if self._guard is not None:
            self._guard.settle()
        if test is not None and self._problem is not None and not self._problem_told:
            self._problem_told = True
            self._warn(test, self._problem)
        if test is not None:
            for library, why in unwatchable().items():
                if library not in self._unwatchable_told:
                    self._unwatchable_told.add(library)
                    may = "what runs on it may go unseen. A newer pytest-concurrency-check may know this version"
                    self._warn(test, f"{why}; {may}")
        if test is not None and test.blocking.mode != "off" and self._guard is not None and self._guard.unwatched:
            self._name_unwatched(test)
        if test is None or not (test.blocks or test.marker):
            return
        if test.fails:
            if phase != "setup":
                self._fail_over(test, phase)
        elif test.blocking.mode == "warn":
            self._warn_of(test)

    def _name_unwatched(self, test: _Test) -> None:
        __tracebackhide__ = True
        names = self._guard.unwatched - self._unwatched_told if self._guard is not None else set()
        self._unwatched_told |= names
        for name in sorted(names):
            self._warn(
                test, f"unwatched: {name} does not tell of its turns; only calls that have a name are found on it"
            )

    def _warn(self, test: _Test, text: str) -> None:
        __tracebackhide__ = True
        from ._trace import Place

        issue(ConcurrencyWarning(text), Place(str(test.item.path), 1, test.item.name), test.item)

    def _say_aside(self, phase: str, error: BaseException) -> None:
        """Say what was found in a test that ends with an exception of its own."""
        test = self._test
        if self._guard is not None:
            self._guard.settle()
        if test is None or not test.blocks:
            return
        if not test.fails:
            with suppress(Warning):
                self._say(phase)
            return
        found = self._found(test)
        if found and isinstance(error, Exception) and not isinstance(error, BlockingCallError):
            test.item.add_report_section(phase, "blocking", self._text(test, found))

    def _found(self, test: _Test) -> tuple[Finding, ...]:
        """Return what was found since the last time this was asked."""
        from ._judge.blocking import findings

        blocks, test.blocks = test.blocks, []
        found = findings(blocks, test.blocking)
        # A test that is marked has promised more than the suite has.
        if self.baseline is not None and test.marker is None:
            found = self.baseline.new(found)
        if found and self.on_found is not None:
            self.on_found(test.item, found)
        return found

    def _fail_over(self, test: _Test, phase: str) -> None:
        __tracebackhide__ = True
        if test.marker is not None and phase == "call":
            if self._problem is not None:
                raise BlockingError(f"{test.marker}: nothing was watched, since {self._problem}")
            if self._guard is None or self._guard.loops_seen == 0:
                unseen = unwatchable_loops()
                nothing = "no event loop ran in this test, so there is nothing that could have blocked one"
                raise BlockingError(
                    f"{test.marker}: {f'no event loop was seen in this test, and {unseen}' if unseen else nothing}"
                )
        found = self._found(test)
        if found:
            raise BlockingError(self._text(test, found))

    def _text(self, test: _Test, found: tuple[Finding, ...]) -> str:
        from ._show.blocks import failure_text

        return failure_text(found, self._page(test), self.clock_of(test.item))

    def _warn_of(self, test: _Test) -> None:
        __tracebackhide__ = True
        found = self._found(test)
        if not found:
            return
        from ._show.blocks import warning_text

        for finding in found:
            text = warning_text(finding, self._page(test))
            if text not in test.reported:
                test.reported.add(text)
                issue(BlockingCallWarning(text), finding.place, test.item)

    def _page(self, test: _Test) -> Page:
        if self.page_of is not None:
            return self.page_of(test.item)
        from ._show.messages import Page

        return Page(self._root)

    # Around the phases of a test

    def begin(self, item: pytest.Item, asked: frozenset[str]) -> None:
        """Put the policy of a test in force.

        Args:
            asked: Our markers and fixtures that it uses, `report` where every test is recorded.
        """
        self._has_begun = True
        problem = exempt = marker = None
        blocking = self._settings
        if asked & _markers.BLOCKING:
            try:
                blocking, exempt, marker = policy_of(item, self._settings)
            except ValueError as error:
                blocking, problem = _OFF, str(error)
        self._test = _Test(
            item, blocking, exempt, marker, problem, is_recorded=bool(asked - _markers.BLOCKING - {"virtual_clock"})
        )
        if self._guard is not None:
            self._guard.begin_count()
        self._apply()

    def around(self, phase: str) -> _Phase:
        """Say at the end of a phase what was found in it, and after the teardown watch no more."""
        return self._phases[phase]

    def end_phase(self, phase: str, error: BaseException | None) -> None:
        """Warn or fail at the end of a phase, which *error* ended if it is none of ours."""
        __tracebackhide__ = True
        try:
            if error is not None:
                # The test's own exception, a skip and Ctrl-C pass; what was found is said on the side.
                self._say_aside(phase, error)
                return
            self._say(phase)
            if phase == "setup" and self._test is not None and self._test.problem is not None:
                pytest.fail(self._test.problem, pytrace=False)
        finally:
            if phase == "teardown":
                self._end()


class _Phase:
    """A phase of a test. A class, since a generator around every phase of every test would be dearer."""

    __slots__ = ("_name", "_run")

    def __init__(self, run: BlockingRun, name: str) -> None:
        self._run, self._name = run, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        __tracebackhide__ = True
        self._run.end_phase(self._name, error)


def policy_of(item: pytest.Item, settings: Blocking) -> tuple[Blocking, str | None, str | None]:
    """Return what counts in a test, why all of it may block, and the marker that asks for more than the run does.

    Raises:
        MarkerError: The marker that is nearest to the test has wrong arguments.
    """
    for mark in item.iter_markers():
        parse = _PARSERS.get(mark.name)
        if parse is None:
            continue
        blocking, exempt = parsed(mark, parse, settings)
        return blocking, exempt, None if exempt else written(mark)
    return settings, None, None


def _must_not_block(
    settings: Blocking, *, threshold: object = None, kinds: object = None, allow: object = ()
) -> tuple[Blocking, None]:
    from ._blocking.policy import parse_rule

    mode = "raise" if settings.mode == "raise" else "fail"
    blocking = settings._replace(mode=mode)
    if threshold is not None:
        try:
            blocking = blocking._replace(threshold=parse_seconds(threshold))
        except ValueError as error:
            raise ValueError(f"threshold={threshold!r}: {error}") from None
    if kinds is not None:
        try:
            chosen, past = parse_kinds(kinds)
        except TypeError:
            raise ValueError(f"kinds={kinds!r}: expected names of kinds, such as ('sleep', 'lock')") from None
        blocking = blocking._replace(kinds=chosen, past_threshold=past)
    more = (allow,) if isinstance(allow, str) else tuple(allow)  # type: ignore[arg-type]  # what is no iterable is refused
    for text in more:
        if not isinstance(text, str):
            raise TypeError(f"allow={allow!r}: expected texts such as 'package.module:function'")
        parse_rule(text)
    return blocking._replace(allow=(*blocking.allow, *more)), None


def _may_block(settings: Blocking, reason: object) -> tuple[Blocking, str]:
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError("expected the reason why it may, such as may_block('reads its fixtures from disk')")
    return settings, reason


_PARSERS: dict[str, Any] = {"must_not_block": _must_not_block, "may_block": _may_block}
