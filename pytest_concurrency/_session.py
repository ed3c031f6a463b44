"""One test's life: start recording, run the body, judge, stop."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

from ._child import Orders, Summons, Target
from ._errors import ConcurrencyError, OverlapError, ParallelismError
from ._imports import unwatchable_loops, when_imported
from ._judge import exclusion, overlap, parallelism
from ._record import process_resources, thread_strands
from ._record.cpu_clocks import CpuClocks
from ._record.door import Doors, Rule
from ._record.others import OtherProcesses
from ._record.processes import Children
from ._record.recorder import Recorder
from ._record.targets import TargetError, resolve
from ._record.thread_gate import ThreadGate
from ._record.watch import watch
from ._settings import Blocking
from ._show.messages import Page, exclusion_message, overlap_message
from ._show.parallelism import parallelism_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._markers import Expectation
    from ._record.journal import Journal, Start
    from ._record.targets import Resolved
    from ._trace import Block, Leak, Trace


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation and what became of it."""

    marker: str
    held: bool
    message: str
    error: type[ConcurrencyError] = OverlapError


class Session:
    """Records one test, from before its fixtures to after its teardown."""

    def __init__(self, nodeid: str = "", page: Page | None = None, blocking: Blocking | None = None) -> None:
        self.recorder = Recorder(nodeid)
        self.blocking = blocking or Blocking()
        self.doors = Doors(self.recorder)
        self.page = page or Page()
        self.judged: list[Judged] = []
        self.elapsed: float | None = None
        """Seconds that the body took; None while it has not ended."""
        self.leaks: list[Leak] = []
        """What was left behind and counts."""
        self.find_leaks: Callable[[], tuple[Leak, ...]] = lambda: tuple(self.leaks)
        """Looks for what would be left behind now."""
        self._body_began = perf_counter()
        self._expectations: list[Expectation] = []
        self._names: list[tuple[str, ...]] = []
        self._watched: dict[object, str] = {}
        self._targets: dict[str, Target] = {}
        self._undo = ExitStack()
        self._children = Children(self.recorder, self.doors, self._summon, self._forked, self.stop)

    def start(self) -> None:
        """Begin to record on every loop that is there, and on those that come."""
        self._undo.enter_context(self._children.record())
        self._record_strands()

    def record_as_child(self, journal: Journal, orders: Orders) -> None:
        """Record in a child process, for the one that started it: nothing is judged here."""
        self.recorder.restart(journal, OtherProcesses(orders.folder))
        self.recorder.origin = orders.origin
        self.recorder.in_body = True
        self._undo.enter_context(self._children.record(orders.folder))
        self._record_strands()
        self._begin_as_child(orders.rules)
        if orders.clocks:
            self.read_clocks(orders.clocks)

    def _forked(self) -> None:
        self._begin_as_child(self._open_rules())

    def _begin_as_child(self, rules: Iterable[Rule]) -> None:
        self.doors.begin_anew(rules)
        self.doors.plain_gates = [
            ThreadGate(self.doors) if isinstance(gate, ThreadGate) else gate for gate in self.doors.plain_gates
        ]
        # Its own first strand is the process.
        self.recorder.here()

    def _open_rules(self) -> tuple[Rule, ...]:
        return tuple(door.rule for door in self.doors.doors if not door.settled)

    def _summon(self, folder: str, start: Start) -> Summons:
        clocks = self.recorder.clocks
        targets = tuple(self._targets.values())
        most = clocks.most if clocks is not None else 0
        return Summons(Orders(folder, start, self.recorder.origin, targets, self._open_rules(), most))

    def when_imported(self, module: str, callback: Callable[[], object]) -> None:
        """Call *callback* when *module* is there, as long as this is recorded."""
        self._undo.enter_context(when_imported(module, callback))

    def _record_strands(self) -> None:
        self._undo.enter_context(thread_strands.record(self.recorder))
        self._undo.enter_context(process_resources.record(self.recorder))
        self.doors.plain_gates.append(ThreadGate(self.doors))
        self._undo.enter_context(when_imported("asyncio", self._record_asyncio))
        self._undo.enter_context(when_imported("trio", self._record_trio))
        self._undo.enter_context(when_imported("gevent", self._record_gevent))
        self._undo.enter_context(when_imported("tornado.gen", self._record_tornado))
        # Whoever is still held when recording ends must not stay so.
        self._undo.callback(self.doors.release_all)

    def _record_asyncio(self) -> None:
        from ._record import asyncio as source

        self._undo.enter_context(source.record(self.recorder, self.doors))

    def _record_trio(self) -> None:
        from ._record import trio as source

        self._undo.enter_context(source.record(self.recorder, self.doors))

    def _record_gevent(self) -> None:
        from ._record import gevent as source

        self._undo.enter_context(source.record(self.recorder, self.doors))

    def _record_tornado(self) -> None:
        from ._record import tornado as source

        self._undo.enter_context(source.record(self.recorder))

    def expect(self, expectations: Iterable[Expectation]) -> None:
        """Watch the targets of *expectations*, and hold their calls where the verdict needs it.

        Raises:
            TargetError: A target cannot be watched.
        """
        for number, expectation in enumerate(expectations):
            names = tuple(self.watch(target) for target in expectation.targets)
            if len(set(names)) < len(names):
                raise TargetError(
                    f"the same function twice among the targets: {', '.join(map(str, expectation.targets))}"
                )
            self._expectations.append(expectation)
            if expectation.marker == "must_run_in_parallel":
                self.read_clocks(4000)
            self._names.append(names)
            if names and expectation.patience > 0:
                self.doors.add(
                    Rule(
                        number,
                        names,
                        expectation.at_least,
                        expectation.at_most,
                        expectation.patience,
                        exclusive=expectation.marker == "must_not_overlap",
                        at_start=expectation.marker == "must_run_in_parallel",
                    )
                )

    def read_clocks(self, most: int, *, sparing: bool = False) -> None:
        """Take down what threads ask of the processors, from now on, *most* times.

        Args:
            sparing: Less often where calls are so short that it would show.
        """
        if self.recorder.clocks is None:
            self.recorder.clocks = CpuClocks(self.recorder, most, sparing=sparing)

    def watch(self, target: object, name: str | None = None) -> str:
        """Record the calls of *target*; return the name that their spans carry.

        Raises:
            TargetError: The target cannot be watched.
        """
        resolved = resolve(target)
        # One function may be asked for by several names; its calls are recorded once, under the first.
        key = resolved.function or (id(resolved.owner), resolved.attribute)
        known = self._watched.get(key)
        if known is None:
            known = self._watched[key] = name or resolved.name
            self._targets[known] = _for_children(resolved, known)
            named = (
                resolved
                if name is None
                else type(resolved)(name, resolved.function, resolved.owner, resolved.attribute)
            )
            self._undo.enter_context(watch(named, self.recorder, self.doors))
        for alias in (resolved.name, name):
            if alias is not None:
                self.recorder.watched[alias] = known
        return known

    @contextmanager
    def body(self) -> Iterator[None]:
        """The test's own body runs inside."""
        self.recorder.in_body = True
        self._body_began = perf_counter()
        try:
            yield
        finally:
            self.recorder.in_body = False
            self.elapsed = perf_counter() - self._body_began

    def seconds(self) -> float:
        """Return how long the body has been running, or ran."""
        return self.elapsed if self.elapsed is not None else perf_counter() - self._body_began

    def add_block(self, block: Block) -> None:
        """Take down a block that was observed; most of those that may be are harmless to others."""
        seconds = block.seconds or 0.0
        least = self.blocking.threshold if block.kind in ("file", "import") else 0.0 if block.allowed is None else 0.01
        self.recorder.add_block(replace(block, hinders=block.seconds is None or seconds >= least))

    def trace(self) -> Trace:
        """Return what has been recorded so far."""
        return self._children.merged(replace(self.recorder.trace(), leaks=tuple(self.leaks)))

    def judge(self) -> list[Judged]:
        """Return what became of each expectation."""
        trace = self.trace()
        self.judged = [
            _unless_unseen(trace, _judge(trace, number, expectation, names, self.page))
            for number, (expectation, names) in enumerate(zip(self._expectations, self._names, strict=True))
        ]
        return self.judged

    def stop(self) -> None:
        """Undo everything that recording has put in place."""
        self._undo.close()


def _unless_unseen(trace: Trace, judged: Judged) -> Judged:
    """Hold nothing for proven where no loop was seen, and one may have run that cannot be watched."""
    unseen = unwatchable_loops()
    if not judged.held or trace.backend is not None or not unseen:
        return judged
    return Judged(judged.marker, False, f"inconclusive: no event loop was seen, and {unseen}", judged.error)


def _for_children(resolved: Resolved, name: str) -> Target:
    """Return the target by the module that defines it, where it can be found there: others may import that first."""
    named = resolved.function if resolved.function is not None else resolved.owner
    module = str(getattr(named, "__module__", None) or getattr(named, "__name__", ""))
    target = f"{module}:{getattr(named, '__qualname__', '')}"
    try:
        is_there = resolved.function is not None and resolve(target).function is resolved.function
    except TargetError:
        is_there = False
    return Target(target if is_there else resolved.name, name, module)


def _judge(trace: Trace, number: int, expectation: Expectation, names: tuple[str, ...], page: Page) -> Judged:
    if expectation.marker == "must_not_overlap":
        excluded = exclusion.judge(trace, names, number)
        held = excluded.status == "held"
        return Judged("must_not_overlap", held, "" if held else exclusion_message(trace, names, excluded, page))
    if expectation.marker == "must_run_in_parallel":
        wanted = parallelism.Parallel(names, expectation.at_least)
        found = parallelism.judge(trace, wanted)
        held = found.status == "held"
        text = "" if held else parallelism_message(trace, wanted, found, page)
        return Judged("must_run_in_parallel", held, text, ParallelismError)
    asked = overlap.Overlap(names, expectation.at_least, expectation.at_most, number)
    verdict = overlap.judge(trace, asked)
    held = verdict.status == "held"
    return Judged("must_overlap", held, "" if held else overlap_message(trace, asked, verdict, page))
