"""The whole text of every verdict on overlap, exactly as it is read."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_concurrency._judge import exclusion, overlap
from pytest_concurrency._judge.overlap import Overlap
from pytest_concurrency._show.messages import Page, exclusion_message, overlap_message
from pytest_concurrency._trace import Block, Place, Release, Span, Step, Strand, Trace, Use, Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

FETCH, STORE = "shop.client:fetch", "shop.client:store"
LOCK = 1001
PAGE = Page(root="/project")


def at(line: int, function: str = "checkout") -> Place:
    return Place("/project/shop/cart.py", line, function)


def strand(
    number: int,
    *steps: tuple[int, int],
    name: str | None = None,
    parent: int | None = None,
    line: int = 0,
    last: int | None = None,
) -> Strand:
    """A strand whose sequence numbers are milliseconds too."""
    return Strand(
        number,
        "asyncio-task",
        name or f"Task-{number}",
        1,
        1,
        parent=parent,
        first=steps[0][0] - 1 if steps else 0,
        start=steps[0][0] / 1000 if steps else 0.0,
        last=last,
        end=last / 1000 if last is not None else None,
        place=at(line) if line else None,
        started_by_test=True,
        steps=tuple(Step(first, last, first / 1000, last / 1000) for first, last in steps),
    )


def span(
    number: int, strand: int, first: int, last: int, *, done: int | None = None, line: int = 0, name: str = FETCH
) -> Span:
    return Span(
        number,
        strand,
        name,
        first,
        first / 1000,
        done,
        done / 1000 if done is not None else None,
        last,
        last / 1000,
        "returned",
        (at(line),) if line else (),
        place=Place("/project/shop/client.py", 3, "fetch"),
    )


def held(
    time: int, *waits: Wait, spans: tuple[int, ...] = (1,), reason: str = "quiet", pending: tuple[str, ...] = ()
) -> Release:
    return Release(time, time / 1000, 0, reason, spans, waits, pending)  # type: ignore[arg-type]


def message(
    *spans: Span,
    strands: Sequence[Strand],
    asked: Overlap | None = None,
    blocks: Sequence[Block] = (),
    releases: Sequence[Release] = (),
    uses: Sequence[Use] = (),
    backend: str = "asyncio",
    page: Page = PAGE,
) -> str:
    trace = Trace(
        backend=backend,
        spans=spans,
        strands=tuple(strands),
        blocks=tuple(blocks),
        releases=tuple(releases),
        uses=tuple(uses),
        seconds=0.2,
    )
    asked = asked or Overlap((FETCH,))
    verdict = overlap.judge(trace, asked)
    assert verdict.status != "held"
    return overlap_message(trace, asked, verdict, page)


def excluded(
    *spans: Span, uses: Sequence[Use] = (), releases: Sequence[Release] = (), targets: tuple[str, ...] = (FETCH,)
) -> str:
    strands = tuple(strand(number) for number in sorted({each.strand for each in spans}))
    trace = Trace(
        backend="asyncio", spans=spans, strands=strands, uses=tuple(uses), releases=tuple(releases), seconds=0.2
    )
    verdict = exclusion.judge(trace, targets)
    assert verdict.status != "held"
    return exclusion_message(trace, targets, verdict, PAGE)


def read(text: str) -> str:
    """Return *text* as it stands on the page, without this file's indentation."""
    return textwrap.dedent(text).strip()


IN_TURN = (span(1, 1, 10, 60, done=55, line=12), span(2, 1, 60, 110, line=12))
LOCKED = (Wait(1, "held"), Wait(2, "lock", LOCK, (1,), at(14)), Wait(3, "lock", LOCK, (1,), at(14)))
THREE = (span(1, 1, 10, 60, done=55, line=15), span(2, 2, 70, 100, line=15), span(3, 3, 105, 150, line=15))
STRANDS = [
    strand(1, (9, 12), (54, 62)),
    strand(2, (9, 11), (65, 75), (95, 101)),
    strand(3, (9, 11), (104, 106), (145, 151)),
]
LIMITED = (Wait(3, "semaphore", LOCK, (1, 2), at(14)),)
CHAIN = (Wait(3, "task", on=(2,), place=at(7, "main")), Wait(2, "event", on=(1,), place=at(8, "middle")))
BLOCK = Block(
    "sleep", "time.sleep", at(9, "fetch"), 0.03, "asyncio", strand=1, first=15, last=40, start=0.015, end=0.045
)


def test_calls_in_turn_name_the_line_that_waits() -> None:
    text = message(*IN_TURN, strands=[strand(1, (5, 12), (50, 62), (105, 115))], releases=[held(59)])

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#------------------###..                         | 0.00-0.05 s
          fetch#2 Task-1 |                        #---------------------###| 0.05-0.10 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        Awaited one after the other: shop/cart.py:12 in checkout waits for each call to
        end before the next one starts.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_on_trio_the_way_out_is_a_nursery() -> None:
    text = message(*IN_TURN, strands=[strand(1, (5, 12), (50, 62), (105, 115))], releases=[held(59)], backend="trio")

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#------------------###..                         | 0.00-0.05 s
          fetch#2 Task-1 |                        #---------------------###| 0.05-0.10 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        Awaited one after the other: shop/cart.py:12 in checkout waits for each call to
        end before the next one starts.

        Start all of them before waiting for any: nursery.start_soon().
        """
    )


def test_timers_beyond_patience_are_no_reason_to_wait() -> None:
    text = message(
        *IN_TURN, strands=[strand(1, (5, 12), (50, 62), (105, 115))], releases=[held(59, pending=("a timer",))]
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#------------------###..                         | 0.00-0.05 s
          fetch#2 Task-1 |                        #---------------------###| 0.05-0.10 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing could move before patience
        runs out.

        Awaited one after the other: shop/cart.py:12 in checkout waits for each call to
        end before the next one starts.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_patience_that_ran_out_is_said() -> None:
    text = message(
        *IN_TURN,
        strands=[strand(1, (5, 12), (50, 62), (105, 115))],
        releases=[held(59, reason="patience", pending=("a timer",))],
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#------------------###..                         | 0.00-0.05 s
          fetch#2 Task-1 |                        #---------------------###| 0.05-0.10 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until patience ran out.

        Awaited one after the other: shop/cart.py:12 in checkout waits for each call to
        end before the next one starts.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_a_lock_is_named_with_its_holder() -> None:
    text = message(*THREE, strands=STRANDS, releases=[held(59, *LOCKED)], asked=Overlap((FETCH,), 3))

    assert text == read(
        """
        expected 3 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#--------------#.                                | 0.00-0.05 s
          fetch#2 Task-2 |                     #-------##                  | 0.06-0.09 s
          fetch#3 Task-3 |                                 #-------------##| 0.10-0.14 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        A lock lets them in one at a time: 'Task-1' holds it during its call, and 2
        others wait at shop/cart.py:14 in checkout.

        Hold it for less: do the call outside, or allow more at once.
        """
    )


def test_one_other_waits_for_a_lock() -> None:
    text = message(*THREE, strands=STRANDS, releases=[held(59, *LOCKED[:2])], asked=Overlap((FETCH,), 3))

    assert text == read(
        """
        expected 3 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#--------------#.                                | 0.00-0.05 s
          fetch#2 Task-2 |                     #-------##                  | 0.06-0.09 s
          fetch#3 Task-3 |                                 #-------------##| 0.10-0.14 s
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        A lock lets them in one at a time: 'Task-1' holds it during its call, and 1
        other waits at shop/cart.py:14 in checkout.

        Hold it for less: do the call outside, or allow more at once.
        """
    )


def test_a_semaphore_is_named_with_how_many_it_lets_in() -> None:
    text = message(
        span(1, 1, 10, 60, done=55),
        span(2, 2, 11, 60, done=55),
        span(3, 3, 105, 150),
        strands=STRANDS,
        releases=[held(59, *LIMITED, spans=(1, 2))],
        asked=Overlap((FETCH,), 3),
    )

    assert text == read(
        """
        expected 3 calls of shop.client:fetch at once, saw at most 2

          fetch#1 Task-1 |#--------------#.                                | 0.00-0.05 s
          fetch#2 Task-2 |---------------..                                | 0.00-0.05 s
          fetch#3 Task-3 |                                 #-------------##| 0.10-0.14 s
          # running   - waiting   . done, held for the proof

        fetch#1, fetch#2: held at the end for 4.0 ms, until nothing else in the program
        could move.

        A semaphore lets in only 2 at a time: while they hold it, 1 other waits at
        shop/cart.py:14 in checkout.

        Hold it for less: do the call outside, or allow more at once.
        """
    )


def test_a_pool_of_one_is_named() -> None:
    text = message(*IN_TURN, strands=[strand(1)], uses=[Use(1, "took", "queue", 7, 57)], releases=[held(59)])

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |######################..                         | 0.00-0.05 s
          fetch#2 Task-1 |                        #########################| 0.05-0.10 s
          # running   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        One worker makes all the calls, from a queue, at shop/cart.py:12 in checkout:
        there are no more at once than workers.

        Start at least 2 workers.
        """
    )


def test_a_pool_that_is_too_small_is_named() -> None:
    text = message(
        span(1, 1, 10, 50, done=49, line=12),
        span(2, 2, 11, 51, done=50),
        span(3, 1, 60, 90),
        span(4, 2, 61, 91),
        strands=[strand(1), strand(2)],
        uses=[Use(1, "took", "queue", 7, 55), Use(2, "took", "queue", 7, 56)],
        asked=Overlap((FETCH,), 3),
    )

    assert text == read(
        """
        expected 3 calls of shop.client:fetch at once, saw at most 2

          fetch#1 Task-1 |#######################.                        | 0.0-40.0 ms
          fetch#2 Task-2 |#######################.                        | 1.0-41.0 ms
          fetch#3 Task-1 |                             ################## | 50.0-80.0 ms
          fetch#4 Task-2 |                              ##################| 51.0-81.0 ms
          # running   . done, held for the proof

        2 workers make all the calls, from a queue, at shop/cart.py:12 in checkout:
        there are no more at once than workers.

        Start at least 3 workers.
        """
    )


def test_a_chain_is_told_link_by_link() -> None:
    text = message(span(1, 1, 10, 60, done=55), span(2, 3, 70, 100), strands=STRANDS, releases=[held(59, *CHAIN)])

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#----------------------#..                      | 0.0-50.0 ms
          fetch#2 Task-3 |                                ----------------| 60.0-90.0 ms
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        The next call never started, since its caller waits for the first: 'Task-3'
        waits at shop/cart.py:7 in main; 'Task-2' waits at shop/cart.py:8 in middle.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_a_call_that_blocked_the_loop_is_named() -> None:
    text = message(
        span(1, 1, 10, 50, done=49),
        span(2, 2, 60, 100, done=99),
        strands=[strand(1, (9, 51)), strand(2, (59, 101))],
        blocks=[BLOCK],
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |##XXXXXXXXXXXXXXXX##.                           | 0.0-40.0 ms
          fetch#2 Task-2 |                          #####################.| 50.0-90.0 ms
          # running   X blocking the loop   . done, held for the proof

        time.sleep blocked the event loop for 30.0 ms, at shop/cart.py:9 in fetch:
        nothing else could run meanwhile.

        Await the asyncio way of doing it, or move the call to a thread:
        asyncio.to_thread().
        """
    )


def test_on_trio_the_way_out_of_a_block_is_trios_thread() -> None:
    text = message(
        span(1, 1, 10, 50, done=49),
        span(2, 2, 60, 100, done=99),
        strands=[strand(1, (9, 51)), strand(2, (59, 101))],
        blocks=[replace(BLOCK, seconds=None)],
        backend="trio",
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |##XXXXXXXXXXXXXXXX##.                           | 0.0-40.0 ms
          fetch#2 Task-2 |                          #####################.| 50.0-90.0 ms
          # running   X blocking the loop   . done, held for the proof

        time.sleep blocked the event loop, at shop/cart.py:9 in fetch: nothing else
        could run meanwhile.

        Await the trio way of doing it, or move the call to a thread:
        trio.to_thread.run_sync().
        """
    )


def test_calls_that_never_suspended_are_told() -> None:
    text = message(
        span(1, 1, 10, 50, done=49), span(2, 2, 60, 100, done=99), strands=[strand(1, (9, 51)), strand(2, (59, 101))]
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |####################.                           | 0.0-40.0 ms
          fetch#2 Task-2 |                          #####################.| 50.0-90.0 ms
          # running   . done, held for the proof

        The calls finished without ever awaiting: shop/client.py:3 in fetch ran in one
        step from start to end; no other could get in.

        Await something inside, or do the work in threads or processes.
        """
    )


def test_in_greenlets_the_way_out_is_gevents() -> None:
    text = message(*IN_TURN, strands=[strand(1, (5, 12), (50, 62), (105, 115))], releases=[held(59)], backend="gevent")

    assert text.endswith(
        read(
            """
            Run one after the other: shop/cart.py:12 in checkout waits for each call to end
            before the next one starts.

            Start all of them before waiting for any: gevent.spawn() for each, then
            gevent.joinall().
            """
        )
    )


def test_a_pool_of_greenlets_is_named() -> None:
    def text(*inside: int) -> str:
        return message(
            *(span(number, number, 10, 50, done=49) for number in inside),
            span(9, 9, 60, 100, done=99),
            strands=[strand(number, (9, 51)) for number in inside] + [strand(8), strand(9, (59, 101))],
            releases=[held(50, Wait(8, "pool", LOCK, inside, at(7)), spans=inside)],
            asked=Overlap((FETCH,), at_least=len(inside) + 1),
            backend="gevent",
        )

    assert text(1).endswith(
        read(
            """
            A pool of greenlets lets them in one at a time: the next one waits for a place
            in it at shop/cart.py:7 in checkout.

            Give the pool a size of at least 2.
            """
        )
    )
    assert "A pool of greenlets lets them in only 2 at a time: the next one waits" in text(1, 2)


def test_a_block_in_greenlets_is_told_in_gevents_words() -> None:
    text = message(
        span(1, 1, 10, 50, done=49),
        span(2, 2, 60, 100, done=99),
        strands=[strand(1, (9, 51)), strand(2, (59, 101))],
        blocks=[replace(BLOCK, seconds=None)],
        backend="gevent",
    )

    assert text.endswith(
        read(
            """
            time.sleep blocked the event loop, at shop/cart.py:9 in fetch: nothing else
            could run meanwhile.

            Use the gevent way of doing it, or move the call to a thread:
            gevent.get_hub().threadpool.apply().
            """
        )
    )


def test_greenlets_that_never_let_another_run_are_told() -> None:
    text = message(
        span(1, 1, 10, 50, done=49),
        span(2, 2, 60, 100, done=99),
        strands=[strand(1, (9, 51)), strand(2, (59, 101))],
        backend="gevent",
    )

    assert text.endswith(
        read(
            """
            The calls finished without ever letting another greenlet run: shop/client.py:3
            in fetch ran in one step from start to end; no other could get in.

            Wait for something of gevent's inside, or do the work in threads or processes.
            """
        )
    )


def test_an_unknown_cause_is_left_out() -> None:
    text = message(
        span(1, 1, 10, 50, done=49), span(2, 2, 60, 100, done=99), strands=[strand(1, (9, 11)), strand(2, (59, 61))]
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#-------------------.                           | 0.0-40.0 ms
          fetch#2 Task-2 |                          #--------------------.| 50.0-90.0 ms
          # running   - waiting   . done, held for the proof
        """
    )


def test_one_call_only() -> None:
    text = message(span(1, 1, 10, 60, done=55, line=12), strands=[strand(1, (9, 12), (54, 62))], releases=[held(59)])

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |#------------------------------------------#.....| 0.0-50.0 ms
          # running   - waiting   . done, held for the proof

        fetch#1: held at the end for 4.0 ms, until nothing else in the program could
        move.

        Only one call was made, by shop/cart.py:12 in checkout: there was nothing for it
        to overlap with.
        """
    )


def test_no_call_at_all() -> None:
    text = message(strands=[])

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once, saw none at all

        shop.client:fetch was never called in this test. If the code under test calls
        something else, name that; if it did not run, the test proves nothing.
        """
    )


def test_one_of_two_targets_was_never_called() -> None:
    text = message(span(1, 1, 10, 60), strands=[strand(1)], asked=Overlap((FETCH, STORE)))

    assert text == read(
        """
        expected 2 targets in progress at once, saw at most 1

        shop.client:store was never called in this test. If the code under test calls
        something else, name that; if it did not run, the test proves nothing.
        """
    )


def test_two_targets_were_never_called() -> None:
    text = message(strands=[], asked=Overlap((FETCH, STORE)))

    assert text == read(
        """
        expected 2 targets in progress at once, saw none at all

        shop.client:fetch and shop.client:store were never called in this test. If the
        code under test calls something else, name that; if it did not run, the test
        proves nothing.
        """
    )


def test_two_targets_in_turn() -> None:
    text = message(
        span(1, 1, 10, 60, line=11),
        span(2, 1, 70, 100, line=12, name=STORE),
        strands=[strand(1, (9, 101))],
        asked=Overlap((FETCH, STORE)),
    )

    assert text == read(
        """
        expected 2 targets in progress at once, saw at most 1

          fetch#1 Task-1 |##########################                      | 0.0-50.0 ms
          store#1 Task-1 |                                ################| 60.0-90.0 ms
          # running

        Awaited one after the other: shop/cart.py:12 in checkout waits for each call to
        end before the next one starts.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_a_limit_that_does_not_hold() -> None:
    text = message(
        span(1, 1, 10, 60, line=11),
        span(2, 2, 20, 70, line=11),
        span(3, 3, 30, 80, line=12),
        strands=[strand(1), strand(2), strand(3)],
        asked=Overlap((FETCH,), 2, 2),
    )

    assert text == read(
        """
        expected at most 2 calls of shop.client:fetch at once, saw 3

          fetch#1 Task-1 |##################################              | 0.0-50.0 ms
          fetch#2 Task-2 |      ###################################       | 10.0-60.0 ms
          fetch#3 Task-3 |             ###################################| 20.0-70.0 ms
          # running

        The limit of 2 does not hold. The one too many: shop/cart.py:12 in checkout.
        Take the semaphore or limiter around every call.
        """
    )


def test_a_limit_that_is_never_reached() -> None:
    text = message(
        span(1, 1, 10, 60, done=55, line=11),
        span(2, 2, 20, 60, done=55, line=11),
        span(3, 3, 90, 100, line=12),
        strands=[strand(1), strand(2), strand(3)],
        asked=Overlap((FETCH,), 2, 3),
        releases=[held(59, spans=(1, 2))],
    )

    assert text == read(
        """
        expected 3 calls of shop.client:fetch at once and the next one outside, saw 2 of 3 calls

          fetch#1 Task-1 |#######################...                      | 0.0-50.0 ms
          fetch#2 Task-2 |     ##################...                      | 10.0-50.0 ms
          fetch#3 Task-3 |                                          ######| 80.0-90.0 ms
          # running   . done, held for the proof

        fetch#1, fetch#2: held at the end for 4.0 ms, until nothing else in the program
        could move.

        At most 2 were in at once, so the limit of 3 was never reached: it may be
        smaller than that, or the calls are started too slowly.
        """
    )


def test_a_limit_that_is_never_tested() -> None:
    text = message(
        span(1, 1, 10, 60, done=55, line=11),
        span(2, 2, 20, 60, done=55, line=11),
        strands=[strand(1), strand(2), strand(3)],
        asked=Overlap((FETCH,), 2, 2),
        releases=[held(59, spans=(1, 2))],
    )

    assert text == read(
        """
        expected 2 calls of shop.client:fetch at once and the next one outside, saw 2 of 2 calls

          fetch#1 Task-1 |###########################################.....| 0.0-50.0 ms
          fetch#2 Task-2 |         ##################################.....| 10.0-50.0 ms
          # running   . done, held for the proof

        fetch#1, fetch#2: held at the end for 4.0 ms, until nothing else in the program
        could move.

        No call was waiting outside while 2 were in: the limit was never tested. Make
        more than 2 calls.
        """
    )


def test_an_open_verdict_says_what_is_pending() -> None:
    text = message(
        span(1, 1, 10, 160, done=55, line=11),
        strands=[strand(1), strand(2)],
        releases=[held(159, reason="patience", pending=("a socket, awaited by 'Task-2' at /project/shop/wire.py:8",))],
    )

    assert text == read(
        """
        inconclusive: expected 2 calls of shop.client:fetch at once, saw at most 1

          fetch#1 Task-1 |##############...................................| 0.00-0.15 s
          # running   . done, held for the proof

        fetch#1: held at the end for 0.10 s, until patience ran out.

        Still pending when patience ran out: a socket, awaited by 'Task-2' at
        shop/wire.py:8. The others may only have been late. Let the far end answer in
        the test (a fake, a server on loopback), or raise patience.
        """
    )


def test_no_strands_at_all() -> None:
    text = message(strands=[], asked=Overlap())

    assert text == read(
        """
        expected 2 strands of the test at once, saw at most 0

        The test started no task, thread or process: there is nothing that could
        overlap.
        """
    )


def test_one_strand_only() -> None:
    text = message(strands=[strand(1, (10, 20), last=21)], asked=Overlap())

    assert text == read(
        """
        expected 2 strands of the test at once, saw at most 1

          Task-1 |###################################################------| 0.0-11.0 ms
          # running   - waiting

        Only one strand was started: there was nothing for it to overlap with.
        """
    )


def test_strands_started_in_turn() -> None:
    text = message(
        strands=[strand(1, (10, 20), last=21, parent=9, line=5), strand(2, (30, 50), last=51, parent=9, line=5)],
        asked=Overlap(),
    )

    assert text == read(
        """
        expected 2 strands of the test at once, saw at most 1

          Task-1 |#############--                                         | 0.0-11.0 ms
          Task-2 |                           ###########################--| 20.0-41.0 ms
          # running   - waiting

        Started one after the other: shop/cart.py:5 in checkout starts each one when the
        one before has ended.

        Start all of them before waiting for any: asyncio.gather() or an
        asyncio.TaskGroup.
        """
    )


def test_a_strand_that_blocked_the_loop() -> None:
    text = message(
        strands=[strand(1, (9, 50), last=51, parent=9, line=5), strand(2, (60, 70), last=71, parent=9, line=5)],
        asked=Overlap(),
        blocks=[BLOCK],
    )

    assert text == read(
        """
        expected 2 strands of the test at once, saw at most 1

          Task-1 |#####XXXXXXXXXXXXXXXXXXXXXXXXXXX#####                   | 0.0-42.0 ms
          Task-2 |                                              #########-| 51.0-62.0 ms
          # running   - waiting   X blocking the loop

        time.sleep blocked the event loop for 30.0 ms, at shop/cart.py:9 in fetch:
        nothing else could run meanwhile.

        Await the asyncio way of doing it, or move the call to a thread:
        asyncio.to_thread().
        """
    )


def test_of_many_held_calls_only_some_are_named() -> None:
    text = message(
        *(span(n, n, 10 + n, 160, done=30, line=11) for n in range(1, 7)),
        strands=[strand(n) for n in range(1, 7)],
        asked=Overlap((FETCH,), 9),
        releases=[held(59, spans=tuple(range(1, 7)))],
    )

    assert text == read(
        """
        expected 9 calls of shop.client:fetch at once, saw at most 6

          fetch#1 Task-1 |######...........................................| 0.00-0.15 s
          fetch#2 Task-2 |######...........................................| 0.00-0.15 s
          fetch#3 Task-3 |######...........................................| 0.00-0.15 s
          fetch#4 Task-4 |######...........................................| 0.00-0.15 s
          fetch#5 Task-5 | #####...........................................| 0.00-0.15 s
          fetch#6 Task-6 | #####...........................................| 0.01-0.15 s
          # running   . done, held for the proof

        fetch#1, fetch#2, fetch#3, fetch#4 and 2 more: held at the end for 29.0 ms,
        until nothing else in the program could move.
        """
    )


def test_exclusion_without_a_call() -> None:
    text = excluded()

    assert text == read(
        """
        expected calls of shop.client:fetch one at a time, saw too few to tell

        shop.client:fetch was never called in this test. If the code under test calls
        something else, name that; if it did not run, the test proves nothing.
        """
    )


def test_exclusion_with_one_call() -> None:
    text = excluded(span(1, 1, 10, 60, line=12))

    assert text == read(
        """
        expected calls of shop.client:fetch one at a time, saw one call only

          fetch#1 Task-1 |#################################################| 0.0-50.0 ms
          # running

        Only one call was made, by shop/cart.py:12 in checkout: nothing could have got
        in. Make at least two.
        """
    )


def test_exclusion_that_nothing_provides() -> None:
    text = excluded(span(1, 1, 10, 60, line=12), span(2, 2, 40, 90, line=13))

    assert text == read(
        """
        expected calls of shop.client:fetch one at a time, saw 2 in progress together

          fetch#1 Task-1 |#############################                   | 0.0-50.0 ms
          fetch#2 Task-2 |                  ##############################| 30.0-80.0 ms
          # running

        fetch#1 was in, called by shop/cart.py:12 in checkout.
        fetch#2 got in, called by shop/cart.py:13 in checkout.
        Nothing keeps them apart: hold one lock around both calls, from start to end.
        """
    )


def test_exclusion_that_ended_too_early() -> None:
    text = excluded(
        span(1, 1, 10, 60, line=12),
        span(2, 2, 40, 90, line=13),
        uses=[Use(1, "gave", "lock", LOCK, 30, at(21, "fetch")), Use(2, "took", "lock", LOCK, 35)],
    )

    assert text == read(
        """
        expected calls of shop.client:fetch one at a time, saw 2 in progress together

          fetch#1 Task-1 |#############################                   | 0.0-50.0 ms
          fetch#2 Task-2 |                  ##############################| 30.0-80.0 ms
          # running

        fetch#1 was in, called by shop/cart.py:12 in checkout.
        fetch#2 got in, called by shop/cart.py:13 in checkout.
        The lock was given back too early, at shop/cart.py:21 in fetch: hold it until
        the call has ended.
        """
    )


def test_exclusion_that_is_left_open() -> None:
    text = excluded(
        span(1, 1, 10, 60, line=12),
        span(2, 2, 70, 90, line=13),
        releases=[
            held(
                59,
                Wait(2, "io"),
                reason="patience",
                pending=("a socket, awaited by 'Task-2' at /project/shop/wire.py:8",),
            )
        ],
    )

    assert text == read(
        """
        inconclusive: expected calls of shop.client:fetch one at a time

          fetch#1 Task-1 |#############################                   | 0.0-50.0 ms
          fetch#2 Task-2 |                                    ############| 60.0-80.0 ms
          # running

        Still pending when patience ran out: a socket, awaited by 'Task-2' at
        shop/wire.py:8. The next call came late; nothing shows that a lock kept it out.
        Let the far end answer in the test, or raise patience.
        """
    )


def test_exclusion_of_two_targets() -> None:
    text = excluded(span(1, 1, 10, 60, line=12), span(2, 2, 40, 90, line=13, name=STORE), targets=(FETCH, STORE))

    assert text == read(
        """
        expected calls of shop.client:fetch or shop.client:store one at a time, saw 2 in progress together

          fetch#1 Task-1 |#############################                   | 0.0-50.0 ms
          store#1 Task-2 |                  ##############################| 30.0-80.0 ms
          # running

        fetch#1 was in, called by shop/cart.py:12 in checkout.
        store#1 got in, called by shop/cart.py:13 in checkout.
        Nothing keeps them apart: hold one lock around both calls, from start to end.
        """
    )


def test_a_place_below_the_root_is_named_relative_to_it() -> None:
    assert PAGE.at(at(12)) == "shop/cart.py:12 in checkout"


def test_a_place_outside_the_root_keeps_its_whole_path() -> None:
    assert PAGE.at(Place("/elsewhere/cart.py", 12, "checkout")) == "/elsewhere/cart.py:12 in checkout"


def test_a_place_without_a_root_keeps_its_whole_path() -> None:
    assert Page().at(at(12)) == "/project/shop/cart.py:12 in checkout"


def test_a_place_that_nobody_knows_is_said_in_words() -> None:
    assert PAGE.at(None) == "an unknown line"


def test_a_path_longer_than_a_line_stays_whole() -> None:
    place = f"/elsewhere/{'x' * 100}/cart.py:12 in checkout"

    assert place.partition(" ")[0] in PAGE.wrapped(f"Only one call was made, by {place}.").split()


def test_a_wide_page_is_used_to_its_width() -> None:
    wide = Page(root="/project", width=120)

    lines = message(*IN_TURN, strands=[strand(1, (5, 12), (50, 62), (105, 115))], page=wide).splitlines()

    assert lines[2].endswith("| 0.00-0.05 s")
    assert max(map(len, lines)) == 120
