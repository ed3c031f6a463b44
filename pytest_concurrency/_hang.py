"""Who waits for whom at one instant of a program that does not go on, as frozen data.

What takes the snapshot writes this; the verdict on it and its text are functions of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ._trace import Place

Kind = Literal["task", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that lets only so many go on, in the hands of one party."""

    what: str
    """As in `Party.what`: ``Lock `a` ``."""
    place: Place | None = None
    """The line that took it."""
    sure: bool = True
    """False where only the source says so: an `acquire()` further up, and no `release()` since."""


@dataclass(frozen=True, slots=True)
class Party:
    """A task, a thread or a child process, and what it waits for."""

    id: int
    kind: Kind
    name: str
    wait: str = ""
    """`lock`, `semaphore`, `limiter`, `get`, `put`, `join queue`, `event`, `condition`, `barrier`, `task`, `future`,
    `timer`, `io`, `worker`, `join`, `result`, `process`, `held`, `turn` (of its event loop, which stands still);
    `child` (a process that says what it does: its main thread is in `on`);
    `loop` (a thread that runs one), `runs` (a thread whose loop is kept by the task in `on`), `idle` (a pool's thread
    without a job), `call` (of a function that does not return), `` where nothing is known: it may be running."""
    what: str = ""
    """What it waits for, by type and name: ``Lock `a` ``."""
    on: tuple[int, ...] = ()
    """The parties that could let it go on: a lock's holders, the awaited tasks, the joined thread."""
    any_of: bool = False
    """One of `on` is enough to let it go on; False where it needs them all."""
    place: Place | None = None
    """Where it stands: the innermost line of the user's own code."""
    code: str = ""
    """That line."""
    holds: tuple[Hold, ...] = ()
    note: str = ""
    """More about what it waits for, in a few words."""
    within: float | None = None
    """The time limit of the wait, in seconds."""
    bystander: bool = False
    """It belongs to a test runner or a tool and has no line of the user's."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Everybody in the program at one instant."""

    parties: tuple[Party, ...] = ()
    root: int | None = None
    """The party that runs the test's body."""
    lost: tuple[str, ...] = ()
    """What could not be looked at, in words."""

    def party(self, number: int) -> Party:
        """Return the party with this id.

        Raises:
            KeyError: There is none.
        """
        for party in self.parties:
            if party.id == number:
                return party
        raise KeyError(number)


def to_json(hang: Hang) -> dict[str, Any]:
    """Return *hang* in a form that another process can read."""
    return asdict(hang)


def from_json(data: dict[str, Any]) -> Hang:
    """Return what `to_json` was given."""
    parties = []
    for each in data["parties"]:
        holds = tuple(Hold(hold["what"], _place(hold["place"]), hold["sure"]) for hold in each["holds"])
        place = _place(each["place"])
        parties.append(Party(**{**each, "on": tuple(each["on"]), "holds": holds, "place": place}))
    return Hang(tuple(parties), data["root"], tuple(data["lost"]))


def _place(data: dict[str, Any] | None) -> Place | None:
    return Place(**data) if data is not None else None
