"""The hooks behind `virtual_clock` and `must_finish_within`: wiring only."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from ._errors import DeadlineError
from ._markers import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ._session import Session
    from ._show.messages import Page
    from ._trace import Block, Duration
    from ._virtual_time import VirtualClock

    Phase = Generator[None, Any, Any]


@dataclass(frozen=True, slots=True)
class Of:
    """What else there is of a test."""

    session: Callable[[pytest.Item], Session | None]
    """Its recording."""
    page: Callable[[pytest.Item], Page]
    """Where its messages will be read."""
    blocks: Callable[[], Sequence[Block]]
    """What has blocked its loops so far."""


_clock_key = pytest.StashKey["VirtualClock"]()
_limit_key = pytest.StashKey[float | None]()
_undo_key = pytest.StashKey[ExitStack]()
_stuck_key = pytest.StashKey[str]()


def clock_in(item: pytest.Item) -> VirtualClock:
    """Return the virtual clock of a test that has one."""
    return item.stash[_clock_key]


def clock_of(item: pytest.Item) -> tuple[float, bool] | None:
    """Return what the virtual clock of a test shows, in seconds, and whether `time.sleep` follows it; None without."""
    clock = item.stash.get(_clock_key, None)
    return (clock.elapsed, clock.patches_time) if clock is not None else None


def _must_finish_within(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ValueError(f"expected seconds, such as 0.5, not {seconds!r}")
    return seconds


def _virtual_clock(*, patch_time: bool = False) -> bool:
    if not isinstance(patch_time, bool):
        raise TypeError(f"patch_time={patch_time!r}: expected True or False")
    return patch_time


def _argument(item: pytest.Item, parse: Any) -> Any:
    """Return what the nearest marker named as *parse* asks for, None where there is no such marker.

    Raises:
        MarkerError: The marker has wrong arguments.
    """
    name = parse.__name__.removeprefix("_")
    mark = item.get_closest_marker(name)
    if mark is None:
        return None
    return parsed(mark, parse)


def _give_back(item: pytest.Item) -> None:
    if _undo_key in item.stash:
        item.stash[_undo_key].close()
        del item.stash[_undo_key]


@contextmanager
def _ended_with_the_run(item: pytest.Item) -> Iterator[None]:
    """Give time back where the whole run ends inside: no teardown hook follows Ctrl-C."""
    try:
        yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        _give_back(item)
        raise


def _watch_for_standstill(item: pytest.Item, clock: VirtualClock, of: Of) -> None:
    """Let a test whose tasks can never go on end, and note who waits for whom."""
    body = getattr(getattr(item, "obj", None), "__code__", None)

    def is_of_test(coroutine: Any) -> bool:
        from ._record.awaiting import codes

        return body is not None and body in codes(coroutine)

    def told(tasks: list[Any]) -> None:
        from ._record.standstill import look
        from ._show.standstill import standstill_message

        session = of.session(item)
        trace, still = look(tasks, clock.elapsed, session.recorder if session is not None else None)
        item.stash[_stuck_key] = standstill_message(trace, still, of.page(item))

    clock.on_standstill(told, is_of_test)


def _unless_stuck(item: pytest.Item, phase: Phase) -> Phase:
    """Say that everybody waited, whatever came of it when the test's own task was made to end."""
    result, error = None, None
    try:
        result = yield from phase
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException as caught:
        error = caught
    if _stuck_key in item.stash:
        text = item.stash[_stuck_key]
        del item.stash[_stuck_key]
        # pytest's unittest plugin keeps what a test case raised here, and would show that instead.
        vars(item).get("_excinfo", []).clear()
        raise DeadlineError(text)
    if error is not None:
        raise error
    return result


def _begin(item: pytest.Item, of: Of) -> str | None:
    """Make time virtual where *item* asks for it; return why that cannot be."""
    try:
        patch_time = _argument(item, _virtual_clock)
        item.stash[_limit_key] = _argument(item, _must_finish_within)
        if patch_time is not None or "virtual_clock" in getattr(item, "fixturenames", ()):
            from ._virtual_time import VirtualClock

            clock = item.stash[_clock_key] = VirtualClock()
            _watch_for_standstill(item, clock, of)
            with ExitStack() as undo:
                undo.enter_context(clock.install(patch_time=bool(patch_time)))
                item.stash[_undo_key] = undo.pop_all()
    except (ValueError, RuntimeError) as error:
        return str(error)
    except Exception as error:
        return f"time cannot be made virtual: {type(error).__name__}: {error}"
    return None


class Timing:
    """What is put around the phases of a test that asks for virtual time or for a deadline."""

    def __init__(self, of: Of) -> None:
        self._of = of

    def setup(self, item: pytest.Item, asked: frozenset[str], phase: Phase) -> Phase:
        """Put a test's loops on virtual time before its fixtures make any."""
        problem = _begin(item, self._of)
        with _ended_with_the_run(item):
            result = yield from _unless_stuck(item, phase)
        if problem is not None:
            # Only now: pytest's own plugins tear down what they have not set up.
            pytest.fail(problem, pytrace=False)
        return result

    def call(self, item: pytest.Item, phase: Phase) -> Phase:
        """Judge how long the body took."""
        limit = item.stash.get(_limit_key, None)
        clock = item.stash.get(_clock_key, None)
        if clock is not None:
            clock.start_body()
        measured = _measured(self._of.session(item), limit, clock) if limit is not None else None
        # The body's own exception, a skip and Ctrl-C pass: there is no verdict over them.
        with _ended_with_the_run(item):
            result = yield from _unless_stuck(item, phase)
        if limit is not None and measured is not None:
            from ._judge.deadline import judged

            duration = measured()
            if judged(duration) > limit:
                from ._show.deadline import deadline_message

                session = self._of.session(item)
                trace = session.trace() if session is not None else None
                raise DeadlineError(deadline_message(trace, duration, limit, self._of.page(item), self._of.blocks()))
        return result

    def teardown(self, item: pytest.Item, phase: Phase) -> Phase:
        """Give time back."""
        try:
            return (yield from _unless_stuck(item, phase))
        finally:
            _give_back(item)


def _measured(session: Session | None, limit: float, clock: VirtualClock | None) -> Callable[[], Duration]:
    """Measure from now on until what is returned is called; take down meanwhile what the tasks wait for."""
    from ._record import noise
    from ._record.courses import Courses
    from ._trace import Duration

    before = noise.read()
    if session is not None:
        body_clock = (lambda: perf_counter() - before.wall) if clock is None else lambda: clock.elapsed
        # Shorter waits than this make no test late, or there are so many of them that some line stands out.
        session.recorder.courses = Courses(session.recorder, body_clock, limit / 1000)
    if clock is not None:
        return lambda: Duration(clock.elapsed, "virtual")
    return lambda: noise.between(before, noise.read())
