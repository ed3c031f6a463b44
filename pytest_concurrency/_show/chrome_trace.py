"""The recording in Chrome's trace event format, which Perfetto (https://ui.perfetto.dev) opens.

The format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LOOP = 0
"""The track of what has no strand of its own."""


def document(tests: Iterable[Mapping[str, Any]]) -> str:
    """Return all *tests* as one trace: a test is a process of it, and a strand a thread.

    The tests of one worker stand one behind the other; gaps between them are not kept.
    """
    events: list[dict[str, Any]] = []
    begins: dict[object, float] = {}
    for number, test in enumerate(tests, 1):
        if "drawing" not in test:
            continue
        origin = begins.get(test["worker"], 0.0)
        own = list(_events(test, number, origin))
        begins[test["worker"]] = max([origin, *(event["ts"] + event.get("dur", 0) for event in own if "ts" in event)])
        events += own
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}, ensure_ascii=False) + "\n"


def _events(test: Mapping[str, Any], pid: int, origin: float) -> Iterator[dict[str, Any]]:
    drawing = test["drawing"]
    yield _name("process_name", pid, _LOOP, test["nodeid"])
    yield {"ph": "M", "name": "process_labels", "pid": pid, "tid": _LOOP, "args": {"labels": _labels(test)}}
    # What was recorded first is 0 in the picture: the recording begins before the fixtures.
    first = min((each["start"] for each in (*drawing["strands"], *drawing["spans"])), default=0.0)
    base = {"pid": pid}

    def at(seconds: float) -> float:
        return round(origin + max(0.0, seconds - first) * 1e6, 3)

    for strand in drawing["strands"]:
        tid = strand["id"]
        yield _name("thread_name", pid, tid, f"{strand['label']} ({strand['kind']})")
        yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}
        for kind, start, end in strand["parts"]:
            # A block has an event of its own; while it waits, a strand's track is empty.
            if kind == "running":
                yield _complete("running", "strand", at(start), at(end), base | {"tid": tid}, {})
    told = {span["id"]: span for span in test["spans"]}
    for lane in drawing["spans"]:
        span = told[lane["id"]]
        args = {key: span[key] for key in ("outcome", "running", "waiting", "blocked")}
        ends = {"cat": "call", "id": f"{pid}.{lane['id']}", "name": span["name"], "pid": pid, "tid": lane["strand"]}
        # Asynchronous events: two calls on one strand may overlap without lying one in the other.
        yield {"ph": "b", "ts": at(lane["start"]), "args": {"call": lane["label"], **args}} | ends
        yield {"ph": "e", "ts": at(lane["end"])} | ends
    for block, (start, end) in zip(test["blocks"], drawing["blocks"], strict=True):
        where = base | {"tid": block["strand"] or _LOOP}
        args = {key: block[key] for key in ("kind", "file", "line", "function", "stack")}
        if block["seconds"] is None:
            yield {"ph": "i", "s": "t", "name": block["call"], "cat": "block", "ts": at(start), "args": args} | where
        else:
            yield _complete(block["call"], "block", at(start), at(max(start, end)), where, args)


def _labels(test: Mapping[str, Any]) -> str:
    return ", ".join(filter(None, (test["outcome"], test["backend"], test["worker"])))


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _complete(
    name: str, category: str, start: float, end: float, where: Mapping[str, Any], args: Mapping[str, Any]
) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": category, "ts": start, "dur": round(end - start, 3), "args": args, **where}
