"""Spans as bars on a line of time, for a terminal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._trace import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._trace import Strand, Trace

MOST_ROWS = 12


@dataclass(frozen=True, slots=True)
class Style:
    """Which characters a terminal can show."""

    running: str = "#"
    waiting: str = "-"
    blocked: str = "X"
    held: str = "."


ASCII = Style()
UNICODE = Style(running="█", waiting="─", blocked="▓", held="·")


@dataclass(frozen=True, slots=True)
class Parts:
    """A span's time by what its strand did in it, in seconds."""

    running: float
    waiting: float
    blocked: float


def parts(trace: Trace, span: Span) -> Parts:
    """Return how long the strand of *span* was running, waiting and blocking its loop inside it."""
    end = _end(trace, span)
    steps = [(step.start, step.end) for step in trace.strand(span.strand).steps]
    busy = sum(max(0.0, min(end, stop) - max(span.start, start)) for start, stop in steps)
    blocked = sum(
        max(0.0, min(end, block.end) - max(span.start, block.start))
        for block in trace.blocks
        if block.strand == span.strand and block.hinders
    )
    if not steps:
        busy = end - span.start
    blocked = min(blocked, busy)
    return Parts(busy - blocked, max(0.0, end - span.start - busy), blocked)


def labels(trace: Trace, spans: Sequence[Span]) -> dict[int, str]:
    """Return a short name for each span by its id: `fetch#1`, numbered in the order in which the calls began."""
    short = {span.name: span.name.rpartition(":")[2].rpartition(".")[2] or span.name for span in spans}
    if len(set(short.values())) < len(short):
        short = {name: name.rpartition(":")[2] for name in short}
    if len(set(short.values())) < len(short):
        short = {name: name for name in short}
    count: Counter[str] = Counter()
    named: dict[int, str] = {}
    for span in sorted(spans, key=lambda span: span.first):
        count[span.name] += 1
        named[span.id] = f"{short[span.name]}#{count[span.name]}"
    return named


def as_spans(strands: Sequence[Strand]) -> tuple[Span, ...]:
    """Return each strand as a span from its start to its end, to be drawn as one."""
    return tuple(
        Span(strand.id, strand.id, _short(strand.name), strand.first, strand.start, last=strand.last, end=strand.end)
        for strand in strands
    )


def draw(trace: Trace, spans: Sequence[Span], *, width: int = 80, style: Style = ASCII) -> list[str]:
    """Return a line for each span, and one that explains the signs.

    Args:
        width: Columns that may be used.
    """
    if not spans:
        return []
    shown = sorted(spans, key=lambda span: span.first)[:MOST_ROWS]
    start = min(span.start for span in shown)
    end = max(_end(trace, span) for span in shown)
    names = labels(trace, spans)
    rows = [(_row_label(trace, span, names[span.id]), span) for span in shown]
    left = min(max(len(label) for label, _ in rows), 30)
    scale, unit = (1000, "ms") if end - start < 0.1 else (1, "s")
    digits = 1 if unit == "ms" else 2
    times = [
        f"{(span.start - start) * scale:.{digits}f}-{(_end(trace, span) - start) * scale:.{digits}f} {unit}"
        for span in shown
    ]
    room = max(10, width - 2 - left - 4 - max(map(len, times)))
    lines, used = [], set()
    for (label, span), time in zip(rows, times, strict=True):
        bar = _bar(trace, span, start, max(end - start, 1e-9), room, style)
        used |= set(bar)
        lines.append(f"  {_cut(label, left):<{left}} |{bar}| {time}")
    if len(spans) > len(shown):
        lines.append(f"  ... and {len(spans) - len(shown)} more calls")
    signs = (
        (style.running, "running"),
        (style.waiting, "waiting"),
        (style.blocked, "blocking the loop"),
        (style.held, "held for the proof" if any(span.let_in for span in shown) else "done, held for the proof"),
    )
    lines.append("  " + "   ".join(f"{sign} {meaning}" for sign, meaning in signs if sign in used))
    return lines


def _row_label(trace: Trace, span: Span, name: str) -> str:
    strand = strand_label(trace, span.strand)
    return f"{name} {strand}" if strand != span.name else strand


def _bar(trace: Trace, span: Span, origin: float, length: float, room: int, style: Style) -> str:
    end = _end(trace, span)
    cells = [" "] * room

    def paint(start: float, stop: float, sign: str) -> None:
        # Everything that happened is at least one cell wide, or the picture would hide it.
        first = min(int((start - origin) / length * room), room - 1)
        last = min(max(int((stop - origin) / length * room), first + 1), room)
        cells[first:last] = sign * (last - first)

    done = span.done_time if span.done_time is not None else end
    begun = span.let_in if span.let_in is not None else span.start
    paint(span.start, end, style.waiting)
    if begun > span.start:
        paint(span.start, begun, style.held)
    if end > done:
        paint(done, end, style.held)
    steps = trace.strand(span.strand).steps
    for step in steps:
        start, stop = max(step.start, span.start), min(step.end, done)
        if start < stop:
            paint(start, stop, style.running)
    if not steps:
        paint(begun, done, style.running)
    for block in trace.blocks:
        if block.strand == span.strand and block.hinders and span.start <= block.start < done:
            paint(block.start, min(block.end, done), style.blocked)
    return "".join(cells)


def _end(trace: Trace, span: Span) -> float:
    return span.end if span.end is not None else max(trace.seconds, span.start)


def strand_label(trace: Trace, number: int) -> str:
    """Return a strand's name without the path to it: trio names a task by its whole function."""
    return _short(trace.strand(number).name)


def _short(name: str) -> str:
    name = name.rpartition("<locals>.")[2]
    return name.rpartition(".")[2] or name


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"
