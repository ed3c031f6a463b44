"""What one test did, as frozen data.

Everything that touches the world writes this; every verdict, message and picture is a function of it.
Order is told by *sequence numbers* (`first`, `last`, `number`), which one counter hands out in the whole process:
they are exact where a clock is not. Times are seconds since the recording began, for people and for pictures.
Files are absolute here; they are made relative to pytest's rootdir where they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["returned", "raised", "cancelled", "closed", "open"]


@dataclass(frozen=True, slots=True)
class Place:
    """A line of somebody's code."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch in which a strand had its loop's thread, from one suspension to the next."""

    first: int
    last: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Strand:
    """One flow of control: a task, a thread, a process, a greenlet."""

    id: int
    kind: str
    """`asyncio-task`, `trio-task`, `thread`, `worker` (a pool's thread), `greenlet`, `callback` (a loop's, outside
    any task)."""
    name: str
    pid: int
    thread: int
    parent: int | None = None
    """The strand that started it, where one did."""
    first: int = 0
    start: float = 0.0
    last: int | None = None
    """None while it is alive."""
    end: float | None = None
    place: Place | None = None
    """The user's line that started it."""
    started_by_test: bool = False
    """The test's body started it, or a strand that the body started; the body itself and fixtures are not meant."""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What a pool's thread did for somebody who handed it in."""

    strand: int
    """The thread."""
    submitted: int
    first: int
    start: float
    last: int | None = None
    end: float | None = None
    by: int | None = None
    """The strand that handed it in."""
    place: Place | None = None
    """The user's line that did."""


@dataclass(frozen=True, slots=True)
class Span:
    """One call of a watched function, or one `with span(...)` block."""

    id: int
    strand: int
    name: str
    first: int
    start: float
    done: int | None = None
    """When the work itself ended; between here and `last` the call was held at the door."""
    done_time: float | None = None
    last: int | None = None
    end: float | None = None
    outcome: Outcome = "open"
    caller: tuple[Place, ...] = ()
    """Who called, innermost first."""
    again: Place | None = None
    """The innermost line that led to this call and, in the same run of the same function, to the strand's held call
    before it: the `await` in a loop, where helpers lie between it and the call."""
    place: Place | None = None
    """The function that was called."""
    let_in: float | None = None
    """When its work began, where the call was held before that until others had come."""


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch in which code on an event loop's thread kept that loop from running anything else."""

    kind: str
    call: str
    """The call by its public name, such as `time.sleep`."""
    place: Place
    """The user's own line: the innermost frame outside the standard library and site-packages."""
    seconds: float | None
    """How long; None where it was stopped before it blocked, or its end could not be seen."""
    backend: str
    """`asyncio`, `uvloop`, `trio`, …: whose loop was blocked."""
    stack: tuple[Place, ...] = ()
    """From the user's line down to the call, outermost first."""
    strand: int | None = None
    task: str | None = None
    detail: str = ""
    """What the call was given, in a few words: `0.5 s`, a host, a path."""
    allowed: str | None = None
    """The reason why it may block; None where it may not."""
    hinders: bool = True
    """It was long enough, or of a kind, to keep others from going on: a glance at a small file is not."""
    first: int = 0
    last: int = 0
    start: float = 0.0
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class Maker:
    """A line that led to something being made, with the module that it stands in."""

    module: str
    place: Place


@dataclass(frozen=True, slots=True)
class Leak:
    """What a test started and left behind."""

    kind: str
    """`task`, `coroutine`, `thread`, `process`, `generator`, `executor`, `loop`, `socket` or `exception`."""
    name: str
    place: Place | None = None
    """The line that made it, the user's own where it is known."""
    what: str = ""
    """What it runs: a coroutine, a function, a command."""
    state: str = ""
    """In which state it was left, in words."""
    waits: str = ""
    """What it waits for: a `Wait.kind`."""
    at: Place | None = None
    """The line at which it waits, or is suspended."""
    stack: tuple[Place, ...] = ()
    """Where a thread stood, or an exception was raised, outermost first."""
    made: tuple[Maker, ...] = ()
    """Who made it, innermost first."""
    fixture: str = ""
    """The fixture that made it, with its scope; empty where the test's body did."""


@dataclass(frozen=True, slots=True)
class Use:
    """A strand took or gave back something that limits how many may go on."""

    strand: int
    action: Literal["wanted", "took", "gave"]
    """Only what processes share is *wanted* first: nobody can look into another process to see who waits."""
    kind: str
    """`lock`, `semaphore`, `limiter`, `queue`; `pool`, which a job is given to, of processes."""
    resource: int
    number: int
    place: Place | None = None
    time: float | None = None
    """Where processes share it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What one strand was waiting for when a held call was let go."""

    strand: int
    kind: str
    """`held`, `task`, `lock`, `semaphore`, `limiter`, `queue`, `event`, `timer`, `io`, `worker`, `future`, `ready`;
    of a thread `join` and `result` too, of a greenlet `pool`."""
    resource: int | None = None
    on: tuple[int, ...] = ()
    """The strands that can end this wait, where that is known: awaited tasks, a lock's holders."""
    place: Place | None = None
    """The innermost line of the user's own code in it."""


@dataclass(frozen=True, slots=True)
class Release:
    """A held call was let go, and why."""

    number: int
    time: float
    expectation: int
    reason: Literal["met", "quiet", "patience"]
    """The verdict was settled by the other calls; nothing else could move; patience ran out."""
    spans: tuple[int, ...]
    waits: tuple[Wait, ...] = ()
    pending: tuple[str, ...] = ()
    """What could still have moved, in words, when patience ran out."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A strand waited from one of its steps to the next. Times are those of the clock that a deadline is judged by."""

    start: float
    end: float
    kind: str
    """As `Wait.kind`."""
    on: tuple[int, ...] = ()
    """The strands that ended it, where that is known: awaited tasks, who gave the lock back."""
    place: Place | None = None
    """The innermost line of the user's own code in it, None where there is none."""
    span: str | None = None
    """The name of the innermost span that was open on that strand."""


@dataclass(frozen=True, slots=True)
class Course:
    """What one strand waited for, in seconds since the test's body began."""

    strand: int
    start: float
    end: float
    """When it last ran."""
    waits: tuple[Stretch, ...] = ()
    """Those that were long enough to matter, in order."""


@dataclass(frozen=True, slots=True)
class Duration:
    """How long the test's body took, in seconds."""

    wall: float
    """On the clock: the virtual one, or that of the machine."""
    clock: Literal["virtual", "real"] = "real"
    queued: float | None = None
    """How much of it the test's thread waited for a processor that others had; None where the system does not say."""
    cpu: float = 0.0
    """How much of it the test's thread computed, as the system counts: what was stolen from it meanwhile is in it."""
    busy: float = 0.0
    """How long all processors of the machine together were busy meanwhile."""
    stolen: float = 0.0
    """How much of that a hypervisor gave to other machines."""


@dataclass(frozen=True, slots=True)
class Standstill:
    """Everybody waits, and nothing is left that could end a wait."""

    time: float
    """On the virtual clock, since the test's body began."""
    waits: tuple[Wait, ...] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """What one thread had asked of the processors at one instant, in seconds since it began."""

    strand: int
    number: int
    time: float
    cpu: float
    """Spent computing."""
    queued: float | None = None
    """Spent waiting for a processor; None where the system does not say."""
    switches: int | None = None
    """How often it went to sleep of its own accord."""
    lock: Place | None = None
    """The user's line at which it took a lock."""
    awake: bool = False
    """It was not asleep at that instant."""
    used: float | None = None
    """What all programs of the system have spent computing since it began …"""
    stolen: float | None = None
    """… and for how long its host kept processors from it meanwhile. None where the system does not say."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything recorded in one test."""

    nodeid: str = ""
    backend: str | None = None
    seconds: float = 0.0
    strands: tuple[Strand, ...] = ()
    spans: tuple[Span, ...] = ()
    jobs: tuple[Job, ...] = ()
    blocks: tuple[Block, ...] = ()
    leaks: tuple[Leak, ...] = ()
    uses: tuple[Use, ...] = ()
    releases: tuple[Release, ...] = ()
    clocks: tuple[Clock, ...] = ()
    courses: tuple[Course, ...] = ()
    """Where the test has a deadline."""
    cores: int | None = None
    """How many processors were free; None where nobody asked."""
    gil: bool | None = None
    """Whether only one thread at a time runs Python code; None where nobody asked."""
    lost: tuple[str, ...] = ()
    """What is not known, in words: a child process that was killed inside a call, or could not be watched."""
    watched: dict[str, str] = field(default_factory=dict)
    """Targets by the name that their spans carry -> the target as the user wrote it."""

    def strand(self, number: int) -> Strand:
        """Return the strand with this id.

        Raises:
            KeyError: There is none.
        """
        # As the recorder numbers them; a trace of 20 000 strands is asked for each of them.
        if 0 < number <= len(self.strands) and self.strands[number - 1].id == number:
            return self.strands[number - 1]
        for strand in self.strands:
            if strand.id == number:
                return strand
        raise KeyError(number)
