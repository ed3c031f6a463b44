"""Spans as bars, of traces written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._show.timeline import (
    ASCII,
    MOST_ROWS,
    UNICODE,
    Parts,
    as_spans,
    draw,
    labels,
    parts,
    strand_label,
)
from pytest_concurrency._trace import Block, Place, Span, Step, Strand, Trace

if TYPE_CHECKING:
    from collections.abc import Sequence


def span(
    number: int,
    start: float,
    end: float | None,
    *,
    strand: int | None = None,
    done: float | None = None,
    name: str = "shop:fetch",
) -> Span:
    return Span(number, strand or number, name, number, start, done_time=done, last=99 if end else None, end=end)


def strand(number: int, *steps: tuple[float, float], name: str | None = None) -> Strand:
    return Strand(
        number,
        "asyncio-task",
        name or f"Task-{number}",
        1,
        1,
        steps=tuple(Step(0, 0, start, end) for start, end in steps),
    )


def block(strand: int, start: float, end: float, *, hinders: bool = True) -> Block:
    place = Place("/project/shop.py", 7, "fetch")
    return Block(
        "sleep", "time.sleep", place, end - start, "asyncio", strand=strand, start=start, end=end, hinders=hinders
    )


def trace(*spans: Span, strands: Sequence[Strand] = (), blocks: Sequence[Block] = (), seconds: float = 9.0) -> Trace:
    known = {each.id for each in strands}
    rest = [strand(number) for number in sorted({each.strand for each in spans} - known)]
    return Trace(spans=spans, strands=(*strands, *rest), blocks=tuple(blocks), seconds=seconds)


def test_nothing_is_drawn_of_nothing() -> None:
    assert draw(trace(), ()) == []


def test_bars_lie_where_the_spans_were() -> None:
    drawn = trace(span(1, 1.0, 2.0), span(2, 1.5, 2.5), span(3, 2.0, 3.0))

    assert draw(drawn, drawn.spans, width=59) == [
        "  fetch#1 Task-1 |##############              | 0.00-1.00 s",
        "  fetch#2 Task-2 |       ##############       | 0.50-1.50 s",
        "  fetch#3 Task-3 |              ##############| 1.00-2.00 s",
        "  # running",
    ]


def test_short_times_are_in_milliseconds() -> None:
    drawn = trace(span(1, 1.0, 1.0625))

    assert draw(drawn, drawn.spans, width=60)[0].endswith("| 0.0-62.5 ms")


def test_running_waiting_blocking_and_being_held_look_different() -> None:
    drawn = trace(
        span(1, 0.0, 10.0, done=8.0),
        strands=[strand(1, (0.0, 1.0), (4.0, 6.0), (7.0, 8.0))],
        blocks=[block(1, 4.0, 6.0)],
    )

    assert draw(drawn, drawn.spans, width=62) == [
        "  fetch#1 Task-1 |###---------XXXXXX---###......| 0.00-10.00 s",
        "  # running   - waiting   X blocking the loop   . done, held for the proof",
    ]


def test_a_terminal_that_can_shows_blocks() -> None:
    drawn = trace(
        span(1, 0.0, 10.0, done=8.0),
        strands=[strand(1, (0.0, 1.0), (4.0, 6.0), (7.0, 8.0))],
        blocks=[block(1, 4.0, 6.0)],
    )

    assert draw(drawn, drawn.spans, width=62, style=UNICODE)[0] == (
        "  fetch#1 Task-1 |███─────────▓▓▓▓▓▓───███······| 0.00-10.00 s"
    )


def test_only_the_signs_in_the_picture_are_explained() -> None:
    drawn = trace(span(1, 0.0, 1.0), strands=[strand(1, (0.0, 0.5))])

    assert draw(drawn, drawn.spans)[-1] == "  # running   - waiting"


def test_the_shortest_step_is_seen() -> None:
    drawn = trace(span(1, 0.0, 10.0), strands=[strand(1, (5.0, 5.0001))])

    assert draw(drawn, drawn.spans)[0].count("#") == 2  # one in `fetch#1`


def test_a_span_of_no_length_is_seen() -> None:
    drawn = trace(span(1, 0.0, 10.0), span(2, 10.0, 10.0), strands=[strand(1), strand(2)])

    assert draw(drawn, drawn.spans)[1].endswith(" #| 10.00-10.00 s")


def test_an_open_span_reaches_to_the_end_of_the_recording() -> None:
    drawn = trace(span(1, 1.0, None), seconds=3.0)

    assert draw(drawn, drawn.spans)[0].endswith("| 0.00-2.00 s")


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_asked(width: int) -> None:
    drawn = trace(span(1, 0.0, 10.0), span(2, 5.0, 20.0, name="shop.client:Client.fetch_with_a_very_long_name_indeed"))

    assert max(map(len, draw(drawn, drawn.spans, width=width))) <= width


def test_a_long_label_is_cut() -> None:
    drawn = trace(span(1, 0.0, 10.0), strands=[strand(1, name="x" * 40)])

    assert draw(drawn, drawn.spans)[0].startswith("  fetch#1 " + "x" * 21 + "~ |")


def test_more_spans_than_a_screen_takes_are_counted() -> None:
    drawn = trace(*(span(number, float(number), number + 1.0) for number in range(1, MOST_ROWS + 4)))

    lines = draw(drawn, drawn.spans)

    assert lines[-2] == "  ... and 3 more calls"
    assert len(lines) == MOST_ROWS + 2


def test_spans_are_drawn_in_the_order_in_which_they_began() -> None:
    drawn = trace(span(2, 5.0, 6.0), span(1, 0.0, 1.0))

    assert [line.split()[0] for line in draw(drawn, drawn.spans)[:2]] == ["fetch#1", "fetch#2"]


def test_labels_are_the_functions_own_names_counted() -> None:
    drawn = trace(span(1, 0.0, 1.0), span(2, 0.0, 1.0, name="shop.client:Client.store"), span(3, 0.0, 1.0))

    assert labels(drawn, drawn.spans) == {1: "fetch#1", 2: "store#1", 3: "fetch#2"}


def test_two_functions_of_one_name_keep_what_tells_them_apart() -> None:
    drawn = trace(span(1, 0.0, 1.0, name="shop:Cart.add"), span(2, 0.0, 1.0, name="shop:Order.add"))

    assert labels(drawn, drawn.spans) == {1: "Cart.add#1", 2: "Order.add#1"}


def test_two_functions_of_one_path_in_two_modules_are_told_apart() -> None:
    drawn = trace(span(1, 0.0, 1.0, name="shop:fetch"), span(2, 0.0, 1.0, name="market:fetch"))

    assert labels(drawn, drawn.spans) == {1: "shop:fetch#1", 2: "market:fetch#1"}


def test_a_strands_label_is_its_name_without_the_path() -> None:
    drawn = Trace(strands=(strand(1, name="test_shop.test_it.<locals>.worker"), strand(2, name="Task-2")))

    assert [strand_label(drawn, number) for number in (1, 2)] == ["worker", "Task-2"]


def test_strands_are_drawn_under_their_names() -> None:
    shown = Strand(1, "trio-task", "shop.worker", 1, 1, first=1, start=0.0, last=2, end=1.0)
    drawn = Trace(strands=(shown,))

    assert draw(drawn, as_spans(drawn.strands), width=60)[0].startswith("  worker |")


def test_a_spans_time_is_told_apart() -> None:
    told = trace(
        span(1, 1.0, 9.0),
        strands=[strand(1, (0.0, 2.0), (4.0, 6.0), (8.0, 10.0))],
        blocks=[block(1, 4.5, 5.5), block(1, 4.0, 4.2, hinders=False)],
    )

    assert parts(told, told.spans[0]) == Parts(running=3.0, waiting=4.0, blocked=1.0)


def test_a_strand_whose_steps_nobody_saw_was_running() -> None:
    told = trace(span(1, 1.0, 3.0))

    assert parts(told, told.spans[0]) == Parts(running=2.0, waiting=0.0, blocked=0.0)


def test_ascii_takes_no_more_than_ascii() -> None:
    assert "".join((ASCII.running, ASCII.waiting, ASCII.blocked, ASCII.held)).isascii()
