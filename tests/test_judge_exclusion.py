"""Verdicts on mutual exclusion, of traces written by hand. The numbers are sequence numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._judge.exclusion import judge
from pytest_concurrency._trace import Place, Release, Span, Strand, Trace, Use, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

FETCH, STORE = "shop:fetch", "shop:store"
LOCK, OTHER = 1001, 1002


def span(number: int, strand: int, first: int, last: int | None, name: str = FETCH) -> Span:
    return Span(number, strand, name, first, float(first), last=last, outcome="returned")


def use(strand: int, action: str, number: int, resource: int = LOCK) -> Use:
    return Use(strand, action, "lock", resource, number, Place("/project/shop.py", number, "fetch"))  # type: ignore[arg-type]


def trace(*spans: Span, uses: Sequence[Use] = (), releases: Sequence[Release] = ()) -> Trace:
    strands = tuple(
        Strand(number, "asyncio-task", f"Task-{number}", 1, 1) for number in sorted({each.strand for each in spans})
    )
    return Trace(spans=spans, strands=strands, uses=tuple(uses), releases=tuple(releases))


def test_calls_one_at_a_time_hold() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 21, 30)), (FETCH,))

    assert (verdict.status, verdict.why, verdict.pair) == ("held", "", None)


def test_two_calls_together_are_broken_and_named() -> None:
    calls = trace(span(1, 1, 10, 20), span(2, 2, 21, 30), span(3, 3, 25, 40))

    verdict = judge(calls, (FETCH,))

    assert (verdict.status, verdict.why) == ("broken", "overlap")
    assert verdict.pair == (calls.spans[1], calls.spans[2])


def test_calls_that_only_touch_exclude_each_other() -> None:
    assert judge(trace(span(1, 1, 10, 20), span(2, 2, 20, 30)), (FETCH,)).status == "held"


def test_a_call_that_never_ended_lets_nobody_in_later() -> None:
    assert judge(trace(span(1, 1, 10, None), span(2, 2, 90, 95)), (FETCH,)).status == "broken"


def test_a_call_made_by_the_call_inside_is_part_of_it() -> None:
    assert judge(trace(span(1, 1, 10, 40), span(2, 1, 20, 30)), (FETCH,)).status == "held"


def test_calls_of_two_targets_exclude_each_other() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 15, 30, STORE)), (FETCH, STORE))

    assert (verdict.status, verdict.why) == ("broken", "overlap")


def test_calls_of_another_function_may_come_in() -> None:
    calls = trace(span(1, 1, 10, 20), span(2, 2, 15, 30, STORE), span(3, 3, 31, 40))

    assert judge(calls, (FETCH,)).status == "held"


def test_one_call_proves_nothing() -> None:
    verdict = judge(trace(span(1, 1, 10, 20)), (FETCH,))

    assert (verdict.status, verdict.why) == ("broken", "one call")


def test_a_target_that_was_never_called_is_broken() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 21, 30)), (FETCH, STORE))

    assert (verdict.status, verdict.why) == ("broken", "never called")


def test_the_lock_that_was_given_back_in_the_middle_of_the_call_is_named() -> None:
    uses = (use(1, "took", 5), use(1, "gave", 12), use(2, "took", 13), use(2, "gave", 31))
    calls = trace(span(1, 1, 10, 20), span(2, 2, 15, 30), uses=uses)

    assert judge(calls, (FETCH,)).given_back is uses[1]


def test_of_two_locks_the_one_that_the_second_call_took_is_named() -> None:
    uses = (use(1, "gave", 11), use(1, "gave", 12, OTHER), use(2, "took", 13))
    calls = trace(span(1, 1, 10, 20), span(2, 2, 15, 30), uses=uses)

    assert judge(calls, (FETCH,)).given_back is uses[0]


@pytest.mark.parametrize("number", [9, 16], ids=["before the call", "after the second came in"])
def test_a_lock_given_back_at_another_time_is_not_to_blame(number: int) -> None:
    calls = trace(span(1, 1, 10, 20), span(2, 2, 15, 30), uses=[use(1, "gave", number)])

    assert judge(calls, (FETCH,)).given_back is None


def late(kind: str, reason: str = "patience") -> Trace:
    """One call was held until *reason*, while the caller of the other waited in this way."""
    release = Release(19, 19.0, 0, reason, (1,), (Wait(2, kind),), ("a socket",))  # type: ignore[arg-type]
    return trace(span(1, 1, 10, 20), span(2, 2, 21, 30), releases=[release])


@pytest.mark.parametrize("kind", ["io", "worker", "timer", "future"])
def test_a_second_caller_that_was_only_late_leaves_it_open(kind: str) -> None:
    verdict = judge(late(kind), (FETCH,))

    assert (verdict.status, verdict.why) == ("inconclusive", "late")
    assert verdict.release is not None


@pytest.mark.parametrize("kind", ["lock", "semaphore", "task"])
def test_a_second_caller_that_was_kept_out_is_proof(kind: str) -> None:
    assert judge(late(kind), (FETCH,)).status == "held"


def test_quiet_is_proof() -> None:
    assert judge(late("io", "quiet"), (FETCH,)).status == "held"


def test_a_release_of_another_expectation_says_nothing() -> None:
    assert judge(late("io"), (FETCH,), expectation=1).status == "held"
