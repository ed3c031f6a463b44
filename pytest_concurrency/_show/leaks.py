"""The words about what a test left behind: what, who made it, where it is now, how to end it. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._judge.leaks import Finding
    from .._trace import Leak, Place
    from .messages import Page

_MOST_FINDINGS = 10
_MOST_FRAMES = 6
# What follows the name of the thing.
_NOUNS = {
    "task": "task",
    "coroutine": "coroutine",
    "thread": "thread",
    "process": "process",
    "generator": "async generator",
    "executor": "executor",
    "loop": "event loop",
    "socket": "socket",
    "exception": "exception that nobody retrieved",
}
_PLURALS = {"process": "processes", "exception": "exceptions that nobody retrieved"}
_MAKING = {
    "task": "started",
    "coroutine": "made",
    "thread": "started",
    "process": "started",
    "generator": "begun",
    "executor": "made",
    "loop": "made",
    "socket": "opened",
    "exception": "task started",
}
_WAYS_OUT = {
    "task": "await it, or cancel it and await that; a TaskGroup or a nursery does both",
    "coroutine": "await it, or start a task with it; if it is not needed, do not make it",
    "thread": "tell it to end, and join() it",
    "process": "terminate() it, then wait(), communicate() or join()",
    "generator": "iterate it to its end, or inside `async with contextlib.aclosing(...)`",
    "executor": "shut it down, or use it in a `with` block",
    "loop": "close() it, or let asyncio.run() or asyncio.Runner do that",
    "socket": "close() it and await wait_closed(); `async with` does both",
    "exception": "await the task, or ask for its exception()",
}
_ALLOW = "To let it: a line of concurrency_allow_leaks with its name or place, or may_leak(reason) for the whole test."
_WAITS = {
    "lock": "for a lock",
    "semaphore": "for a semaphore",
    "limiter": "for a limiter",
    "queue": "for a queue",
    "event": "for an event",
    "timer": "for a timer",
    "task": "for another task",
    "worker": "for a worker thread",
    "io": "for a socket",
    "future": "",
}


def warning_text(finding: Finding, page: Page) -> str:
    """Return a warning about *finding*, the same each time for the same line, so that pytest shows it once."""
    leak = finding.leak
    # Not its name, which may have a number that changes.
    what = f" {leak.what}" if leak.what and leak.kind != "exception" else ""
    lines = [f"{_NOUNS[leak.kind]}{what} left behind: {leak.state}"]
    lines += [f"  {line}" for line in _where(leak, page)]
    lines.append(f"  instead: {_WAYS_OUT[leak.kind]}")
    return "\n".join(lines)


def failure_text(found: Sequence[Finding], page: Page) -> str:
    """Return what a test that must not leak says of *found*, of which there is at least one."""
    paragraphs = [_headline(found, page)]
    paragraphs += [_paragraph(finding, page) for finding in found[:_MOST_FINDINGS]]
    if len(found) > _MOST_FINDINGS:
        paragraphs.append(f"  and what {len(found) - _MOST_FINDINGS} more lines left")
    kinds = dict.fromkeys(finding.leak.kind for finding in found[:_MOST_FINDINGS])
    if len(kinds) == 1:
        paragraphs.append(page.wrapped(f"To end it: {_WAYS_OUT[next(iter(kinds))]}."))
    else:
        paragraphs.append("\n".join(page.wrapped(f"{_NOUNS[kind].capitalize()}: {_WAYS_OUT[kind]}.") for kind in kinds))
    paragraphs.append(page.wrapped(_ALLOW))
    return "\n\n".join(paragraphs)


def _headline(found: Sequence[Finding], page: Page) -> str:
    first = found[0].leak
    place = first.place
    at = f", {_MAKING[first.kind]} at {page.file(place.file)}:{place.line}" if place is not None else ""
    numbers: dict[str, int] = {}
    for finding in found:
        numbers[finding.leak.kind] = numbers.get(finding.leak.kind, 0) + finding.count
    if sum(numbers.values()) == 1:
        return f"left behind: {_NOUNS[first.kind]} {_title(first)}{_runs(first)}{at}"
    things = " and ".join(_several(kind, number) for kind, number in numbers.items())
    if len(numbers) > 2:
        *most, last = (_several(kind, number) for kind, number in numbers.items())
        things = f"{', '.join(most)} and {last}"
    return f"left behind: {things}; first of all {_NOUNS[first.kind]} {_title(first)}{at}"


def _several(kind: str, number: int) -> str:
    return f"1 {_NOUNS[kind]}" if number == 1 else f"{number} {_PLURALS.get(kind, _NOUNS[kind] + 's')}"


def _runs(leak: Leak) -> str:
    return f" ({leak.what})" if leak.what and leak.kind in ("task", "thread", "process") else ""


def _title(leak: Leak) -> str:
    return f"of {leak.name}" if leak.kind == "exception" else leak.name


def _paragraph(finding: Finding, page: Page) -> str:
    leak = finding.leak
    facts = [leak.state]
    if finding.count > 1:
        facts.insert(0, f"{finding.count} times")
    what = f", which runs {leak.what}" if leak.what and leak.kind in ("task", "thread", "process") else ""
    lines = [f"  {_NOUNS[leak.kind]} {_title(leak)}{what}", f"    {', '.join(facts)}"]
    lines += [f"    {line}" for line in _where(leak, page)]
    if leak.kind == "exception":
        lines += [f"      {line}" for line in leak.what.splitlines()]
    return "\n".join(lines)


def _where(leak: Leak, page: Page) -> list[str]:
    lines = []
    if leak.place is not None:
        lines.append(f"{_MAKING[leak.kind]} at {page.at(leak.place)}")
    if leak.fixture:
        lines.append(f"by the {leak.fixture}")
    if leak.kind == "task" and leak.at is not None:
        waits = _WAITS.get(leak.waits, "")
        lines.append(f"waits{waits and ' ' + waits} at {page.at(leak.at)}")
    elif leak.at is not None and leak.kind == "generator":
        lines.append(f"suspended at {page.at(leak.at)}")
    elif leak.at is not None:
        lines.append(f"is at {page.at(leak.at)}")
    if leak.kind == "exception":
        lines += [f"  {page.at(place)}" for place in _ends(leak.stack)]
    elif leak.stack and leak.stack[-1] != leak.at:
        lines.append(f"in {page.at(leak.stack[-1])}")
    return lines


def _ends(stack: Sequence[Place]) -> list[Place]:
    if len(stack) <= _MOST_FRAMES:
        return list(stack)
    half = _MOST_FRAMES // 2
    return [*stack[:half], *stack[-half:]]
