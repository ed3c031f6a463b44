"""The words about calls that blocked an event loop: what, where, and what to use instead. Every text has a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._blocking.kinds import instead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._judge.blocking import Finding
    from .._trace import Place
    from .messages import Page

_MOST_FRAMES = 4
_MOST_FINDINGS = 10
_ALLOW = (
    "Nothing else on that loop could run meanwhile. To let it: allow_blocking(reason) around it, or a line of"
    " concurrency_allow_blocking."
)


def warning_text(finding: Finding, page: Page) -> str:
    """Return a warning about *finding*, the same each time for the same line, so that pytest shows it once."""
    where = page.at(finding.place)
    lines = [f"{finding.call} blocked the {finding.backend} event loop in {finding.place.function}"]
    lines += [f"  at {where}"]
    lines += [f"  via {page.at(place)}" for place in _between(finding)]
    advice = instead(finding.call, finding.kind, finding.backend)
    if advice:
        lines.append(f"  instead: {advice}")
    return "\n".join(lines)


def failure_text(found: Sequence[Finding], page: Page) -> str:
    """Return what a test that must not block says of *found*, of which there is at least one."""
    paragraphs = [_headline(found, page)]
    paragraphs += [_paragraph(finding, page) for finding in found[:_MOST_FINDINGS]]
    if len(found) > _MOST_FINDINGS:
        paragraphs.append(f"  and {len(found) - _MOST_FINDINGS} more places")
    paragraphs.append(page.wrapped(_ALLOW))
    return "\n\n".join(paragraphs)


def _headline(found: Sequence[Finding], page: Page) -> str:
    worst = found[0]
    at = f"{page.file(worst.place.file)}:{worst.place.line}"
    number = sum(finding.count for finding in found)
    seconds = [finding.seconds for finding in found if finding.seconds is not None]
    lasted = f" for {_seconds(sum(seconds))}" if seconds else ""
    if number == 1:
        return f"{worst.call} blocked the event loop{lasted} at {at}"
    total = f"{lasted} in all" if lasted else ""
    if len(found) == 1:
        return f"{worst.call} blocked the event loop {number} times{lasted and ',' + total} at {at}"
    return f"{number} calls blocked the event loop{total}, first of all {worst.call} at {at}"


def _paragraph(finding: Finding, page: Page) -> str:
    worst = finding.worst
    facts = [finding.kind]
    if finding.seconds is not None:
        facts.append(_seconds(finding.seconds))
    if finding.count > 1:
        facts.append(f"{finding.count} times")
    lines = [f"  {finding.call} ({', '.join(facts)})"]
    if worst.detail:
        lines.append(f"    with: {worst.detail}")
    lines.append(f"    at {page.at(finding.place)}")
    lines += [f"      via {page.at(place)}" for place in _between(finding)]
    unit = "greenlet" if finding.backend == "gevent" else "task"
    runs = f"{unit} {worst.task}" if worst.task else "a callback"
    lines.append(f"    on {finding.backend}, in {runs}")
    advice = instead(finding.call, finding.kind, finding.backend)
    if advice:
        lines.append(f"    instead: {advice}")
    return "\n".join(lines)


def _between(finding: Finding) -> list[Place]:
    """Return the frames between the user's line and the call, outermost first; of many, the ends."""
    between = list(finding.worst.stack[1:])
    if len(between) > _MOST_FRAMES:
        half = _MOST_FRAMES // 2
        return between[:half] + between[-half:]
    return between


def _seconds(seconds: float) -> str:
    if seconds < 0.0001:
        return "less than 0.1 ms"
    return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"
