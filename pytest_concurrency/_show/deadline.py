"""The words for a test that took too long: by which clock, and the critical path. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._judge.critical_path import attack, critical_path
from .._judge.deadline import judged, stolen
from .timeline import draw, strand_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._judge.critical_path import Piece
    from .._trace import Block, Duration, Trace
    from .messages import Page

_MOST = 10
_WORDS = {
    "running": "running",
    "timer": "sleep",
    "lock": "wait for a lock",
    "semaphore": "wait for a semaphore",
    "limiter": "wait for a limiter",
    "queue": "wait for a queue",
    "event": "wait for an event",
    "task": "wait for a task",
    "worker": "wait for a worker thread",
    "io": "wait for a socket",
}


def deadline_message(
    trace: Trace | None, duration: Duration, limit: float, page: Page, blocks: Sequence[Block] = ()
) -> str:
    """Return why *duration* is too long where *limit* seconds are allowed.

    Args:
        blocks: Calls that blocked a loop.
    """
    took, allowed = apart(judged(duration), limit)
    virtual = duration.clock == "virtual"
    paragraphs = [f"took {took}{' of virtual time' if virtual else ''}, expected at most {allowed}"]
    path = critical_path(trace, duration.wall, least=limit / 100) if trace is not None else ()
    if trace is not None and any(piece.strand is not None for piece in path):
        paragraphs += _path(trace, path, duration.wall, page)
    elif trace is not None and trace.spans and not virtual:
        paragraphs.append("\n".join(draw(trace, trace.spans, width=page.width, style=page.style)))
    if virtual:
        paragraphs += _blocked(blocks, page)
        paragraphs.append(
            page.wrapped(
                "Only waiting counts on the virtual clock, so this is the same on every machine: some waits come one"
                f" after the other, or one is too long. Let them overlap: {_together(trace)}."
            )
        )
    else:
        paragraphs.append(page.wrapped(_real(duration)))
    return "\n\n".join(paragraphs)


def _together(trace: Trace | None) -> str:
    if trace is not None and trace.backend == "trio":
        return "start them in one nursery"
    return (
        "asyncio.gather() or an asyncio.TaskGroup"
        if trace is not None and trace.backend
        else ("asyncio.gather(), a TaskGroup or a trio nursery")
    )


def _path(trace: Trace, path: Sequence[Piece], seconds: float, page: Page) -> list[str]:
    shown = sorted(sorted(path, key=lambda piece: -piece.seconds)[:_MOST], key=lambda piece: piece.start)
    digits = 3 if seconds < 10 else 1
    times = [f"{piece.start:.{digits}f}-{piece.end:.{digits}f} s" for piece in shown]
    names = [strand_label(trace, piece.strand) if piece.strand is not None else "the test" for piece in shown]
    left = min(max(map(len, names)), 24)
    room = max(10, page.width - 2 - left - 4 - max(map(len, times)))
    lines = ["The critical path, which nothing else can make shorter:"]
    for piece, name, time in zip(shown, names, times, strict=True):
        first = min(int(piece.start / seconds * room), room - 1)
        last = min(max(int(piece.end / seconds * room), first + 1), room)
        sign = page.style.running if piece.kind == "running" else page.style.waiting
        bar = f"{' ' * first}{sign * (last - first)}{' ' * (room - last)}"
        label = name if len(name) <= left else name[: left - 1] + "~"
        lines.append(f"  {label:<{left}} |{bar}| {time}")
        lines.append(f"    {_words(piece)}{_at(piece, page)}")
        if piece.held_up is not None:
            lines.append(f"    while the next one waited for its {piece.held_up}")
    if len(path) > len(shown):
        lines.append(f"  ... and {len(path) - len(shown)} shorter pieces")
    worst, most = attack(path)
    share = f"{apart(most, 0.0)[0]} of {apart(seconds, 0.0)[0]}, {most / seconds:.0%}"
    advice = f"Attack this first: the {_WORDS.get(worst.kind, 'wait')}{_at(worst, page)} ({share})."
    return ["\n".join(lines), page.wrapped(advice)]


def _words(piece: Piece) -> str:
    count = f", {piece.times} times," if piece.times > 1 and piece.kind != "running" else ""
    span = f" of {piece.span}" if piece.span is not None else ""
    return f"{_WORDS.get(piece.kind, 'wait')}{span}{count}"


def _at(piece: Piece, page: Page) -> str:
    return f" at {page.at(piece.place)}" if piece.place is not None else ""


def _blocked(blocks: Sequence[Block], page: Page) -> list[str]:
    """Return what was said of blocking calls, whose seconds are real and not in those of the clock."""
    timed = [block for block in blocks if block.seconds is not None]
    if not timed:
        return []
    worst = max(timed, key=lambda block: block.seconds or 0.0)
    real = apart(sum(block.seconds or 0.0 for block in timed), 0.0)[0]
    calls = "1 call" if len(timed) == 1 else f"{len(timed)} calls"
    return [
        page.wrapped(
            f"Besides, {calls} blocked the event loop for {real} of real time, which is not in the virtual time above;"
            f" the longest was {worst.call} at {page.at(worst.place)}."
        )
    ]


def _real(duration: Duration) -> str:
    way_out = "To measure the test's waiting alone, and exactly, mark it with virtual_clock as well."
    if duration.queued is None:
        return (
            "Judged by the wall clock, with the load of the machine in it: this system does not say how long a thread"
            f" waits for a processor. {way_out}"
        )
    hit = stolen(duration)
    if duration.queued < 0.0005 and hit < 0.0005:
        return f"Judged by the test's own computing and waiting: it had a processor whenever it wanted one. {way_out}"
    left_out = f"{apart(duration.queued, 0.0)[0]} of waiting for a processor"
    if hit >= 0.0005:
        left_out += f" and {apart(hit, 0.0)[0]} that the hypervisor stole"
    return (
        f"Judged by the test's own computing and waiting: of {apart(duration.wall, 0.0)[0]} on the wall clock,"
        f" {left_out} do not count. {way_out}"
    )


def apart(one: float, other: float) -> tuple[str, str]:
    """Return both as text, with as few decimals as tell them apart."""
    for decimals in (3, 6, 9, 17):
        texts = _written(one, decimals), _written(other, decimals)
        if texts[0] != texts[1]:
            break
    return texts


def _written(seconds: float, decimals: int) -> str:
    whole, _, fraction = f"{seconds:.{decimals}f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction} s" if fraction else f"{whole} s"
