"""Why calls did not overlap, of traces written by hand. The numbers are sequence numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_concurrency._judge.causes import Cause, called_from, cause_of
from pytest_concurrency._judge.overlap import Verdict
from pytest_concurrency._trace import Block, Place, Release, Span, Step, Strand, Trace, Use, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCK = 1001


def at(line: int, function: str = "checkout") -> Place:
    return Place("/project/shop.py", line, function)


def span(
    number: int, strand: int, first: int, last: int, *, done: int | None = None, caller: int = 0, again: int = 0
) -> Span:
    return Span(
        number,
        strand,
        "shop:fetch",
        first,
        float(first),
        done,
        last=last,
        outcome="returned",
        caller=(at(caller),) if caller else (),
        again=at(again) if again else None,
        place=at(1, "fetch"),
    )


def strand(
    number: int,
    *steps: tuple[int, int],
    first: int = 0,
    last: int | None = None,
    parent: int | None = None,
    line: int = 0,
) -> Strand:
    return Strand(
        number,
        "asyncio-task",
        f"Task-{number}",
        1,
        1,
        parent,
        first,
        last=last,
        place=at(line) if line else None,
        steps=tuple(Step(start, end, float(start), float(end)) for start, end in steps),
    )


def block(strand: int, first: int, seconds: float | None = 0.5, *, hinders: bool = True, line: int = 8) -> Block:
    return Block(
        "sleep", "time.sleep", at(line), seconds, "asyncio", strand=strand, hinders=hinders, first=first, last=first + 1
    )


def cause(
    *spans: Span,
    strands: Sequence[Strand] = (),
    blocks: Sequence[Block] = (),
    uses: Sequence[Use] = (),
    release: Release | None = None,
) -> Cause | None:
    known = {each.id for each in strands}
    rest = [strand(number) for number in sorted({each.strand for each in spans} - known)]
    trace = Trace(spans=spans, strands=(*strands, *rest), blocks=tuple(blocks), uses=tuple(uses))
    return cause_of(trace, Verdict("broken", 1, spans, "too few", release))


def held(*waits: Wait, spans: tuple[int, ...] = (1,)) -> Release:
    return Release(30, 30.0, 0, "quiet", spans, waits)


def test_calls_on_one_strand_were_awaited_in_turn_at_the_line_of_the_second() -> None:
    found = cause(span(1, 1, 10, 20, caller=5), span(2, 1, 21, 30, caller=6))

    assert found == Cause("in turn", at(6))


def test_the_line_in_the_loop_is_named_where_helpers_lie_between() -> None:
    found = cause(span(1, 1, 10, 20, caller=55), span(2, 1, 21, 30, caller=55, again=6))

    assert found == Cause("in turn", at(6))


def test_a_task_that_is_started_and_awaited_at_once_is_awaited_in_turn() -> None:
    wait = Wait(9, "task", on=(1,), place=at(6))

    found = cause(span(1, 1, 10, 31), span(2, 2, 40, 50), release=held(wait))

    assert found == Cause("in turn", at(6), chain=(wait,))


def test_a_call_that_had_a_strand_of_its_own_was_not_kept_by_who_awaits_the_first() -> None:
    release = held(Wait(9, "task", on=(1,), place=at(6)), Wait(2, "event"))
    calls = span(1, 1, 10, 31), span(2, 2, 40, 50)

    assert cause(*calls, strands=(strand(1, first=8), strand(2, first=9)), release=release) is None
    assert cause(*calls, strands=(strand(1, first=8), strand(2, first=35)), release=release) is not None


def test_a_pool_of_greenlets_keeps_the_next_one_out() -> None:
    wait = Wait(9, "pool", LOCK, (1,), at(7))

    found = cause(span(1, 1, 10, 31), span(2, 2, 40, 50), release=held(wait))

    assert found == Cause("greenlets", at(7), size=1)


def test_calls_each_on_a_strand_that_began_when_the_one_before_had_ended_were_awaited_in_turn() -> None:
    strands = (strand(1, first=9, last=21, parent=9, line=6), strand(2, first=29, last=41, parent=9, line=6))

    found = cause(span(1, 1, 10, 20), span(2, 2, 30, 40), strands=strands)

    assert found == Cause("in turn", at(6))


def test_a_lock_is_named_with_its_holder_and_those_who_wait_for_it() -> None:
    waits = (
        Wait(1, "held"),
        Wait(2, "lock", LOCK, (1,), at(5)),
        Wait(3, "lock", LOCK, (1,), at(5)),
        Wait(9, "task", on=(1, 2, 3), place=at(9)),
    )

    found = cause(span(1, 1, 10, 31), span(2, 2, 40, 50), span(3, 3, 60, 70), release=held(*waits))

    assert found == Cause("lock", at(5), wait=waits[1], holder=1, waiting=2, size=1)


def test_a_lock_that_nobody_inside_holds_is_not_to_blame() -> None:
    waits = (Wait(2, "lock", LOCK, (7,), at(5)),)

    assert cause(span(1, 1, 10, 31), span(2, 2, 40, 50), release=held(*waits)) is None


def test_a_semaphore_is_named_with_how_many_it_lets_in() -> None:
    waits = (Wait(3, "semaphore", LOCK, (1, 2), at(5)),)

    found = cause(span(1, 1, 10, 31), span(2, 2, 11, 32), span(3, 3, 60, 70), release=held(*waits, spans=(1, 2)))

    assert found == Cause("lock", at(5), wait=waits[0], holder=1, waiting=1, size=2)


def test_one_worker_that_fetches_its_work_from_a_queue_is_a_pool_of_one() -> None:
    uses = (Use(1, "took", "queue", 7, 9), Use(1, "took", "queue", 7, 25))

    found = cause(span(1, 1, 10, 20, done=20, caller=5), span(2, 1, 30, 40, caller=5), uses=uses)

    assert found == Cause("pool", at(5), size=1)


def test_two_workers_for_four_calls_are_a_pool_of_two() -> None:
    calls = (span(1, 1, 10, 20, done=20, caller=5), span(2, 2, 11, 21, done=21), span(3, 1, 30, 40), span(4, 2, 31, 41))
    uses = (Use(1, "took", "queue", 7, 25), Use(2, "took", "queue", 7, 26))

    assert cause(*calls, uses=uses) == Cause("pool", at(5), size=2)


def test_a_queue_that_was_read_once_is_no_pool() -> None:
    found = cause(span(1, 1, 10, 20), span(2, 1, 30, 40, caller=6), uses=[Use(1, "took", "queue", 7, 9)])

    assert found == Cause("in turn", at(6))


def test_the_chain_leads_from_the_caller_of_the_next_call_to_the_held_one() -> None:
    first = Wait(3, "task", on=(2,), place=at(7))
    second = Wait(2, "event", on=(1,), place=at(8))

    found = cause(span(1, 1, 10, 31), span(2, 3, 40, 50), release=held(second, first))

    assert found == Cause("chain", at(7), chain=(first, second))


def test_the_longest_block_inside_the_calls_comes_first() -> None:
    blocks = (block(1, 12, 0.1), block(2, 32, 0.5, line=9), block(2, 60, 3.0))

    found = cause(span(1, 1, 10, 20), span(2, 2, 30, 40), blocks=blocks)

    assert found == Cause("blocked", at(9), block=blocks[1])


def test_a_block_that_hinders_nobody_is_not_to_blame() -> None:
    assert cause(span(1, 1, 10, 20), span(2, 2, 30, 40), blocks=[block(1, 12, hinders=False)]) is None


def test_calls_awaited_in_turn_are_not_blamed_on_a_block_in_them() -> None:
    found = cause(span(1, 1, 10, 20), span(2, 1, 30, 40, caller=6), blocks=[block(1, 12)])

    assert found == Cause("in turn", at(6))


def test_calls_that_ran_from_start_to_end_in_one_step_never_suspended() -> None:
    strands = (strand(1, (9, 21)), strand(2, (29, 41)))

    found = cause(span(1, 1, 10, 20, done=19), span(2, 2, 30, 40, done=39), strands=strands)

    assert found == Cause("never suspended", at(1, "fetch"))


def test_a_call_that_took_two_steps_did_suspend() -> None:
    strands = (strand(1, (9, 12), (18, 21), first=1, last=50), strand(2, (29, 41), first=2, last=51))

    assert cause(span(1, 1, 10, 20, done=19), span(2, 2, 30, 40, done=39), strands=strands) is None


def test_strands_were_started_in_turn_where_each_one_began_after_the_end_of_the_last() -> None:
    strands = (strand(1, first=10, last=20, parent=9, line=5), strand(2, first=21, last=30, parent=9, line=6))

    assert cause_of(Trace(strands=strands), Verdict("broken", 1, strands=strands)) == Cause("started in turn", at(6))


def test_strands_of_different_parents_were_not_started_in_turn() -> None:
    strands = (strand(1, first=10, last=20, parent=8), strand(2, first=21, last=30, parent=9))

    assert cause_of(Trace(strands=strands), Verdict("broken", 1, strands=strands)) is None


def test_a_call_without_a_caller_comes_from_the_line_that_started_its_task() -> None:
    call = span(1, 1, 10, 20)

    assert called_from(Trace(strands=(strand(1, line=6),)), call) == at(6)


def test_no_calls_have_no_cause() -> None:
    assert cause() is None
