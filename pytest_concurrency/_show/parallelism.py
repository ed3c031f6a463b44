"""The words of a verdict on parallelism: numbers, drawing, cause, way out. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._judge.causes import called_from, cause_of
from .._judge.overlap import Overlap
from .._judge.overlap import judge as judge_overlap
from .messages import explain
from .timeline import draw, strand_label

if TYPE_CHECKING:
    from .._judge.parallelism import Parallel, Verdict
    from .._trace import Trace
    from .messages import Page


def parallelism_message(trace: Trace, asked: Parallel, verdict: Verdict, page: Page) -> str:
    """Return what a verdict on `must_run_in_parallel` says to its reader."""
    paragraphs = [_headline(asked, verdict)]
    if verdict.why == "never called":
        paragraphs += [page.wrapped(text) for text in (_never_called(trace, asked, verdict), *trace.lost)]
        return "\n\n".join(paragraphs)
    paragraphs.append("\n".join(draw(trace, verdict.spans, width=page.width, style=page.style)))
    if verdict.loads:
        paragraphs.append("\n".join(_load_lines(trace, verdict)))
    paragraphs += [page.wrapped(text) for text in (*_reason(trace, asked, verdict, page), *trace.lost)]
    return "\n\n".join(paragraphs)


def _headline(asked: Parallel, verdict: Verdict) -> str:
    doubt = "inconclusive: " if verdict.status == "inconclusive" else ""
    what = f"{doubt}expected {asked.wanted} calls of {' or '.join(asked.targets)} to run at the same time"
    if verdict.why == "never called":
        return f"{what}, saw too few to tell"
    if verdict.why in ("one call", "too few"):
        return f"{what}, saw at most {verdict.found} in progress"
    if not verdict.loads:
        return f"{what}, saw no figures"
    return f"{what}, saw work for {verdict.demand:.1f} processors"


def _never_called(trace: Trace, asked: Parallel, verdict: Verdict) -> str:
    called = {span.name for span in verdict.spans}
    missing = [name for name in asked.targets if trace.watched.get(name, name) not in called]
    were = "was" if len(missing) == 1 else "were"
    return f"{' and '.join(missing)} {were} never called, in this process or in a child process that is recorded."


def _load_lines(trace: Trace, verdict: Verdict) -> list[str]:
    names = {load.strand: strand_label(trace, load.strand) for load in verdict.loads}
    width = max(map(len, names.values()))
    return [
        f"  {names[load.strand]:<{width}}  {load.computing:4.0%} computing  {load.queued:4.0%} waiting for a processor"
        f"  {load.asleep:4.0%} asleep"
        for load in verdict.loads
    ]


def _reason(trace: Trace, asked: Parallel, verdict: Verdict, page: Page) -> list[str]:
    if verdict.why == "one call":
        return [f"Only one call was made, by {page.at(called_from(trace, verdict.spans[0]))}. Make at least two."]
    if verdict.why == "too few":
        return _not_together(trace, asked, verdict, page)
    if verdict.why == "gil":
        return [
            "They took turns: the GIL lets one thread at a time run Python code (sys._is_gil_enabled() is True here).",
            "Do it in processes, with code that releases the GIL, or on a free-threaded Python.",
        ]
    if verdict.why == "waited":
        return ["They waited, they did not compute: must_overlap is the marker for waits."]
    if verdict.why == "lock":
        return [
            f"They took turns on a lock: others waited for it at {page.at(verdict.lock)}.",
            "Hold it for less: compute outside.",
        ]
    if verdict.why == "no figures" and trace.cores is None:
        return [
            "This system says neither how long a thread waits for a processor nor how many processors are free: whether"
            f" {asked.wanted} were at work cannot be told here."
        ]
    if verdict.why == "no figures":
        return [
            "This system does not say how long a thread waits for a processor, and too few processors are free to see"
            f" {asked.wanted} at work. Run it on a machine with at least {asked.wanted} free processors."
        ]
    slept = "They slept for most of the time in which they were in progress together"
    if trace.gil and any(clock.queued is None for clock in trace.clocks):
        return [
            f"{slept}, or waited for the GIL, which lets one thread at a time run Python code: this system does not"
            " tell one from the other."
        ]
    return [f"{slept}."]


def _not_together(trace: Trace, asked: Parallel, verdict: Verdict, page: Page) -> list[str]:
    threads = {(trace.strand(span.strand).pid, trace.strand(span.strand).thread) for span in verdict.spans}
    if len(threads) == 1 and trace.backend is not None:
        strands = {trace.strand(span.strand).kind for span in verdict.spans}
        if strands <= {"asyncio-task", "trio-task", "callback"}:
            return ["They are tasks of one event loop: these take turns in one thread. Do it in threads or processes."]
    overlap = Overlap(asked.targets[:1], asked.wanted, expectation=-1)
    cause = cause_of(trace, judge_overlap(trace, overlap)) if len(asked.targets) == 1 else None
    return [explain(trace, cause, overlap, page)] if cause is not None else []
