"""The words of a verdict on overlap: numbers, drawing, cause, way out. Every text has a test."""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._judge.causes import Cause, called_from, cause_of
from .timeline import ASCII, Style, as_spans, draw, labels, strand_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._judge.exclusion import Exclusion
    from .._judge.overlap import Overlap, Verdict
    from .._trace import Place, Release, Span, Trace, Wait


@dataclass(frozen=True, slots=True)
class Page:
    """Where a text will be read."""

    root: str = ""
    """Files below this folder are named relative to it."""
    width: int = 80
    style: Style = ASCII

    def at(self, place: Place | None) -> str:
        """Return `file:line in function`, or words for an unknown place."""
        if place is None:
            return "an unknown line"
        return f"{self.file(place.file)}:{place.line} in {place.function}"

    def file(self, file: str) -> str:
        if self.root:
            try:
                relative = os.path.relpath(file, self.root)
            except ValueError:  # another drive
                return file
            if not relative.startswith(os.pardir):
                return relative
        return file

    def wrapped(self, text: str) -> str:
        # A path that is longer than a line stays whole: people click on it.
        return textwrap.fill(text, self.width, break_long_words=False, break_on_hyphens=False)


def overlap_message(trace: Trace, overlap: Overlap, verdict: Verdict, page: Page) -> str:
    """Return what a verdict on `must_overlap` says to its reader."""
    paragraphs = [_overlap_headline(overlap, verdict, page)]
    if verdict.why == "never called":
        paragraphs.append(page.wrapped(_never_called(trace, overlap.targets, verdict.spans)))
        paragraphs += [page.wrapped(text) for text in trace.lost]
        return "\n\n".join(paragraphs)
    drawing = draw(trace, verdict.spans or as_spans(verdict.strands), width=page.width, style=page.style)
    if drawing:
        paragraphs.append("\n".join(drawing))
    proof = _proof(trace, verdict, page)
    if proof:
        paragraphs.append(page.wrapped(proof))
    if verdict.status == "inconclusive":
        paragraphs.append(page.wrapped(_inconclusive(verdict, page)))
    elif verdict.why.startswith("limit"):
        paragraphs.append(page.wrapped(_limit(trace, overlap, verdict, page)))
    elif verdict.why == "one call":
        paragraphs.append(page.wrapped(_one_call(trace, verdict, page)))
    else:
        cause = cause_of(trace, verdict)
        if cause is not None:
            paragraphs.append(page.wrapped(_cause(trace, cause, page)))
            paragraphs.append(page.wrapped(_way_out(trace, cause, overlap)))
    paragraphs += [page.wrapped(text) for text in trace.lost]
    return "\n\n".join(paragraphs)


def _overlap_headline(overlap: Overlap, verdict: Verdict, page: Page) -> str:
    what = _calls(overlap.targets)
    if verdict.status == "inconclusive":
        return f"inconclusive: expected {_expected(overlap)}, saw at most {verdict.found}"
    if verdict.why == "limit lost":
        return f"expected at most {overlap.at_most} {what} at once, saw {verdict.found}"
    if verdict.why in ("limit never reached", "limit never tested"):
        seen = f"{verdict.found} of {_count(verdict)}"
        return f"expected {overlap.at_most} {what} at once and the next one outside, saw {seen}"
    if verdict.why == "never called" and not verdict.spans and overlap.targets:
        return f"expected {_expected(overlap)}, saw none at all"
    return f"expected {_expected(overlap)}, saw at most {verdict.found}"


def _expected(overlap: Overlap) -> str:
    if len(overlap.targets) > 1:
        return f"{len(overlap.targets)} targets in progress at once"
    return f"{overlap.at_least} {_calls(overlap.targets)} at once"


def _calls(targets: Sequence[str]) -> str:
    return f"calls of {targets[0]}" if targets else "strands of the test"


def _count(verdict: Verdict) -> str:
    count = len(verdict.spans) or len(verdict.strands)
    return f"{count} call{'s' * (count != 1)}"


def _never_called(trace: Trace, targets: Sequence[str], spans: Sequence[Span]) -> str:
    if not targets:
        return "The test started no task, thread or process: there is nothing that could overlap."
    called = {span.name for span in spans}
    missing = [name for name in targets if trace.watched.get(name, name) not in called]
    were = "was" if len(missing) == 1 else "were"
    return (
        f"{' and '.join(missing)} {were} never called in this test. If the code under test calls something else,"
        " name that; if it did not run, the test proves nothing."
    )


def _one_call(trace: Trace, verdict: Verdict, page: Page) -> str:
    if not verdict.spans:
        return "Only one strand was started: there was nothing for it to overlap with."
    place = called_from(trace, verdict.spans[0])
    return f"Only one call was made, by {page.at(place)}: there was nothing for it to overlap with."


def _inconclusive(verdict: Verdict, page: Page) -> str:
    return (
        f"Still pending when patience ran out: {_pending(verdict.release, page)}. The others may only have been late."
        " Let the far end answer in the test (a fake, a server on loopback), or raise patience."
    )


def _pending(release: Release | None, page: Page) -> str:
    pending = "; ".join(release.pending) if release is not None else ""
    # Written down while recording, when nobody knew who would read it.
    return pending.replace(page.root.rstrip(os.sep) + os.sep, "") if page.root else pending


def _proof(trace: Trace, verdict: Verdict, page: Page) -> str:
    release = verdict.release
    if release is None or not release.spans:
        return ""
    names = labels(trace, verdict.spans)
    held = [span for span in verdict.spans if span.id in release.spans and span.done_time is not None]
    if not held:
        return ""
    who = ", ".join(names[span.id] for span in held[:4]) + (f" and {len(held) - 4} more" if len(held) > 4 else "")
    seconds = release.time - min(span.done_time or 0.0 for span in held)
    if release.reason == "quiet" and release.pending:
        return f"{who}: held at the end for {_seconds(seconds)}, until nothing could move before patience runs out."
    if release.reason == "quiet":
        return f"{who}: held at the end for {_seconds(seconds)}, until nothing else in the program could move."
    if release.reason == "patience":
        return f"{who}: held at the end for {_seconds(seconds)}, until patience ran out."
    return ""


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _limit(trace: Trace, overlap: Overlap, verdict: Verdict, page: Page) -> str:
    if verdict.why == "limit lost":
        intruder = verdict.spans[overlap.at_most or 0] if len(verdict.spans) > (overlap.at_most or 0) else None
        place = called_from(trace, intruder) if intruder is not None else None
        where = f" The one too many: {page.at(place)}." if place is not None else ""
        return f"The limit of {overlap.at_most} does not hold.{where} Take the semaphore or limiter around every call."
    if verdict.why == "limit never reached":
        return (
            f"At most {verdict.found} were in at once, so the limit of {overlap.at_most} was never reached: it may be"
            " smaller than that, or the calls are started too slowly."
        )
    return (
        f"No call was waiting outside while {overlap.at_most} were in: the limit was never tested."
        f" Make more than {overlap.at_most} calls."
    )


def _cause(trace: Trace, cause: Cause, page: Page) -> str:
    at = page.at(cause.place)
    if cause.kind == "blocked" and cause.block is not None:
        block = cause.block
        how_long = f" for {_seconds(block.seconds)}" if block.seconds is not None else ""
        return f"{block.call} blocked the event loop{how_long}, at {at}: nothing else could run meanwhile."
    if cause.kind == "in turn":
        how = "Run" if trace.backend in (None, "gevent") else "Awaited"
        return f"{how} one after the other: {at} waits for each call to end before the next one starts."
    if cause.kind == "lock" and cause.wait is not None:
        who = "1 other waits" if cause.waiting == 1 else f"{cause.waiting} others wait"
        if cause.size > 1:
            return f"A {cause.wait.kind} lets in only {cause.size} at a time: while they hold it, {who} at {at}."
        holder = strand_label(trace, cause.holder or 0)
        return (
            f"A {cause.wait.kind} lets them in one at a time: {holder!r} holds it during its call, and {who} at {at}."
        )
    if cause.kind == "pool":
        workers = "One worker makes" if cause.size == 1 else f"{cause.size} workers make"
        return f"{workers} all the calls, from a queue, at {at}: there are no more at once than workers."
    if cause.kind == "greenlets":
        size = "one at a time" if cause.size == 1 else f"only {cause.size} at a time"
        return f"A pool of greenlets lets them in {size}: the next one waits for a place in it at {at}."
    if cause.kind == "workers":
        workers = "One worker thread does" if cause.size == 1 else f"{cause.size} worker threads do"
        return f"{workers} all the jobs handed in at {at}: there are no more at once than workers."
    if cause.kind == "processes":
        processes = "One process makes" if cause.size == 1 else f"{cause.size} processes make"
        return f"{processes} all the calls, started at {at}: there are no more at once than processes."
    if cause.kind == "chunk":
        return f"One process makes all the calls, though {cause.size} were started at {at}: all were in one chunk."
    if cause.kind == "chain":
        return "The next call never started, since its caller waits for the first: " + _chain(trace, cause.chain, page)
    if cause.kind == "started in turn":
        return f"Started one after the other: {at} starts each one when the one before has ended."
    how = "letting another greenlet run" if trace.backend == "gevent" else "awaiting"
    return f"The calls finished without ever {how}: {at} ran in one step from start to end; no other could get in."


def explain(trace: Trace, cause: Cause, overlap: Overlap, page: Page) -> str:
    """Return a cause and the way out of it."""
    return f"{_cause(trace, cause, page)} {_way_out(trace, cause, overlap)}"


def _chain(trace: Trace, chain: Sequence[Wait], page: Page) -> str:
    return "; ".join(f"{strand_label(trace, wait.strand)!r} waits at {page.at(wait.place)}" for wait in chain) + "."


# Backend -> how to start several at once, and how to do something in a thread.
_WAYS = {
    "asyncio": ("asyncio.gather() or an asyncio.TaskGroup", "asyncio.to_thread()"),
    "trio": ("nursery.start_soon()", "trio.to_thread.run_sync()"),
    "gevent": ("gevent.spawn() for each, then gevent.joinall()", "gevent.get_hub().threadpool.apply()"),
}


def _way_out(trace: Trace, cause: Cause, overlap: Overlap) -> str:
    together, in_thread = _WAYS.get(trace.backend or "", _WAYS["asyncio"])
    if cause.kind == "blocked":
        library = trace.backend if trace.backend in _WAYS else "asyncio"
        verb = "Use" if library == "gevent" else "Await"
        return f"{verb} the {library} way of doing it, or move the call to a thread: {in_thread}."
    if cause.kind in ("in turn", "started in turn", "chain") and trace.backend is None:
        return "Start all of them before joining any; submit all the jobs before asking for any result."
    if cause.kind in ("in turn", "started in turn", "chain"):
        return f"Start all of them before waiting for any: {together}."
    if cause.kind == "lock":
        return "Hold it for less: do the call outside, or allow more at once."
    if cause.kind == "greenlets":
        return f"Give the pool a size of at least {overlap.at_least}."
    if cause.kind == "workers":
        return f"Give the pool at least {overlap.at_least} workers."
    if cause.kind == "processes":
        return f"Give the pool at least {overlap.at_least} processes."
    if cause.kind == "chunk":
        return "Give map() a smaller chunksize, such as 1."
    if cause.kind == "pool":
        return f"Start at least {overlap.at_least} workers."
    if trace.backend == "gevent":
        return "Wait for something of gevent's inside, or do the work in threads or processes."
    return "Await something inside, or do the work in threads or processes."


def exclusion_message(trace: Trace, targets: Sequence[str], verdict: Exclusion, page: Page) -> str:
    """Return what a verdict on `must_not_overlap` says to its reader."""
    what = " or ".join(targets)
    if verdict.why == "never called":
        text = "\n\n".join(map(page.wrapped, (_never_called(trace, targets, verdict.spans), *trace.lost)))
        return f"expected calls of {what} one at a time, saw too few to tell\n\n{text}"
    drawing = "\n".join(draw(trace, verdict.spans, width=page.width, style=page.style))
    if verdict.why == "one call":
        place = called_from(trace, verdict.spans[0])
        text = f"Only one call was made, by {page.at(place)}: nothing could have got in. Make at least two."
        return f"expected calls of {what} one at a time, saw one call only\n\n{drawing}\n\n{page.wrapped(text)}"
    if verdict.status == "inconclusive":
        text = (
            f"Still pending when patience ran out: {_pending(verdict.release, page)}. The next call came late; nothing"
            " shows that a lock kept it out. Let the far end answer in the test, or raise patience."
        )
        return f"inconclusive: expected calls of {what} one at a time\n\n{drawing}\n\n{page.wrapped(text)}"
    assert verdict.pair is not None
    inside, intruder = verdict.pair
    names = labels(trace, verdict.spans)
    lines = [
        f"{names[inside.id]} was in, called by {page.at(called_from(trace, inside))}.",
        f"{names[intruder.id]} got in, called by {page.at(called_from(trace, intruder))}.",
    ]
    if verdict.given_back is not None:
        use = verdict.given_back
        lines.append(
            f"The {use.kind} was given back too early, at {page.at(use.place)}: hold it until the call has ended."
        )
    else:
        lines.append("Nothing keeps them apart: hold one lock around both calls, from start to end.")
    text = "\n".join(page.wrapped(line) for line in (*lines, *trace.lost))
    return f"expected calls of {what} one at a time, saw 2 in progress together\n\n{drawing}\n\n{text}"
