"""Can nobody go on any more, and who waits for whom in a circle?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._hang import Hang, Party

_ENDLESS = frozenset(
    {
        "lock", "semaphore", "limiter", "get", "put", "join queue", "event", "condition", "barrier", "task", "future",
        "worker", "join", "result", "process", "turn", "runs",
        "child",
    }
)  # fmt: skip
"""Waits that only somebody else in the program can end."""


def stuck(hang: Hang) -> frozenset[int]:
    """Return the parties that can never go on, since those who could let them cannot go on either.

    A wait with a time limit ends by itself, and so does not count; nor does one whose end nobody is known to bring.
    """
    left = {party.id: party for party in hang.parties if party.on and party.wait in _ENDLESS and party.within is None}
    while True:
        free = [number for number, party in left.items() if not _is_stuck(party, left)]
        if not free:
            return frozenset(left)
        for number in free:
            del left[number]


def _is_stuck(party: Party, left: dict[int, Party]) -> bool:
    return all(other in left for other in party.on) if party.any_of else any(other in left for other in party.on)


def cycle(hang: Hang) -> tuple[Party, ...]:
    """Return parties that wait for each other in a circle, each for the next one; none where there is no deadlock."""
    inside = stuck(hang)
    parties = {party.id: party for party in hang.parties if party.id in inside}
    concerned = behind(hang)
    # One that the test's body waits for comes before one elsewhere.
    for start in sorted(parties, key=lambda number: number not in concerned):
        path: list[int] = []
        at = start
        # Every stuck party waits for another one that is stuck, so this walk ends in a circle.
        while at not in path:
            path.append(at)
            at = next(other for other in parties[at].on if other in parties)
        return tuple(parties[number] for number in path[path.index(at) :])
    return ()


def behind(hang: Hang) -> frozenset[int]:
    """Return the parties that the test's body waits for, directly or through others, and the body's own."""
    parties = {party.id: party for party in hang.parties}
    found: set[int] = set()
    more = [hang.root] if hang.root in parties else []
    while more:
        number = more.pop()
        if number is not None and number in parties and number not in found:
            found.add(number)
            more += parties[number].on
    return frozenset(found)


def chain(hang: Hang) -> tuple[Party, ...]:
    """Return the parties from the one that runs the test's body to the one that everything waits for."""
    parties = {party.id: party for party in hang.parties}
    found: list[Party] = []
    at = hang.root
    while at is not None and at in parties and parties[at] not in found:
        party = parties[at]
        found.append(party)
        # The last one that is awaited tells more than one that only needs time.
        at = next((other for other in party.on if other in parties and parties[other].wait), None)
        if at is None and party.on:
            at = party.on[0]
    return tuple(found)
