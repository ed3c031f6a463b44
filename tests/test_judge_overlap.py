"""Verdicts on overlap, of traces written by hand. The numbers are sequence numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._judge import overlap
from pytest_concurrency._judge.overlap import Overlap, judge
from pytest_concurrency._trace import Block, Place, Release, Span, Step, Strand, Trace, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

FETCH, STORE = "shop:fetch", "shop:store"
HERE = Place("/project/shop.py", 7, "fetch")


def span(number: int, strand: int, first: int, last: int | None, name: str = FETCH, done: int | None = None) -> Span:
    return Span(number, strand, name, first, float(first), done, last=last, outcome="returned")


def strand(
    number: int, *steps: tuple[int, int], first: int = 0, last: int | None = None, by_test: bool = True
) -> Strand:
    taken = tuple(Step(start, end, float(start), float(end)) for start, end in steps)
    return Strand(
        number, "asyncio-task", f"Task-{number}", 1, 1, first=first, last=last, steps=taken, started_by_test=by_test
    )


def block(strand: int, first: int, last: int, *, hinders: bool = True) -> Block:
    return Block("sleep", "time.sleep", HERE, 0.5, "asyncio", strand=strand, hinders=hinders, first=first, last=last)


def release(number: int, reason: str, *spans: int, pending: tuple[str, ...] = (), expectation: int = 0) -> Release:
    return Release(number, float(number), expectation, reason, spans, pending=pending)  # type: ignore[arg-type]


def trace(
    *spans: Span,
    strands: Sequence[Strand] = (),
    blocks: Sequence[Block] = (),
    releases: Sequence[Release] = (),
    watched: dict[str, str] | None = None,
) -> Trace:
    known = {each.id for each in strands}
    rest = [strand(number) for number in sorted({each.strand for each in spans} - known)]
    return Trace(
        spans=spans,
        strands=(*strands, *rest),
        blocks=tuple(blocks),
        releases=tuple(releases),
        watched=watched or {},
    )


def test_two_calls_in_progress_together_hold() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 15, 25)), Overlap((FETCH,)))

    assert (verdict.status, verdict.found, verdict.why) == ("held", 2, "")


def test_one_call_after_the_other_is_broken() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 21, 25)), Overlap((FETCH,)))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "too few")


def test_calls_that_only_touch_do_not_overlap() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 20, 25)), Overlap((FETCH,)))

    assert (verdict.status, verdict.found) == ("broken", 1)


def test_a_chain_of_pairs_is_no_overlap_of_three() -> None:
    calls = (span(1, 1, 10, 20), span(2, 2, 15, 30), span(3, 3, 25, 40))

    verdict = judge(trace(*calls), Overlap((FETCH,), at_least=3))

    assert (verdict.status, verdict.found) == ("broken", 2)


def test_three_calls_at_one_instant_hold_for_three() -> None:
    calls = (span(1, 1, 10, 40), span(2, 2, 15, 30), span(3, 3, 25, 50))

    assert judge(trace(*calls), Overlap((FETCH,), at_least=3)).status == "held"


def test_an_open_call_is_in_progress_for_good() -> None:
    verdict = judge(trace(span(1, 1, 10, None), span(2, 2, 90, 95)), Overlap((FETCH,)))

    assert verdict.status == "held"


def test_a_call_and_the_calls_that_it_makes_itself_are_one() -> None:
    verdict = judge(trace(span(1, 1, 10, 40), span(2, 1, 20, 30)), Overlap((FETCH,)))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "too few")


def test_calls_of_other_functions_do_not_count() -> None:
    verdict = judge(trace(span(1, 1, 10, 40), span(2, 2, 20, 30, STORE)), Overlap((FETCH,)))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "one call")


def test_the_verdict_shows_the_calls_in_the_order_in_which_they_began() -> None:
    verdict = judge(trace(span(1, 1, 30, 40), span(2, 2, 20, 25)), Overlap((FETCH,)))

    assert [each.id for each in verdict.spans] == [2, 1]


def test_a_target_that_was_never_called_is_broken() -> None:
    verdict = judge(trace(), Overlap((FETCH,)))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 0, "never called")


def test_calls_are_found_under_another_name_of_the_same_function() -> None:
    calls = trace(span(1, 1, 10, 20), span(2, 2, 15, 25), watched={"shop.client.fetch": FETCH, FETCH: FETCH})

    assert overlap.calls(calls, ("shop.client.fetch",)) == calls.spans


# Several targets


def test_one_call_of_each_target_at_one_instant_holds() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 15, 25, STORE)), Overlap((FETCH, STORE)))

    assert (verdict.status, verdict.found) == ("held", 2)


def test_one_target_after_the_other_is_broken() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 25, 35, STORE)), Overlap((FETCH, STORE)))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "too few")


def test_a_target_called_by_the_other_one_does_not_overlap_with_it() -> None:
    verdict = judge(trace(span(1, 1, 10, 40), span(2, 1, 20, 30, STORE)), Overlap((FETCH, STORE)))

    assert (verdict.status, verdict.found) == ("broken", 1)


def test_each_target_needs_a_strand_of_its_own() -> None:
    # Strand 1 runs both targets, strand 2 the first one only: two strands, and so two targets at once.
    calls = (span(1, 1, 10, 40), span(2, 1, 20, 30, STORE), span(3, 2, 15, 35))

    assert judge(trace(*calls), Overlap((FETCH, STORE))).found == 2


def test_two_calls_of_one_target_do_not_stand_for_the_other() -> None:
    verdict = judge(trace(span(1, 1, 10, 20), span(2, 2, 15, 25)), Overlap((FETCH, STORE)))

    assert (verdict.status, verdict.why) == ("broken", "never called")


# Blocking the loop is no overlap


def test_time_in_which_a_call_blocked_its_loop_does_not_count() -> None:
    # Both were held at the end, at 30: but each spent the whole of its work in one step that blocked.
    calls = (span(1, 1, 10, 40, done=14), span(2, 2, 20, 41, done=24))
    strands = (strand(1, (9, 15)), strand(2, (19, 25)))
    blocks = (block(1, 11, 13), block(2, 21, 23))

    assert judge(trace(*calls, strands=strands, blocks=blocks), Overlap((FETCH,))).found == 2
    calls = (span(1, 1, 10, 15, done=14), span(2, 2, 12, 25, done=24))
    verdict = judge(trace(*calls, strands=strands, blocks=blocks), Overlap((FETCH,)))

    assert (verdict.status, verdict.found) == ("broken", 1)


def test_a_block_takes_out_the_whole_step_that_it_was_in() -> None:
    blocked = span(1, 1, 10, 40)
    steps = strand(1, (9, 20), (30, 41))

    assert overlap.credited(trace(blocked, strands=[steps], blocks=[block(1, 12, 14)]), blocked) == [(20, 40)]


def test_a_harmless_block_takes_out_nothing() -> None:
    glance = trace(span(1, 1, 10, 40), strands=[strand(1, (9, 20))], blocks=[block(1, 12, 14, hinders=False)])

    assert overlap.credited(glance, glance.spans[0]) == [(10, 40)]


def test_a_block_outside_the_call_takes_out_nothing() -> None:
    before = trace(span(1, 1, 10, 40), strands=[strand(1, (1, 20))], blocks=[block(1, 2, 4)])

    assert overlap.credited(before, before.spans[0]) == [(10, 40)]


def test_a_block_of_another_strand_takes_out_nothing() -> None:
    other = trace(span(1, 1, 10, 40), strands=[strand(1, (9, 20)), strand(2, (1, 50))], blocks=[block(2, 12, 14)])

    assert overlap.credited(other, other.spans[0]) == [(10, 40)]


def test_a_block_in_the_first_step_of_an_eager_task_takes_out_what_ran_before_its_next_step() -> None:
    # That first step runs inside its creator's, and has no step of its own.
    eager = trace(span(1, 1, 10, 40), strands=[strand(1, (30, 41))], blocks=[block(1, 12, 14)])

    assert overlap.credited(eager, eager.spans[0]) == [(30, 40)]


# Limits


def limited(*spans: Span, at: int | None = None) -> Trace:
    return trace(*spans, releases=[release(at, "quiet", 1, 2)] if at is not None else [])


def test_a_limit_holds_when_the_next_one_came_in_after_the_held_ones_were_let_go() -> None:
    calls = (span(1, 1, 10, 31), span(2, 2, 11, 32), span(3, 3, 35, 40))

    verdict = judge(limited(*calls, at=30), Overlap((FETCH,), at_most=2))

    assert (verdict.status, verdict.found) == ("held", 2)


def test_one_more_than_the_limit_is_broken() -> None:
    calls = (span(1, 1, 10, 31), span(2, 2, 11, 32), span(3, 3, 20, 40))

    verdict = judge(limited(*calls), Overlap((FETCH,), at_most=2))

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 3, "limit lost")


def test_a_limit_that_is_never_reached_is_broken() -> None:
    calls = (span(1, 1, 10, 31), span(2, 2, 11, 32), span(3, 3, 35, 40))

    verdict = judge(limited(*calls, at=30), Overlap((FETCH,), at_most=3))

    assert (verdict.status, verdict.why) == ("broken", "limit never reached")


def test_a_limit_that_nobody_waits_for_is_broken() -> None:
    calls = (span(1, 1, 10, 31), span(2, 2, 11, 32))

    verdict = judge(limited(*calls, at=30), Overlap((FETCH,), at_most=2))

    assert (verdict.status, verdict.why) == ("broken", "limit never tested")


def test_too_few_calls_are_broken_before_any_limit() -> None:
    verdict = judge(limited(span(1, 1, 10, 31), span(2, 2, 35, 40), at=30), Overlap((FETCH,), at_most=2))

    assert (verdict.status, verdict.why) == ("broken", "too few")


# Proof, and doubt


@pytest.mark.parametrize(
    "pending", ["a socket, awaited by 'Task-2'", "a worker", "thread 'w' at x.py:1 in f", "a listening server"]
)
def test_what_comes_from_outside_and_is_still_pending_leaves_it_open(pending: str) -> None:
    doubtful = trace(span(1, 1, 10, 31, done=12), releases=[release(30, "patience", 1, pending=(pending,))])

    verdict = judge(doubtful, Overlap((FETCH,)))

    assert (verdict.status, verdict.why) == ("inconclusive", "one call")
    assert verdict.release is doubtful.releases[0]


def test_the_programs_own_timers_leave_nothing_open() -> None:
    late = trace(span(1, 1, 10, 31, done=12), releases=[release(30, "patience", 1, pending=("a timer",))])

    assert judge(late, Overlap((FETCH,))).status == "broken"


def test_a_call_that_came_only_after_the_held_one_was_let_go_is_proof() -> None:
    calls = (span(1, 1, 10, 31, done=12), span(2, 2, 40, 50))

    verdict = judge(trace(*calls, releases=[release(30, "patience", 1, pending=("a socket",))]), Overlap((FETCH,)))

    assert (verdict.status, verdict.why) == ("broken", "too few")


def test_a_call_that_comes_when_one_is_let_go_is_proof_whatever_is_pending_at_the_next() -> None:
    calls = [span(1, 1, 10, 31, done=12), span(2, 1, 32, 41, done=33)]
    last = release(40, "patience", 2, pending=("thread 'T'",))
    # It shows more, and so is the one that the message tells of.
    last = replace(last, waits=(Wait(3, "lock"),))

    assert judge(trace(*calls, releases=[release(30, "patience", 1), last]), Overlap((FETCH,))).status == "broken"
    # Where none comes after the first that ran out, the others may only have been late.
    assert judge(trace(*calls, releases=[last]), Overlap((FETCH,))).status == "inconclusive"


def test_quiet_is_proof() -> None:
    quiet = trace(span(1, 1, 10, 31, done=12), releases=[release(30, "quiet", 1)])

    assert judge(quiet, Overlap((FETCH,))).status == "broken"


def test_a_release_of_another_expectation_says_nothing() -> None:
    other = trace(span(1, 1, 10, 31), releases=[release(30, "patience", 1, pending=("a socket",), expectation=1)])

    verdict = judge(other, Overlap((FETCH,)))

    assert (verdict.status, verdict.release) == ("broken", None)


def test_the_release_with_most_calls_inside_is_the_one_shown() -> None:
    calls = (span(1, 1, 10, 31), span(2, 2, 40, 61), span(3, 3, 41, 62))
    releases = (release(30, "quiet", 1), release(60, "quiet", 2, 3), release(70, "met", 1, 2, 3))

    verdict = judge(trace(*calls, releases=releases), Overlap((FETCH,), at_least=3))

    assert verdict.release is releases[1]


# No target: strands


def test_two_strands_of_the_test_in_progress_together_hold() -> None:
    strands = (strand(1, (10, 12), (18, 20), last=21), strand(2, (14, 16), (24, 26), last=27))

    verdict = judge(Trace(strands=strands), Overlap())

    assert (verdict.status, verdict.found, verdict.strands) == ("held", 2, strands)


def test_a_strand_begins_with_its_first_step() -> None:
    # Created early, as tasks in a list are, but awaited one after the other.
    strands = (strand(1, (10, 20), first=1, last=21), strand(2, (30, 40), first=2, last=41))

    verdict = judge(Trace(strands=strands), Overlap())

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "too few")


def test_strands_that_the_test_did_not_start_do_not_count() -> None:
    strands = (strand(1, (10, 20), last=50), strand(2, (12, 14), last=50, by_test=False))

    verdict = judge(Trace(strands=strands), Overlap())

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 1, "one call")


def test_no_strand_at_all_is_broken() -> None:
    verdict = judge(Trace(strands=(strand(1, (1, 2), by_test=False),)), Overlap())

    assert (verdict.status, verdict.found, verdict.why) == ("broken", 0, "never called")


def test_a_strand_is_not_in_progress_in_a_step_in_which_it_blocked() -> None:
    # Strand 1 waited all the while that strand 2 blocked the loop, in the one step that it took.
    strands = (strand(1, (1, 5), (30, 35), last=36), strand(2, (10, 20), last=21))

    verdict = judge(Trace(strands=strands, blocks=(block(2, 11, 13),)), Overlap())

    assert (verdict.status, verdict.found) == ("broken", 1)


def test_a_strand_that_blocked_is_in_progress_before_and_after() -> None:
    strands = (strand(1, (1, 5), (30, 35), last=36), strand(2, (10, 20), (25, 28), last=29))

    assert judge(Trace(strands=strands, blocks=(block(2, 11, 13),)), Overlap()).status == "held"


def test_more_strands_than_the_limit_are_broken() -> None:
    strands = tuple(strand(number, (10 + number, 20 + number), last=50) for number in range(3))

    verdict = judge(Trace(strands=strands), Overlap(at_most=2))

    assert (verdict.status, verdict.why) == ("broken", "limit lost")
