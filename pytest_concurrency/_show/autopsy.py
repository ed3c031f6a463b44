"""The words of a hang: who waits for whom, what holds them, and how they got into it. Every text has a test."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from .._judge.deadlock import behind, chain, cycle
from .timeline import strand_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._hang import Hang, Party
    from .._trace import Span, Trace
    from .messages import Page

_MOST = 20
"""So many groups of parties are shown; alike ones are one group."""
_SPANS = 5


def autopsy_message(hang: Hang, page: Page, trace: Trace | None = None, *, proven: bool = False) -> str:
    """Return what the program was waiting for, as text.

    Args:
        hang: The snapshot.
        page: Where the text will be read.
        trace: What was recorded of the test, where it was: its last spans are shown.
        proven: Nobody can go on any more, circle or not.
    """
    circle = cycle(hang)
    shown = _shown(hang, circle)
    is_here = bool(circle) and (circle[0].id in behind(hang) or not _waits_itself(hang, proven=proven))
    paragraphs = [_headline(hang, circle if is_here else (), page, proven=proven)]
    if circle and not is_here:
        paragraphs.append(_wrapped(f"elsewhere, a {_deadlock(hang, circle)}", page, "  "))
    groups = _groups(hang, shown, page)
    blocks = [_block(hang, group, page) for group in groups[:_MOST]]
    if len(groups) > _MOST:
        blocks.append(f"and {sum(len(group) for group in groups[_MOST:])} more")
    if blocks:
        paragraphs.append("\n".join(blocks))
    if trace is not None and trace.spans:
        paragraphs.append("\n".join(["last spans:", *_last_spans(trace, page)]))
    advice = _advice(circle)
    if advice:
        paragraphs.append(page.wrapped(advice))
    paragraphs += [page.wrapped(text) for text in hang.lost]
    return "\n\n".join(paragraphs)


def is_telling(hang: Hang) -> bool:
    """Tell whether anybody waits for anything: a program that merely computes has nothing to be explained."""
    return any(party.wait not in ("", "call", "idle", "loop", "timer") for party in _shown(hang, ()))


def _waits_itself(hang: Hang, *, proven: bool) -> bool:
    """Tell whether the test's body waits for something by itself, and does not merely run others.

    A call that does not return is a wait where it is proven that nobody can go on.
    """
    others = ("", "loop", "runs") if proven else ("", "loop", "runs", "call")
    return any(party.id == hang.root and party.wait not in others for party in hang.parties)


def _headline(hang: Hang, circle: Sequence[Party], page: Page, *, proven: bool) -> str:
    if circle:
        return _wrapped(_deadlock(hang, circle), page, "  ")
    path = chain(hang)
    if not path or not any(party.wait for party in path):
        return "no deadlock: somebody could still go on"
    first, *others = [party for party in path if party.wait not in ("loop", "runs", "child")] or path
    text = f"{'nobody can go on any more: ' if proven else ''}{first.name} {_waits(hang, first)}"
    for party in others:
        text += f"; {party.name} {_waits(hang, party)}"
    return _wrapped(text, page, "  ")


def _deadlock(hang: Hang, circle: Sequence[Party]) -> str:
    turns = [party for party in circle if party.wait != "runs"]
    wanted = {party.what for party in circle}
    # Nobody is accused on the strength of the source alone without a word about it.
    is_sure = all(hold.sure for party in circle for hold in party.holds if hold.what in wanted)
    what = "deadlock" if is_sure else "deadlock, as the source reads"
    return f"{what}: " + ", ".join(f"{party.name} {_waits(hang, party)}" for party in turns)


def _shown(hang: Hang, circle: Sequence[Party]) -> list[Party]:
    """Return those whom a reader wants to see, the circle first."""
    inside = [party.id for party in circle]
    named = {other for party in hang.parties if not party.bystander for other in party.on}
    parties = [
        party
        for party in hang.parties
        if party.id in inside
        or (not party.bystander and party.wait != "idle")
        or (party.id in named and party.wait not in ("idle", "loop"))
    ]
    order = {number: position for position, number in enumerate(inside)}
    rest = len(order)
    return sorted(parties, key=lambda p: (order.get(p.id, rest), p.id != hang.root, p.kind != "task", p.id))


def _groups(hang: Hang, parties: Sequence[Party], page: Page) -> list[list[Party]]:
    """Put together those that stand at the same line for the same reason."""
    groups: dict[object, list[Party]] = {}
    for party in parties:
        groups.setdefault((party.kind, _lines(hang, party, page)), []).append(party)
    return list(groups.values())


def _block(hang: Hang, group: Sequence[Party], page: Page) -> str:
    first = group[0]
    if len(group) > 1:
        names = ", ".join(party.name for party in group[:4]) + (f" and {len(group) - 4} more" if len(group) > 4 else "")
        head = f"{first.kind}{'es' if first.kind == 'process' else 's'} {names}"
    else:
        head = f"{first.kind} {first.name}"
    return "\n".join([_wrapped(head, page, "  "), *_lines(hang, first, page)])


def _lines(hang: Hang, party: Party, page: Page) -> tuple[str, ...]:
    lines = [_wrapped(f"  {_waits(hang, party)}", page, "    ")]
    if party.place is not None:
        at = f"  at {page.at(party.place)}"
        if party.code:
            room = max(page.width - len(at) - 2, 20)
            at += f": {party.code if len(party.code) <= room else party.code[: room - 3] + '...'}"
        lines.append(at)
    for hold in party.holds:
        where = f", taken at {page.file(hold.place.file)}:{hold.place.line}" if hold.place is not None else ""
        sure = "" if hold.sure else " (there is no release() since)"
        lines.append(_wrapped(f"  holds {hold.what}{where}{sure}", page, "    "))
    return tuple(lines)


def _waits(hang: Hang, party: Party) -> str:
    """Return what a party does, as the end of a sentence that begins with its name."""
    within = f", for at most {party.within:.3g} s more" if party.within is not None else ""
    return f"{_verb(hang, party)}{within}"


def _verb(hang: Hang, party: Party) -> str:
    names = _names(hang, party)
    what = party.what or "something"
    note = f" ({party.note})" if party.note else ""
    if party.wait in ("lock", "semaphore", "limiter"):
        holder = f"held by {names}" if names else (party.note or "whose holder is not known")
        if party.on == (party.id,):
            holder = "which it holds itself"
        return f"waits for {what}, {holder}" if not names or party.on == (party.id,) else f"waits for {what} {holder}"
    if party.wait == "get":
        return f"waits for an item from {what}{note}"
    if party.wait == "put":
        return f"waits for room in {what}{note}"
    if party.wait == "join queue":
        return f"waits for all items of {what} to be done{note}"
    if party.wait == "event":
        return f"waits for {what} to be set{note}"
    if party.wait == "condition":
        return f"waits for {what} to be notified{note}"
    if party.wait == "barrier":
        return f"waits for others at {what}{note}"
    if party.wait == "task":
        either = "one of " if party.any_of and len(party.on) > 1 else ""
        return f"waits for {either}{names or 'tasks that have ended'}{note}"
    if party.wait == "future":
        return f"waits for {party.what or 'a future'} to be given a result{note}"
    if party.wait == "join":
        return f"waits for {names or 'a thread'} to end"
    if party.wait == "process":
        return f"waits for process {names} to end{note}" if names else "waits for a child process to end"
    if party.wait in ("worker", "result"):
        if party.note:
            return f"waits for the result of a job: {party.note}"
        return f"waits for the result of {names}" if names else "waits for the result of a job"
    if party.wait == "turn":
        return f"waits for its turn: {names} keeps the event loop" if names else "waits for its event loop"
    if party.wait == "child":
        return f"does not end: see {names}"
    if party.wait == "runs":
        return f"runs {names}, which keeps the event loop"
    return {
        "held": "is held at the door until the verdict on its calls is settled",
        "timer": f"sleeps{note}",
        "io": "waits for a socket or a pipe",
        "loop": "runs an event loop",
        "idle": "waits for a job",
        "silent": "does not say where it stands",
        "call": f"is in {party.note}" if party.note else "is in a call that has not returned",
    }.get(party.wait, "could go on")


def _names(hang: Hang, party: Party) -> str:
    names = [hang.party(number).name for number in party.on]
    if len(names) > 4:
        return ", ".join(names[:4]) + f" and {len(names) - 4} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _last_spans(trace: Trace, page: Page) -> list[str]:
    latest = sorted(trace.spans, key=lambda span: span.last or span.done or span.first)[-_SPANS:]
    return [_wrapped(f"  {_span(trace, span)}", page, "    ") for span in latest]


def _span(trace: Trace, span: Span) -> str:
    who = f"{span.name} on {strand_label(trace, span.strand)}"
    if span.end is None:
        return f"{who}: open since {span.start:.3f} s"
    return f"{who}: {span.start:.3f} s to {span.end:.3f} s, {span.outcome}"


def _advice(circle: Sequence[Party]) -> str:
    waits = {party.wait for party in circle}
    if not circle:
        return ""
    if "runs" in waits or "turn" in waits:
        return (
            "An event loop cannot bring a result while its own thread waits for it: await the result"
            " (asyncio.wrap_future), or wait in another thread."
        )
    if len(circle) == 1 and waits <= {"lock", "semaphore", "limiter"}:
        return "It is not reentrant: take it once, outside, or let the inner function expect it taken."
    if waits <= {"lock", "semaphore", "limiter"}:
        return "Take them in the same order everywhere, or hold one at a time."
    if "not begun" in " ".join(party.note for party in circle):
        return "A job must not wait for another job of its own pool: use a second pool, or do that work in place."
    return ""


def _wrapped(text: str, page: Page, indent: str) -> str:
    return textwrap.fill(text, page.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
