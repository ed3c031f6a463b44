"""Hold a call at the door: it has done its work, and its return waits until the verdict is settled.

A door belongs to one expectation and decides *whether* to hold; a waiting room belongs to one event loop and decides
*how long*: until the others have come in, until nothing else in the program can move, or until patience has run out.
No event loop is known here: a loop's own module runs the room's `look` on its loop.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import TYPE_CHECKING, Literal, Protocol

from .._sequence import next_number
from .._trace import Release, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .journal import Journal
    from .recorder import LiveSpan, Recorder


# For so long, in seconds, a busy system may keep patience from running out.
_MOST_GRANTED = 30.0
# A remainder of less than this part of the patience is none: a call that is held for an instant more and let go, since
# it is over, would put the verdict in doubt over whatever happened to be under way in that instant.
_LEAST_LEFT = 0.2


@dataclass(frozen=True, slots=True)
class Rule:
    """What one expectation wants to see at its door."""

    expectation: int
    targets: tuple[str, ...]
    at_least: int = 2
    at_most: int | None = None
    patience: float = 1.0
    exclusive: bool = False
    """Nobody may come in while another is inside."""
    at_start: bool = False
    """Calls are held before their work instead of after it: what they do is to be seen while all are at it."""


class Line:
    """Calls that are to begin together."""

    def __init__(self) -> None:
        self.coming: set[int] = set()
        """Those that are not ready yet."""
        self._alarms: list[Callable[[], None]] = []

    def ready(self, call: int, alarm: Callable[[], None] | None = None) -> None:
        """Say that *call* is ready; *alarm* is called when all are."""
        if alarm is not None:
            self._alarms.append(alarm)
        self.coming.discard(call)
        if not self.coming:
            alarms, self._alarms = self._alarms, []
            for each in alarms:
                each()


class Door:
    """Counts who is in, and says whether that settles its expectation."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.settled = False
        self.patience = rule.patience
        """What is left of it, in seconds. All calls share it: a program that is never quiet, or that makes ten thousand
        calls, is slowed by no more than this."""
        self.line = Line()
        """Where calls are held at their start."""
        self._inside: dict[int, LiveSpan] = {}

    def entered(self, live: LiveSpan) -> None:
        self._inside[live.id] = live

    def left(self, live: LiveSpan) -> None:
        self._inside.pop(live.id, None)

    def wants(self, live: LiveSpan) -> bool:
        """Tell whether this call, which is about to begin or whose work is done, should be held."""
        if self.settled or live.name not in self.rule.targets:
            return False
        if live.outcome == "open":
            return self.rule.at_start
        # One that kept the loop blocked proves nothing by staying; one that is being cancelled must go.
        return not self.rule.at_start and not live.blocked and live.outcome in ("returned", "raised")

    def is_met(self, elsewhere: Iterable[tuple[str, tuple[int, int]]] = ()) -> bool:
        """Tell whether those inside now settle the verdict.

        Args:
            elsewhere: Calls in progress in other processes: the name, and the process and its strand.
        """
        inside = [(live.name, (0, live.strand.strand.id)) for live in tuple(self._inside.values())] + list(elsewhere)
        strands = {strand for _, strand in inside}
        if self.rule.exclusive:
            return len(strands) >= 2
        if len(self.rule.targets) > 1:
            # A call and the calls that it makes itself are one flow of control: each target needs its own strand.
            choices = [{strand for name, strand in inside if name == target} for target in self.rule.targets]
            return _all_different(choices)
        if self.rule.at_most is not None:
            # A limit is proven by waiting for the one too many.
            return len(strands) > self.rule.at_most
        return len(strands) >= self.rule.at_least


def _all_different(choices: list[set[tuple[int, int]]]) -> bool:
    """Tell whether one of each can be picked with no two alike."""
    if not all(choices):
        return False
    if sum(map(len, choices)) == len(set().union(*choices)):
        return True
    strands = sorted(set().union(*choices))
    return any(
        all(strand in choice for strand, choice in zip(order, choices, strict=True))
        for order in permutations(strands[:8], len(choices))
    )


class Gate(Protocol):
    """One event loop's side of holding."""

    async def hold(self, door: Door, live: LiveSpan, pending: BaseException | None) -> None:
        """Return when the call may go; *pending* is the exception that it is about to raise."""

    def nudge(self) -> None:
        """Look again soon: somebody came in. May be called from any thread."""


class PlainGate(Protocol):
    """The threads' side of holding, for calls that nobody awaits."""

    def is_here(self) -> bool:
        """Tell whether a call may be held in this thread: not where an event loop would stand still meanwhile."""

    def hold(self, door: Door, live: LiveSpan) -> None:
        """Return when the call may go."""

    def line_up(self, line: Line, call: int) -> None:
        """Return when all calls in *line* are ready, as *call* is now."""

    def nudge(self) -> None:
        """Look again soon: somebody came in. May be called from any thread."""


class Doors:
    """All doors of one test."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.doors: list[Door] = []
        self.find_gate: list[Callable[[], Gate | None]] = []
        """Asked in order for the gate of the loop that runs in this thread."""
        self.plain_gates: list[PlainGate] = []
        """Asked in order for the one that may hold a call which nobody awaits."""
        self._occupied: set[Gate | PlainGate] = set()

    def add(self, rule: Rule) -> None:
        self.doors.append(Door(rule))

    def begin_anew(self, rules: Iterable[Rule]) -> None:
        """This is a child process: whom its parent holds is not its affair, what is to be seen is."""
        self.doors = [Door(rule) for rule in rules]
        self._occupied = set()

    def tell(self, journal: Journal) -> None:
        """There will be child processes: tell them by *journal* what was held here already."""
        for door in self.doors:
            journal.spent(door.rule.expectation, door.rule.patience - door.patience)
            if door.settled:
                journal.settled(door.rule.expectation)

    def entered(self, live: LiveSpan) -> None:
        for door in self.doors:
            if live.name in door.rule.targets:
                door.entered(live)
                for gate in tuple(self._occupied):
                    gate.nudge()

    def left(self, live: LiveSpan) -> None:
        for door in self.doors:
            door.left(live)

    async def hold(self, live: LiveSpan, pending: BaseException | None) -> None:
        """Return when no door wants to keep this call."""
        for door in self._wanting(live):
            for find in self.find_gate:
                gate = find()
                if gate is not None:
                    break
            else:
                continue
            self._occupied.add(gate)
            await gate.hold(door, live, pending)

    def hold_plain(self, live: LiveSpan) -> None:
        """Return when no door wants to keep this call, which is nobody's to await."""
        for door in self._wanting(live):
            gate = self._plain_gate_here()
            if gate is not None:
                self._occupied.add(gate)
                gate.hold(door, live)

    def hold_at_start(self, live: LiveSpan) -> None:
        """Return when this call, which nobody awaits, may begin with its work."""
        for door in self.doors:
            if door.rule.at_start and door.wants(live):
                gate = self._plain_gate_here()
                if gate is not None:
                    self._start_together(door, live, gate)

    def _start_together(self, door: Door, live: LiveSpan, gate: PlainGate) -> None:
        door.line.coming.add(live.id)
        try:
            if self.is_met(door):
                self.settle(door)
            elif self.patience(door) > 0:
                self._occupied.add(gate)
                gate.hold(door, live)
            self.recorder.about_to_begin(live)
        finally:
            # Whoever began at once would keep the GIL from those who have to wake up first.
            gate.line_up(door.line, live.id)
        self.recorder.let_in(live)

    def _plain_gate_here(self) -> PlainGate | None:
        return next((gate for gate in self.plain_gates if gate.is_here()), None)

    def _wanting(self, live: LiveSpan) -> Iterator[Door]:
        for door in self.doors:
            if not door.wants(live) or self.patience(door) <= 0:
                continue
            if self.is_met(door):
                self.settle(door)
            else:
                yield door

    def patience(self, door: Door) -> float:
        """Return how long calls may still be held at *door*, in seconds."""
        others = self.recorder.others
        spent = others.spent(door.rule.expectation) if others is not None else 0.0
        return max(0.0, door.patience - spent)

    def is_met(self, door: Door) -> bool:
        """Tell whether those inside now, in this process and in others, settle the verdict."""
        others, rule = self.recorder.others, door.rule
        if others is None:
            return door.is_met()
        return others.has_settled(rule.expectation) or door.is_met(others.inside(rule.targets))

    def settle(self, door: Door) -> None:
        """The verdict is open no longer: nobody is held at *door* from now on."""
        door.settled = True
        if self.recorder.journal is not None:
            self.recorder.journal.settled(door.rule.expectation)
        for gate in tuple(self._occupied):
            gate.nudge()

    def release_all(self) -> None:
        """Let everybody go: the recording is over."""
        for door in self.doors:
            self.settle(door)


@dataclass(frozen=True, slots=True)
class Timers:
    """Which of a loop's timers matter to those at the door."""

    soon: bool = False
    """One is due before patience runs out."""
    later: bool = False
    """One is due after that: it cannot change the verdict, whatever it does."""
    strikes: float | None = None
    """The loop's time at which a held call's own time-out would cancel it: it must be let go well before."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a loop's module sees when it asks what could still move."""

    busy: bool = False
    """Something is ready to run at once."""
    timers: Timers = Timers()
    outside: tuple[str, ...] = ()
    """Workers, sockets and threads that could bring something in, in words."""
    waits: tuple[Wait, ...] = ()

    @property
    def is_quiet(self) -> bool:
        return not (self.busy or self.timers.soon or self.outside)

    @property
    def pending(self) -> tuple[str, ...]:
        """Return what could still move, in words."""
        timer = ("a timer",) if self.timers.soon or self.timers.later else ()
        return self.outside + timer + (("tasks that are ready to run",) if self.busy else ())


@dataclass(eq=False, slots=True)
class Held:
    """One call at the door."""

    door: Door
    live: LiveSpan
    key: object
    """Its task."""
    since: float
    go: Callable[[], None]


@dataclass(eq=False)
class WaitingRoom:
    """The calls that one event loop holds, and when to let them go."""

    doors: Doors
    survey: Callable[[Iterable[Held], float], Survey]
    """Given the held calls and the loop's time until which they may wait."""
    quiet_turns: int = 1
    """How many looks in a row must find nothing, where a loop cannot be seen into."""
    held: list[Held] = field(default_factory=list)
    _quiet: int = 0
    _looked: float | None = None
    """When it was looked last, while somebody was held."""
    _granted: float = 0.0
    """For how long nobody's patience ran."""

    def _grant(self, seconds: float) -> None:
        self._granted += seconds
        for held in self.held:
            held.since += seconds

    def look(self, now: float) -> Literal["empty", "busy", "idle"]:
        """Let go whoever can be; return what is left: nobody, or people who wait for something busy or idle."""
        for held in tuple(self.held):
            if self.doors.is_met(held.door):
                # An exclusive door that was broken is settled as any other: nothing can mend it.
                self.doors.settle(held.door)
            if held.door.settled:
                self._let_go([held], "met", Survey(), now)
        if not self.held:
            self._quiet = 0
            self._looked = None
            return "empty"
        others = self.doors.recorder.others
        if others is not None:
            # How long a system takes to start a process, and to let it run, says nothing about the program.
            passed = now - self._looked if self._looked is not None else 0.0
            kept = others.kept_waiting()
            if self._granted < _MOST_GRANTED:
                self._grant(passed if others.are_starting() else min(passed, kept))
        self._looked = now
        horizon = min(held.since + self.doors.patience(held.door) for held in self.held)
        survey = self.survey(self.held, horizon)
        if others is not None:
            survey = replace(survey, outside=(*survey.outside, *others.pending()))
        if survey.is_quiet:
            self._quiet += 1
            if self._quiet < self.quiet_turns:
                return "busy"
            self._quiet = 0
            # One door at a time, the last to be reached first: another may be waiting for what comes after it.
            # Being alone now settles nothing for good: the next calls may still come in together.
            door = self.held[-1].door
            self._let_go([held for held in self.held if held.door is door], "quiet", survey, now)
            return "busy" if self.held else "empty"
        self._quiet = 0
        for held in tuple(self.held):
            limit = held.since + self.doors.patience(held.door)
            if survey.timers.strikes is not None:
                limit = min(limit, held.since + (survey.timers.strikes - held.since) / 2)
            if now >= limit:
                self._let_go([held], "patience", survey, now)
        if not self.held:
            return "empty"
        return "busy" if survey.busy else "idle"

    def _let_go(
        self, leaving: list[Held], reason: Literal["met", "quiet", "patience"], survey: Survey, now: float
    ) -> None:
        door = leaving[0].door
        spent = self.doors.patience(door) if reason == "patience" else now - min(held.since for held in leaving)
        left = door.patience - spent
        door.patience = 0 if reason == "patience" or left < door.rule.patience * _LEAST_LEFT else left
        recorder = self.doors.recorder
        if recorder.journal is not None:
            recorder.journal.spent(door.rule.expectation, spent)
        recorder.add_release(
            Release(
                number=next_number(),
                time=recorder.now(),
                expectation=door.rule.expectation,
                reason=reason,
                spans=tuple(held.live.id for held in leaving),
                waits=survey.waits,
                pending=survey.pending,
            )
        )
        for held in leaving:
            self.held.remove(held)
            held.go()
