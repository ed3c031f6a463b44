"""Look at every task and thread of the process once, and write down who waits for whom."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._frames import locals_of
from .._hang import Hang, Hold, Party
from .._places import outward, owner, place_of
from . import forks
from . import threads as of_threads
from .draft import Draft, Grip, inner_lock, is_in
from .source import code_at, name_of

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from .._record.recorder import Recorder

_LIMITS = frozenset({"lock", "semaphore", "limiter"})
_TYPES = {"lock": "Lock", "_RLock": "RLock", "SimpleQueue": "Queue"}


def snapshot(body: CodeType | None = None, recorder: Recorder | None = None) -> Hang:
    """Return who waits for whom at this instant.

    It may be called in any thread, and in a signal handler. Nothing of the user's is called for it.

    Args:
        body: The code of the test's function: the party that runs it is where the reader begins.
        recorder: What records the test, where something does: it knows who took a lock and has ended since.
    """
    return _Snapshot(recorder).hang(body)


class _Snapshot:
    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._lost: list[str] = []
        self._threads = of_threads.look(own=_interrupted())
        self._tasks: list[Draft] = []
        # Asked for by name: whoever has imported neither runs neither.
        for library in ("asyncio", "trio"):
            if library in sys.modules:
                self._add_tasks(library)
        self._processes: list[Draft] = []
        self._told: list[tuple[Draft, Hang]] = []
        """What child processes say of themselves."""
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []
        """What is named by its identity must live as long."""

    def _add_tasks(self, library: str) -> None:
        try:
            if library == "asyncio":
                from . import asyncio as source
            else:
                from . import trio as source  # type: ignore[no-redef]
            self._tasks += source.look(self._threads)
        except Exception as error:
            self._lost.append(f"{library}'s tasks could not be looked at: {type(error).__name__}: {error}")

    @property
    def _drafts(self) -> list[Draft]:
        return [*self._tasks, *self._threads, *self._processes]

    def hang(self, body: CodeType | None) -> Hang:
        drafts = [*self._tasks, *self._threads]
        for draft in drafts:
            if any(is_in(frame, "_record/door.py", "hold", "hold_plain") for frame in draft.frames):
                draft.wait, draft.target = "held", None
        grips = self._grips(drafts)
        for draft in drafts:
            self._find_holders(draft, grips)
            self._find_worker(draft)
            self._find_joined(draft)
        numbers = {id(draft.key): number for number, draft in enumerate(self._drafts, 1)}
        wanted = {id(inner_lock(draft.target)) for draft in drafts if draft.wait in _LIMITS}
        labels = _labels(self._drafts)
        parties = []
        for draft in self._drafts:
            # A line that is known for sure comes before one that the source alone tells of.
            held = {id(inner_lock(grip.value)): grip for grip in sorted(draft.grips, key=lambda grip: grip.sure)}
            holds = [grip for number, grip in held.items() if number in wanted]
            frame = draft.user_frame
            parties.append(
                Party(
                    id=numbers[id(draft.key)],
                    kind=draft.kind,
                    name=labels[draft],
                    wait=draft.wait,
                    what=self._what(draft),
                    on=tuple(dict.fromkeys(numbers[id(key)] for key in draft.on if id(key) in numbers)),
                    any_of=draft.any_of or draft.wait in _LIMITS,
                    place=place_of(frame) if frame is not None else None,
                    code=code_at(frame) if frame is not None else "",
                    holds=tuple(Hold(self._name(grip.value, draft), grip.place, grip.sure) for grip in holds),
                    note=draft.note,
                    within=draft.within,
                    bystander=draft.bystander,
                )
            )
        root = self._root(body)
        for process, told in self._told:
            _join(parties, numbers[id(process.key)], told)
        return Hang(tuple(parties), numbers.get(id(root.key)) if root is not None else None, lost=tuple(self._lost))

    def _root(self, body: CodeType | None) -> Draft | None:
        main = threading.main_thread()
        runs = [each for each in self._drafts if body is not None and any(f.f_code is body for f in each.frames)]
        return next(iter(runs), None) or next((each for each in self._threads if each.key is main), None)

    # Who holds what

    def _grips(self, drafts: list[Draft]) -> dict[int, list[tuple[Draft, Grip]]]:
        """Return who holds each thing, by the thing's identity."""
        found: dict[int, list[tuple[Draft, Grip]]] = {}
        for draft in drafts:
            if draft.wait in _LIMITS:
                awaited = inner_lock(draft.target)
                # What it is about to enter lies on its stack already.
                entering = next((g for g in draft.grips if g.place is None and inner_lock(g.value) is awaited), None)
                if entering is not None:
                    draft.grips.remove(entering)
            elif draft.wait == "condition":
                # Given back for as long as it waits.
                draft.grips = [g for g in draft.grips if inner_lock(g.value) is not inner_lock(draft.target)]
            for grip in draft.grips:
                found.setdefault(id(inner_lock(grip.value)), []).append((draft, grip))
        return found

    def _find_holders(self, draft: Draft, grips: dict[int, list[tuple[Draft, Grip]]]) -> None:
        if draft.wait not in _LIMITS:
            return
        lock = inner_lock(draft.target)
        owners = _owners(lock)
        if owners is not None:
            draft.on = [key for key in (self._known(each) for each in owners) if key is not None]
            if owners and not draft.on:
                draft.note = forks.holder(lock) or "held by one that has ended"
            return
        holders = [other for other, _ in grips.get(id(lock), ())]
        draft.on = [other.key for other in dict.fromkeys(holders)]
        if not draft.on:
            draft.note = forks.holder(lock)
        if not draft.on and not draft.note:
            self._ask_recorder(draft, lock)

    def _known(self, owner_key: Any) -> object:
        """Return the key of a task or a thread, given itself or a thread's identifier."""
        for draft in self._drafts:
            if draft.key is owner_key or (draft.kind == "thread" and getattr(draft.key, "ident", None) == owner_key):
                return draft.key
        return None

    def _ask_recorder(self, draft: Draft, lock: Any) -> None:
        strands = self._recorder.holders(id(lock)) if self._recorder is not None else ()
        for strand in strands:
            assert self._recorder is not None
            key = self._known(self._recorder.key_of(strand))
            if key is not None:
                draft.on.append(key)
            else:
                name = next((s.name for s in self._recorder.trace().strands if s.id == strand), "one")
                draft.note = f"taken by {name}, which has ended without giving it back"

    # Who brings what

    def _find_worker(self, draft: Draft) -> None:
        if draft.wait == "results":
            awaited = [each for each in draft.target or () if hasattr(each, "done") and not each.done()]
            draft.wait, draft.target = "result", None
            for future in awaited:
                self._bring(draft, future)
        elif draft.wait in ("result", "worker") and draft.target is not None:
            self._bring(draft, draft.target)
            draft.target = None

    def _bring(self, draft: Draft, future: Any) -> None:
        """Find out who is to bring the result of *future*."""
        workers = [each for each in self._threads if _works_for(each, future)]
        if workers:
            draft.on += [each.key for each in workers]
            return
        pool = [each for each in self._threads if any(job is future for job in of_threads.jobs_waiting(each))]
        if pool:
            draft.on += [each.key for each in pool]
            draft.any_of = True
            count = "the one thread of its pool is" if len(pool) == 1 else f"all {len(pool)} threads of its pool are"
            draft.note = f"not begun: {count} busy"
            return
        if "asyncio" not in sys.modules:
            return
        from .asyncio import feeds, is_queued, loop_of

        for task in self._tasks:
            if loop_of(task.key) is not None and feeds(task.key, future):
                draft.on.append(task.key)
                return
        for thread in self._threads:
            loop = _loop_in(thread)
            if loop is not None and is_queued(loop, future):
                draft.on.append(thread.key)
                draft.note = "not begun: its event loop stands still"
                return

    def _find_joined(self, draft: Draft) -> None:
        if draft.wait == "join":
            draft.on = [each.key for each in self._threads if each.key is draft.target]
            draft.target = None
        elif draft.wait == "process":
            self._find_child(draft)

    def _find_child(self, draft: Draft) -> None:
        target = draft.target
        pid = target if isinstance(target, int) else getattr(target, "pid", None)
        name = getattr(target, "name", None) or _command(getattr(target, "args", "")) or "child"
        draft.target = None
        if pid is None:
            return
        known = next((each for each in self._processes if each.name.endswith(f"(pid {pid})")), None)
        if known is None:
            known = Draft(target if not isinstance(target, int) else object(), "process", f"{name} (pid {pid})")
            known.wait = "silent"
            self._processes.append(known)
            told = forks.ask(pid) if _may_be_forked(target) else None
            if told is not None:
                self._told.append((known, told))
        draft.on = [known.key]

    # Names

    def _what(self, draft: Draft) -> str:
        return self._name(draft.target, draft) if draft.target is not None else ""

    def _name(self, value: Any, draft: Draft) -> str:
        """Return the type and the name of *value*, the same and no other one's wherever it comes up."""
        # A condition that is waited for is itself; one that is entered is its lock.
        deciding = value if draft.wait == "condition" and value is draft.target else inner_lock(value)
        known = self._names.get(id(deciding))
        if known is not None:
            return known
        kind = _TYPES.get(type(deciding).__name__, type(deciding).__name__).removeprefix("_")
        frames = [frame for frame in draft.frames if owner(frame.f_code.co_filename) == "user"]
        others = [f for each in self._drafts for f in each.frames if owner(f.f_code.co_filename) == "user"]
        name = next(
            (found for each in (value, deciding) for where in (frames, others) if (found := name_of(each, where))), ""
        )
        # What stands behind the name is nobody's to know.
        name = re.sub(r"(\._internal_\w+|\._\w+__original|\._lock)+$", "", name)
        text = f"{kind} `{name}`" if name else kind
        taken = set(self._names.values())
        number = 1
        unique = text
        while unique in taken:
            number += 1
            unique = f"{text} ({number})"
        self._names[id(deciding)] = unique
        self._kept.append(deciding)
        return unique


def _interrupted() -> FrameType | None:
    """Return the frame of this thread in which the program was when this was called."""
    for frame in outward(sys._getframe(1)):
        path = frame.f_code.co_filename
        if owner(path) != "own" and os.path.basename(path) not in ("pytest_timeout.py", "signal.py"):
            return frame
    return None


def _owners(lock: Any) -> list[Any] | None:
    """Return who holds a lock or a limiter that says so: tasks or identifiers of threads; None where it does not."""
    thread = of_threads.owner_of(lock)
    if thread is not None:
        return [thread]
    if type(lock).__module__.partition(".")[0] not in ("trio", "anyio"):
        return None
    for name in ("_owner", "_owner_task"):
        if hasattr(lock, name):
            value = getattr(lock, name)
            return [value] if value is not None else []
    borrowers = getattr(lock, "_borrowers", None)
    return list(borrowers) if borrowers is not None else None


def _works_for(thread: Draft, future: Any) -> bool:
    """Tell whether *thread* does the job whose future, or whose trio task, this is."""
    job = of_threads.job_of(thread)
    if job is not None:
        return job is future
    if "trio" in sys.modules:
        from .trio import worker_task

        return worker_task(thread) is future
    return False


def _loop_in(thread: Draft) -> Any:
    for frame in thread.frames:
        if is_in(frame, "asyncio/base_events.py", "_run_once", "run_forever"):
            return locals_of(frame).get("self")
    return None


def _may_be_forked(target: Any) -> bool:
    """Tell whether a child process may have a copy of this one's program."""
    return isinstance(target, int) or type(getattr(target, "_popen", None)).__module__.endswith("popen_fork")


def _join(parties: list[Party], process: int, told: Hang) -> None:
    """Add to *parties* what a child process says of its own."""
    number = next(n for n, party in enumerate(parties) if party.id == process)
    first = max(party.id for party in parties)
    where = parties[number].name
    parties += [
        replace(
            party,
            id=party.id + first,
            name=f"{party.name} of {where}",
            on=tuple(other + first for other in party.on),
            bystander=party.bystander and party.id != told.root,
        )
        for party in told.parties
    ]
    if told.root is not None:
        parties[number] = replace(parties[number], wait="child", on=(told.root + first,))


def _command(args: Any) -> str:
    words = args if isinstance(args, list | tuple) else [args]
    return os.path.basename(str(words[0])) if words and words[0] else ""


def _labels(drafts: list[Draft]) -> dict[Draft, str]:
    """Return a name for each that no other one has."""
    often = Counter(draft.name for draft in drafts)
    labels = {}
    seen: Counter[str] = Counter()
    for draft in drafts:
        seen[draft.name] += 1
        get_name = getattr(draft.key, "get_name", None)
        more = get_name() if callable(get_name) and draft.kind == "task" else ""
        if often[draft.name] == 1:
            labels[draft] = draft.name
        elif more and more != draft.name:
            labels[draft] = f"{draft.name} ({more})"
        else:
            labels[draft] = f"{draft.name} ({seen[draft.name]})"
    return labels
