"""What a picture of a test needs beyond its entry in the report: who was doing what when, as built-in types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .timeline import as_spans, labels, strand_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._trace import Block, Span, Trace

_MOST_PARTS = 400
"""A lane with more is drawn in as many steps, which is finer than a screen."""
_MOST_LANES = 1000
"""Nobody reads more, and a worker sends them to the controller."""
_PRIORITY = ("blocked", "running", "held", "waiting")

Part = tuple[str, float, float]
"""What it was doing (`running`, `waiting`, `blocked`, `held`), and from when to when."""


def drawing(trace: Trace, blocks: Iterable[Block]) -> dict[str, Any]:
    """Return the lanes of a test.

    Args:
        blocks: Those of the trace that count, in the order of the test's entry.
    """
    with_spans = {span.strand for span in trace.spans}
    strands = [strand for strand in trace.strands if strand.steps or strand.started_by_test or strand.id in with_spans]
    named = labels(trace, trace.spans)
    return {
        "strands": [
            {"id": strand.id, "label": strand_label(trace, strand.id), "kind": strand.kind, "pid": strand.pid}
            | _lane(trace, span)
            for strand, span in zip(strands[:_MOST_LANES], as_spans(strands[:_MOST_LANES]), strict=True)
        ],
        "spans": [
            {"id": span.id, "label": named[span.id], "strand": span.strand} | _lane(trace, span)
            for span in sorted(trace.spans, key=lambda span: span.first)[:_MOST_LANES]
        ],
        "number": {"strands": len(strands), "spans": len(trace.spans)},
        "blocks": [[block.start, block.end] for block in blocks],
    }


def _lane(trace: Trace, span: Span) -> dict[str, Any]:
    end = span.end if span.end is not None else max(trace.seconds, span.start)
    return {"start": span.start, "end": end, "parts": [list(part) for part in parts_of(trace, span, end)]}


def parts_of(trace: Trace, span: Span, end: float) -> list[Part]:
    """Return what the strand of *span* was doing inside it, without a gap from its start to *end*."""
    done = min(span.done_time, end) if span.done_time is not None else end
    steps = trace.strand(span.strand).steps
    # Of a thread nobody knows more than that it was there.
    running = [(step.start, step.end) for step in steps] if steps else [(span.start, done)]
    blocked = [(block.start, block.end) for block in trace.blocks if block.strand == span.strand and block.hinders]
    edges: list[tuple[float, str, int]] = [(span.start, "waiting", 1), (end, "waiting", -1)]
    for kind, stretches, last in (("running", running, done), ("blocked", blocked, done), ("held", [(done, end)], end)):
        for start, stop in stretches:
            start, stop = max(start, span.start), min(stop, last)
            if start < stop:
                edges += [(start, kind, 1), (stop, kind, -1)]
    edges.sort()
    found = _swept(edges)
    return found if len(found) <= _MOST_PARTS else _coarse(found, span.start, end)


def _swept(edges: list[tuple[float, str, int]]) -> list[Part]:
    open_: dict[str, int] = dict.fromkeys(_PRIORITY, 0)
    found: list[Part] = []
    before = edges[0][0]
    for time, kind, change in edges:
        if time > before:
            doing = next((each for each in _PRIORITY if open_[each]), "waiting")
            if found and found[-1][0] == doing:
                found[-1] = (doing, found[-1][1], time)
            else:
                found.append((doing, before, time))
            before = time
        open_[kind] += change
    return found


def _coarse(parts: list[Part], start: float, end: float) -> list[Part]:
    cell = (end - start) / _MOST_PARTS
    cells = ["waiting"] * _MOST_PARTS
    for kind, begin, stop in parts:
        first = min(int((begin - start) / cell), _MOST_PARTS - 1)
        last = min(max(int((stop - start) / cell), first + 1), _MOST_PARTS)
        for index in range(first, last):
            if _PRIORITY.index(kind) < _PRIORITY.index(cells[index]):
                cells[index] = kind
    edges = [(start + index * cell, kind, 1) for index, kind in enumerate(cells)]
    edges += [(start + (index + 1) * cell, kind, -1) for index, kind in enumerate(cells)]
    return _swept(sorted(edges))
