"""The report for programs, schema 1: dictionaries of built-in types, which also survive the way between processes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from .timeline import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._trace import Block, Place, Trace

SCHEMA = 1


def test_entry(
    trace: Trace, blocks: Iterable[Block], expectations: Iterable[Mapping[str, Any]], root: str
) -> dict[str, Any]:
    """Return what was recorded in one test.

    Args:
        blocks: Those of the trace that are of a kind that was asked for.
        expectations: `marker`, `held` and `message` of each verdict.
        root: Files below this folder are named relative to it.
    """
    return {
        "nodeid": trace.nodeid,
        "backend": trace.backend,
        "strands": [
            {"id": strand.id, "kind": strand.kind, "name": strand.name, "pid": strand.pid, "thread": strand.thread}
            for strand in trace.strands
        ],
        "spans": [_span(trace, index) for index in range(len(trace.spans))],
        "blocks": [
            {
                "kind": block.kind,
                "call": block.call,
                "file": relative(block.place.file, root),
                "line": block.place.line,
                "function": block.place.function,
                "seconds": block.seconds,
                "strand": block.strand,
                "stack": [_frame(place, root) for place in block.stack],
            }
            for block in blocks
        ],
        "leaks": [
            {
                "kind": leak.kind,
                "name": leak.name,
                "file": relative(leak.place.file, root) if leak.place is not None else None,
                "line": leak.place.line if leak.place is not None else None,
            }
            for leak in trace.leaks
        ],
        "expectations": [dict(expectation) for expectation in expectations],
    }


def _span(trace: Trace, index: int) -> dict[str, Any]:
    span = trace.spans[index]
    times = parts(trace, span)
    return {
        "id": span.id,
        "strand": span.strand,
        "name": span.name,
        "start": span.start,
        "end": span.end,
        "running": times.running,
        "waiting": times.waiting,
        "blocked": times.blocked,
        "outcome": span.outcome,
    }


def _frame(place: Place, root: str) -> str:
    return f"{relative(place.file, root)}:{place.line} in {place.function}"


def relative(file: str, root: str) -> str:
    """Return *file* relative to *root*, with forward slashes, where it lies below it."""
    if root and file.startswith(root.rstrip(os.sep) + os.sep):
        return os.path.relpath(file, root).replace(os.sep, "/")
    return file


def document(tests: Iterable[Mapping[str, Any]]) -> str:
    """Return the whole report."""
    return json.dumps({"schema": SCHEMA, "tests": list(tests)}, indent=1, ensure_ascii=False) + "\n"
