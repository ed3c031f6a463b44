"""A thread that looks where a loop's thread is while its turn is overdue. There is none while no loop runs."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from .._frames import caller_of, current_frames, keeps_no_locals, locals_of, wait_until_gone
from .._originals import RLock, allocate_lock, get_ident, start_new_thread, take_within
from .clocks import Reading
from .frames import locate, module_of
from .lanes import LATE
from .overdue import EVERY, UNTOLD, Sample, kernel_kind
from .policy import allowed_in, allowed_under, innocent, is_debugged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from .clocks import ThreadClocks
    from .frames import Site
    from .lanes import Lane

_COUNTS_LATE = (3, 12) <= sys.version_info < (3, 14)
"""These versions warn of a fork by the threads that are there when all hooks have been called after it."""
_LINGER = 40
"""Looks without any loop after which the thread ends; a suite that runs a loop per test keeps one thread."""
_LEFT = 400
"""Looks after which a thread that does not come back to its hub is looked at no more."""
_MOST = 200
_LET_GO = 6
"""How often the GIL is let go of while another thread's clocks are read."""
_running: weakref.WeakSet[Sampler] = weakref.WeakSet()


class Sampler:
    """Looks at every lane, a few times in each overdue turn."""

    def __init__(
        self,
        clocks: ThreadClocks,
        clock: Callable[[], float],
        allowed: Callable[[Site, str], str | None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._clocks = clocks
        self._clock = clock
        self._allowed = allowed
        self._on_failure = on_failure
        self._lanes: dict[int, Lane] = {}
        self._stop: Any = None
        self._ended: Any = None
        self._native = 0
        self._is_seen = False
        """Another thread has looked since ours began to wait: what ours waited for has been told already."""
        self._awake = 0.0
        self._woken: float | None = None
        self._lock = RLock()
        self._looking = allocate_lock()
        """Taken while a turn that is overdue is looked at, and what was seen of it is reported."""
        self.failed = False

    def add(self, lane: Lane) -> None:
        """Look at this lane too."""
        self._lanes[id(lane)] = lane
        lane.wake = None
        if self._stop is None and not self.failed:
            self._start()

    def discard(self, lane: Lane) -> None:
        """Look at it no more."""
        self._lanes.pop(id(lane), None)

    def awake(self) -> float:
        """Return for how many seconds the thread has looked at something so far.

        It may have had the GIL all the time, also while a busy machine let it wait for a processor.
        """
        woken = self._woken
        return self._awake + (self._clock() - woken if woken is not None else 0.0)

    def beside(self) -> Callable[[], None]:
        """Hear of another thread that is about to wait, or to be started; return what it is to call when it goes on.

        A call that keeps the GIL keeps it from both. Whichever gets it first has to look: the turn may be over before
        the other one does.
        """
        by, sleeps = get_ident(), self._clocks.sleeps()

        def look() -> None:
            if self._stop is None or self.failed:
                return
            begun = self._clock()
            try:
                # A thread that has been started since has slept for nothing else.
                held, self._is_seen = self._kept(sleeps if get_ident() == by else 0), True
                # A hub's turns are ended by looks, of which only one may be under way.
                self._look([lane for lane in tuple(self._lanes.values()) if lane.in_thread is None], held)
            except Exception as error:
                self.failed = True
                self._on_failure(error)
            finally:
                self._awake += self._clock() - begun

        return look

    def _kept(self, sleeps: int) -> float:
        """Return for how long the GIL was kept from this thread, which had gone to sleep *sleeps* times before.

        Who waits for the GIL asks for it once in each switch interval, and sleeps in between. That tells how long it
        was not to be had, on a busy machine too, and without letting go of it.
        """
        return max(0, self._clocks.sleeps() - sleeps - 1) * sys.getswitchinterval()

    def here(self) -> Lane | None:
        """Return the lane of this thread, the innermost if there are several."""
        thread = get_ident()
        found = None
        for lane in tuple(self._lanes.values()):
            if lane.thread == thread:
                found = lane
        return found

    def _start(self) -> None:
        with self._lock:
            if self._stop is None:
                stop, ended = allocate_lock(), allocate_lock()
                stop.acquire()
                ended.acquire()
                self._stop, self._ended = stop, ended
                _running.add(self)
                # Not a `threading.Thread`: tests that count those are not to find one of ours.
                start_new_thread(self._run, (stop, ended))

    def stop(self) -> None:
        """End the thread and wait until it has."""
        with self._lock:
            stop, self._stop = self._stop, None
            if stop is not None:
                stop.release()
                take_within(self._ended, 5)
                wait_until_gone(self._native)

    def settle(self) -> None:
        """Wait for the look that the thread is about: its turn, and the test with it, may have ended meanwhile."""
        if self._stop is not None and take_within(self._looking, 1):
            self._looking.release()

    def resume(self) -> None:
        """Go on where `stop` interrupted."""
        lanes = tuple(self._lanes.values())
        if lanes and not self.failed:
            if _COUNTS_LATE and all(lane.backend != "uvloop" for lane in lanes):
                # With the next turn of a loop, once it has counted.
                for lane in lanes:
                    lane.wake = self._wake
            else:
                self._start()

    def _wake(self) -> None:
        for lane in tuple(self._lanes.values()):
            lane.wake = None
        if self._lanes and not self.failed:
            self._start()

    def forget(self) -> None:
        """In a forked child there is neither the thread nor any of the loops' threads."""
        self._stop = None
        self._lock = RLock()
        self._looking = allocate_lock()
        self._lanes.clear()

    def _run(self, stop: Any, ended: Any) -> None:
        quiet = 0
        self._native = threading.get_native_id()
        sleeps = 0
        try:
            while True:
                held = 0.0 if self._is_seen else self._kept(sleeps)
                # At once: the thread may have been started just before a call that keeps the GIL, and get it only now.
                self._woken = self._clock()
                self._look(tuple(self._lanes.values()), held)
                self._awake, self._woken = self.awake(), None
                sleeps, self._is_seen = self._clocks.sleeps(), False
                if stop.acquire(timeout=EVERY):
                    break
                quiet = 0 if self._lanes else quiet + 1
                if quiet > _LINGER:
                    with self._lock:
                        if self._stop is stop and not self._lanes:
                            self._stop = None
                            return
        except Exception as error:
            self.failed = True
            self._stop = None
            self._on_failure(error)
        finally:
            ended.release()

    def _look(self, lanes: Sequence[Lane], held: float) -> None:
        for lane in lanes:
            if lane.in_thread is not None and not self._is_in_turn(lane):
                continue
            began = lane.began
            if lane.backend == "uvloop" and not began:
                if lane.ending:
                    continue
                with self._looking:
                    # It may have ended since: whoever has taken it out waits for the look that was under way.
                    if id(lane) in self._lanes:
                        self._knock(lane, held)
            elif began and self._clock() - began >= LATE and len(lane.samples) < _MOST:
                with self._looking:
                    # Another look may have been under way, and the turn be over.
                    if lane.began == began:
                        self._sample_of(lane, began, held)

    def _is_in_turn(self, lane: Lane) -> bool:
        """Tell whether a hub's thread runs a greenlet, as far as is known: its own affairs are no part of a turn."""
        if lane.in_thread is not None and lane.in_thread():
            if lane.began and not lane.paused:
                # What was seen of the turn is weighed up to here.
                lane.closed = self._clocks.read_of(lane.native) if lane.samples else None
                if lane.closed is None:
                    lane.samples.clear()
            lane.paused += 1
            if lane.paused > _LEFT:
                # Until the hub comes by again, or somebody starts a greenlet.
                self.discard(lane)
            return False
        if lane.paused:
            # The hub goes on in the middle of what it was doing, and does not tell: a new turn.
            lane.paused = 0
            lane.end(self._clock())
            reading = self._clocks.read_of(lane.native)
            if reading is not None:
                lane.reading, lane.began = reading, reading.wall
        return True

    def _knock(self, lane: Lane, kept: float) -> None:
        """Begin a turn of a loop that does not tell: it ends when the loop comes round to our callback."""
        before, lane.seen_cpu = lane.seen_cpu, lane.cpu()
        if not _is_in_python(lane.thread):
            return
        # A call that kept the GIL left us no chance to knock: the turn began at least so long ago.
        missed = min(kept, lane.seen_cpu - before)
        sample = self._seen(lane, self._frame(lane), kept) if missed >= LATE else None
        began, cpu, sleeps = self._clock(), lane.cpu(), self._clocks.sleeps()
        found = [sample] if sample is not None else []

        def look_if_kept() -> None:
            # A call that keeps the GIL may begin in the middle of this: look as soon as it lets go.
            if not found and self._clock() - began >= LATE:
                seen = self._seen(lane, self._frame(lane), kept)
                found.extend([seen] if seen is not None else [])

        reading = self._clocks.read_of(lane.native, look_if_kept)
        if reading is None:
            return
        held = max(0, self._clocks.sleeps() - sleeps - _LET_GO) * sys.getswitchinterval()
        if sample is not None:
            lane.reading = reading._replace(
                wall=reading.wall - missed, cpu=reading.cpu - missed, user=reading.user - missed
            )
        elif found and min(held, lane.cpu() - cpu) >= LATE:
            sample = found[0]
            lane.reading = reading._replace(wall=began, cpu=cpu, user=cpu)
        else:
            lane.reading = reading
        lane.samples = [sample] if sample is not None else []
        lane.began = turn = lane.reading.wall
        # Where the loop has nothing more to run, the end of its run waits for this look and ends the turn.
        with suppress(RuntimeError):
            lane.loop.call_soon_threadsafe(lambda: lane.end(self._clock()))
        # Who waits already may have done so for long, and no more when the next look comes.
        if sample is None and self._kernel(lane.native) not in ("", UNTOLD) and lane.began == turn:
            self._sample_of(lane, turn, kept)

    def _sample_of(self, lane: Lane, began: float, held: float) -> None:
        # First what can be seen without letting go of the GIL: a call that kept it has just ended, and so will its turn
        # as soon as we let go.
        samples = lane.samples
        if not samples:
            lane.look(began)
        sample = self._seen(lane, self._frame(lane), held)
        lane.looked_at = 0.0
        if sample is None:
            return
        if lane.began != began:
            # A machine that is busy took the processor away from us in the middle of it.
            lane.seen_late(began, sample)
            return
        lane.add(sample)
        kernel = self._kernel(lane.native)
        if not kernel or lane.began != began:
            return
        closer = self._seen(lane, self._frame(lane), held, kernel)
        if closer is not None:
            samples[-1:] = [closer._replace(step=sample.step)]
        elif kernel != UNTOLD:
            samples.pop()

    def _frame(self, lane: Lane) -> FrameType | None:
        """Return where the thread of *lane* is, to be let go of before the GIL is.

        What a frame refers to would else outlive its last use in the program, by as long as a garbage collection takes.
        """
        # Whatever runs in a collection was called by the collector.
        return None if lane.collecting else current_frames().get(lane.thread)

    def see(self, lane: Lane, frame: FrameType) -> None:
        """Put down that the thread of *lane*, which asks for it, is in *frame*."""
        sample = self._seen(lane, frame, 0.0)
        if sample is not None and lane.began and len(lane.samples) < _MOST:
            lane.add(sample)

    def _seen(self, lane: Lane, frame: FrameType | None, held: float, kernel: str = "") -> Sample | None:
        if frame is None:
            return None
        step, others, context, task = _step_of(frame)
        if lane.running is not None:
            if module_of(frame) == "gevent.hub":
                # The hub itself, which waits or hands over.
                return None
            lane.last = running = lane.running(lane.last)
            # Nobody that is known: then no two looks have seen the same.
            step, task = (running, getattr(running(), "name", None)) if running is not None else (object(), None)
        site = locate(frame, "")
        if site is None or not site.step:
            return None
        kind = kernel_kind(kernel) or "cpu"
        if innocent(kind, site.inner) is not None or is_debugged(site.step):
            return None
        return Sample(
            reading=Reading(self._clock(), max(0.0, lane.cpu() - lane.collected), 0.0, 0.0),
            step=step,
            others=others,
            # Without the frames: they would keep alive what the program has let go of.
            site=site._replace(inner=(), step=()),
            kernel=kernel,
            task=task,
            allowed=allowed_in(context) or allowed_under(frame) or self._allowed(site, site.call),
            span=_span(site),
            held=max(0.0, held - lane.collected),
        )

    def _kernel(self, native: int) -> str:
        try:
            with open(f"/proc/self/task/{native}/wchan") as file:
                name = file.read(80).strip()
        except OSError:
            return UNTOLD
        return "" if name == "0" else name


def _is_in_python(thread: int) -> bool:
    """Tell whether *thread*, on which a loop in C runs, is in code that the loop called."""
    frame = current_frames().get(thread)
    if frame is None or module_of(frame) == "pytest_concurrency._blocking.turns":
        return False
    # As a loop in C begins to run, it has Python make a pair of sockets for it.
    return module_of(frame) != "socket" or frame.f_code.co_name != "socketpair"


def _step_of(frame: FrameType | None) -> tuple[object, int, Any, str | None]:
    """Return what the loop runs, how many more it has to run in this turn, its context and its task's name."""
    each = frame
    outermost: FrameType | None = frame
    while each is not None:
        module, name = module_of(each), each.f_code.co_name
        if module == "asyncio.events" and name == "_run":
            (handle,) = _locals_of(each, "self")
            above = caller_of(each)
            (more,) = _locals_of(above, "ntodo") if above is not None and above.f_code.co_name == "_run_once" else (0,)
            task = getattr(getattr(handle, "_callback", None), "__self__", None)
            get_name = getattr(task, "get_name", None)
            # A handle lets go of itself when it is done; then this step is none that we will see again.
            return (
                id(handle) if handle is not None else object(),
                more,
                getattr(handle, "_context", None),
                get_name() if get_name is not None else None,
            )
        if module == "trio._core._run" and name == "unrolled_run":
            known = _locals_of_trio(each)
            if known is None:
                break
            task, batch = known
            return id(task), len(batch or ()), getattr(task, "context", None), getattr(task, "name", None)
        if module == "pytest_concurrency._blocking.turns":
            break
        outermost, each = each, caller_of(each)
    return (id(outermost), outermost.f_code if outermost is not None else None), 0, None, None


def _locals_of(frame: FrameType, *names: str) -> tuple[Any, ...]:
    """Return variables of a frame that lasts no longer than a step, or only until it goes on."""
    known = locals_of(frame)
    return tuple(known.get(name) for name in names)


def _locals_of_trio(frame: FrameType) -> tuple[Any, Any] | None:
    """Return the task and the batch of trio's own frame, None where they must not be asked for."""
    if sys.version_info >= (3, 13):
        task, batch = _locals_of(frame, "task", "batch")
        return task, batch
    # It lasts as long as the run: what would be kept in it is not to be looked at.
    if not keeps_no_locals():
        return None
    task, batch = _locals_of(frame, "task", "batch")
    return task, batch


def _span(site: Site) -> tuple[str, int, int, int] | None:
    """Return where the call that the user's line was in is written."""
    frame = next((each for each in site.step if each.f_code.co_filename == site.place.file), None)
    if frame is None or frame.f_lasti < 0:
        return None
    position = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), None)
    line, end, start, stop = position or (None,) * 4
    if line is None or line != end or start is None or stop is None:
        return None
    return frame.f_code.co_filename, line, start, stop


def _before_fork() -> None:
    for sampler in tuple(_running):
        sampler.stop()


def _after_fork_in_parent() -> None:
    for sampler in tuple(_running):
        sampler.resume()


def _after_fork_in_child() -> None:
    for sampler in tuple(_running):
        sampler.forget()


if hasattr(os, "register_at_fork"):
    # A fork beside a running thread is warned of from Python 3.12 on, and may leave its locks taken in the child.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
