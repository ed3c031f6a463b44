"""A marker to an expectation: which judge, which targets, which numbers."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

T = TypeVar("T")

DOCS = (
    "must_overlap(*targets, at_least=2, at_most=None, patience=1.0): calls of the targets are in progress at one"
    " instant; without targets, strands that the test started",
    "must_not_overlap(*targets, patience=1.0): no two calls of any of the targets are ever in progress together",
    "must_run_in_parallel(*targets, at_least=2): calls of the targets execute at the same time, in threads",
    "must_finish_within(seconds): the test body takes at most that long; on the virtual clock, exactly measured",
    "virtual_clock(*, patch_time=False): the test's asyncio or trio loop runs on virtual time: sleeping costs nothing"
    " and durations are exact",
    "must_not_block(*, threshold=0.1, kinds=..., allow=()): nothing in the test blocks an event loop",
    "may_block(reason): this test may block its event loop",
    "start_methods(*names): the test runs once under each of these start methods of multiprocessing, by default under"
    " all that the system has; the fixture start_method is the context",
    "must_not_leak(*, allow=()): nothing that the test started is left behind",
    "may_leak(reason): this test may leave behind what it starts",
)
OVERLAP = frozenset({"must_overlap", "must_not_overlap", "must_run_in_parallel"})
TIMING = frozenset({"must_finish_within", "virtual_clock"})
BLOCKING = frozenset({"must_not_block", "may_block"})
START_METHODS = frozenset({"start_methods"})
LEAKS = frozenset({"must_not_leak", "may_leak"})
ALL = OVERLAP | TIMING | BLOCKING | START_METHODS | LEAKS


class MarkerError(ValueError):
    """A marker with wrong arguments; the text says which, and what is accepted."""


class Expectation(NamedTuple):
    """What one marker asks for."""

    marker: Literal["must_overlap", "must_not_overlap", "must_run_in_parallel"]
    targets: tuple[object, ...]
    at_least: int = 2
    at_most: int | None = None
    patience: float = 1.0


def _must_overlap(
    *targets: object, at_least: int = 2, at_most: int | None = None, patience: float = 1.0
) -> Expectation:
    at_least = _count("at_least", at_least, 2)
    if at_most is not None:
        at_most = _count("at_most", at_most, 2)
        if at_most < at_least:
            raise ValueError(f"at_most={at_most} is below at_least={at_least}")
    if len(targets) > 1:
        if at_most is not None:
            raise ValueError("at_most goes with one target only")
        if at_least not in (2, len(targets)):
            raise ValueError(f"at_least={at_least} goes with one target: of several, one call of each is meant")
    return Expectation("must_overlap", targets, at_least, at_most, _patience(patience))


def _must_not_overlap(*targets: object, patience: float = 1.0) -> Expectation:
    if not targets:
        raise ValueError("name the function whose calls must not overlap, such as 'package.module:Class.method'")
    return Expectation("must_not_overlap", targets, patience=_patience(patience))


def _must_run_in_parallel(*targets: object, at_least: int = 2) -> Expectation:
    if not targets:
        raise ValueError("name the function whose calls must run in parallel, such as 'package.module:Class.method'")
    return Expectation("must_run_in_parallel", targets, _count("at_least", at_least, 2))


_PARSERS: dict[str, Any] = {
    "must_overlap": _must_overlap,
    "must_not_overlap": _must_not_overlap,
    "must_run_in_parallel": _must_run_in_parallel,
}


def used(node: Any, names: frozenset[str]) -> set[str]:
    """Return which of these markers a test has, or what is around it: `iter_markers`, at a fraction of its cost."""
    found: set[str] = set()
    while node is not None:
        for mark in node.own_markers:
            if mark.name in names:
                found.add(mark.name)
        node = node.parent
    return found


def expectations(marks: Iterable[pytest.Mark]) -> list[Expectation]:
    """Return what the markers of a test ask for; other people's are passed over.

    Raises:
        MarkerError: A marker has wrong arguments.
    """
    found = []
    for mark in marks:
        parse = _PARSERS.get(mark.name)
        if parse is None:
            continue
        found.append(parsed(mark, parse))
    return found


def parsed(mark: pytest.Mark, parse: Callable[..., T], *leading: object) -> T:
    """Return what *parse* makes of the arguments of *mark*, after the *leading* ones.

    Raises:
        MarkerError: It refuses them.
    """
    try:
        inspect.signature(parse).bind(*leading, *mark.args, **mark.kwargs)
        return parse(*leading, *mark.args, **mark.kwargs)
    except (TypeError, ValueError) as error:
        raise MarkerError(f"{written(mark)}: {error}") from None


def written(mark: pytest.Mark) -> str:
    """Return *mark* as it stands in the source."""
    arguments = [*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())]
    return f"@pytest.mark.{mark.name}({', '.join(arguments)})"


def _count(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number")
    if value < least:
        raise ValueError(f"{name}={value}: expected at least {least}, which is what any overlap needs")
    return value


def _patience(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ValueError(f"patience={value!r}: expected seconds, such as 1.0, or 0 for no holding")
    return float(value)
