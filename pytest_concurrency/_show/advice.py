"""The words of an advice: the way that fits, the figures that say so, and how to write it. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._judge.advice import Advice
    from .._trace import Trace

_WAYS = {
    "processes": "processes fit",
    "threads": "threads fit",
    "pool": "a pool of threads fits",
    "coroutines": "coroutines fit",
    "all": "processes, threads and coroutines together fit",
}


def advice_text(trace: Trace, name: str, advice: Advice) -> str:
    """Return an advice on the calls named *name* as one paragraph, not yet broken into lines."""
    if advice.way == "one call":
        return f"{name}: one call was made; there is nothing to run beside it."
    if advice.way == "unknown":
        return f"{name}: {_what(advice)}. How long they computed is not known: nothing tells which way fits."
    sample = f" (as {advice.known} of them show)" if advice.known < advice.calls else ""
    each = f"computed for {_seconds(advice.computing)} each"
    if advice.does == "computes":
        figures = f"{each} and asked for {advice.demand:.1f} processors in all{sample}"
    else:
        figures = f"{each} and waited for {_percent(advice.waiting)} of the time{sample}"
    return f"{name}: {_WAYS[advice.way]}. {_what(advice)}, {figures}: {_because(trace, advice)}"


def _what(advice: Advice) -> str:
    kinds = {"process": "processes"}.get(advice.kind, f"{advice.kind}s") if advice.strands != 1 else advice.kind
    at_once = f"{advice.at_once} at once" if advice.at_once > 1 else "never two at once"
    return f"{advice.calls} calls in {advice.strands} {kinds}, {at_once}"


def _because(trace: Trace, advice: Advice) -> str:
    if advice.does == "computes":
        if advice.way == "all":
            return "too much for one processor, and too many for a process each. Give each process a part of them."
        if advice.way == "threads":
            return "they compute, and no GIL keeps threads from doing that at the same time. Start one per processor."
        gil = ", and the GIL lets one thread at a time do that" if trace.gil else ""
        return f"they compute{gil}. concurrent.futures.ProcessPoolExecutor starts one per processor."
    if advice.way == "pool":
        also = " The tasks that they are will do as well." if advice.kind == "task" else ""
        return f"few enough for a thread each, all handed in from outside: concurrent.futures.ThreadPoolExecutor.{also}"
    if advice.way == "threads":
        also = " The tasks that they are will do as well." if advice.kind == "task" else ""
        return (
            "few enough for a thread each. Calls start further calls, and in a pool these would wait for a place that"
            f" their own callers hold: start the threads by hand.{also}"
        )
    if advice.way == "coroutines":
        return "too many for a thread each, not too many for one event loop."
    return "too many for one event loop. Run one in each of several processes, and what blocks in threads of theirs."


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _percent(part: float) -> str:
    # 100% would say that it never ran.
    return f"{min(part, 0.99):.0%}"
