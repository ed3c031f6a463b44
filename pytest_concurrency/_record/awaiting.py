"""What does a suspended coroutine wait for? Judged by the library function it is suspended in."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._frames import frame_of, locals_of
from .._places import is_trampoline, owner, place_of

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from .._trace import Place

# The end of a file's path, a function in it, and what suspending there means. The innermost match decides.
_MEANING: dict[tuple[str, str], str] = {
    ("asyncio/locks.py", "acquire"): "lock",
    ("asyncio/locks.py", "wait"): "event",
    ("asyncio/queues.py", "get"): "queue",
    ("tornado/locks.py", "__aenter__"): "lock",
    ("asyncio/queues.py", "put"): "queue",
    ("asyncio/queues.py", "join"): "queue",
    ("asyncio/tasks.py", "sleep"): "timer",
    ("asyncio/tasks.py", "_wait"): "task",
    ("asyncio/tasks.py", "wait_for"): "task",
    ("asyncio/taskgroups.py", "__aexit__"): "task",
    ("asyncio/taskgroups.py", "_aexit"): "task",
    ("_backends/_asyncio.py", "__aexit__"): "task",
    ("_backends/_asyncio.py", "run_sync_in_worker_thread"): "worker",
    # Their protocols tell them by an event.
    ("_backends/_asyncio.py", "receive"): "io",
    ("_backends/_asyncio.py", "send"): "io",
    ("_backends/_asyncio.py", "acquire"): "lock",
    ("_backends/_asyncio.py", "acquire_on_behalf_of"): "limiter",
    ("_core/_synchronization.py", "acquire"): "lock",
    ("_core/_synchronization.py", "acquire_on_behalf_of"): "limiter",
    ("streams/memory.py", "receive"): "queue",
    ("streams/memory.py", "send"): "queue",
    ("trio/_sync.py", "acquire"): "lock",
    ("trio/_sync.py", "acquire_on_behalf_of"): "limiter",
    ("trio/_sync.py", "wait"): "event",
    ("trio/_channel.py", "receive"): "queue",
    ("trio/_channel.py", "send"): "queue",
    ("trio/_timeouts.py", "sleep_until"): "timer",
    ("trio/_timeouts.py", "sleep_forever"): "event",
    ("trio/_threads.py", "to_thread_run_sync"): "worker",
    ("trio/_core/_run.py", "_nested_child_finished"): "task",
    ("trio/_core/_run.py", "__aexit__"): "task",
    ("trio/_core/_io_epoll.py", "_epoll_wait"): "io",
    ("trio/_core/_io_epoll.py", "wait_readable"): "io",
    ("trio/_core/_io_epoll.py", "wait_writable"): "io",
    ("trio/_core/_io_kqueue.py", "wait_kevent"): "io",
    ("trio/_core/_io_windows.py", "_afd_poll"): "io",
}
_IO_FILES = ("asyncio/streams.py", "asyncio/selector_events.py", "asyncio/sslproto.py", "asyncio/proactor_events.py")


_LOOP_LIBRARIES = ("/tornado/", "/anyio/", "/trio/", "/uvloop/", "/pytest_trio/", "/pytest_asyncio/")
_WHOLE = frozenset({"timer", "queue", "limiter", "lock", "semaphore", "task", "worker", "io"})
_PARTS = frozenset({"event", "lock", "limiter", "future"})


@dataclass(frozen=True, slots=True)
class Suspension:
    """Where a coroutine is suspended."""

    kind: str
    """One of `Wait.kind`, `future` where nothing is known."""
    resource: Any = None
    """The lock, semaphore, queue, … itself."""
    frame: FrameType | None = None
    """The library function's."""
    place: Place | None = None
    """The innermost line of the user's code."""
    root: str = ""
    """The file of the outermost coroutine's code."""
    in_library: bool = False
    """An installed library waits there, for something that only it knows."""
    chain: tuple[weakref.ref[Any], ...] = ()
    """The user's coroutines that await one another, outermost first. Weakly: looking must keep nothing alive."""


def suspension(coroutine: Any) -> Suspension:
    """Return where *coroutine* is suspended, following what it awaits."""
    kind, resource, at = "future", None, None
    place: Place | None = None
    fallback: Place | None = None
    root = ""
    in_library = False
    chain: list[weakref.ref[Any]] = []
    for each, frame in frames_of(coroutine):
        path = frame.f_code.co_filename
        root = root or path
        if owner(path) == "user":
            if not is_trampoline(frame):
                in_library = False
                place = place_of(frame)
                chain.append(weakref.ref(each))
            continue
        if owner(path) == "installed" and not any(part in path.replace("\\", "/") for part in _LOOP_LIBRARIES):
            in_library = True
        if owner(path) != "own":
            fallback = place_of(frame)
        meaning = _meaning(path.replace("\\", "/"), frame.f_code.co_name)
        if meaning is None:
            continue
        # A queue that waits for its event or a limiter that waits for its lock is the queue, the limiter.
        if kind in _WHOLE and meaning in _PARTS:
            continue
        kind, at = meaning, frame
        resource = locals_of(frame).get("self")
        if kind == "lock":
            kind = next((name for name in ("semaphore", "limiter") if name in type(resource).__name__.lower()), kind)
    return Suspension(kind, resource, at, place or fallback, root, in_library, tuple(chain))


def _meaning(path: str, function: str) -> str | None:
    for (file, name), meaning in _MEANING.items():
        if name == function and path.endswith(file):
            return meaning
    return "io" if path.endswith(_IO_FILES) else None


def innermost_alive(chain: tuple[weakref.ref[Any], ...]) -> Place | None:
    """Return the line at which the innermost coroutine of *chain* that has not ended is now."""
    for reference in reversed(chain):
        coroutine = reference()
        frame = frame_of(coroutine)
        if frame is not None:
            return place_of(frame)
    return None


def frames_of(coroutine: Any) -> list[tuple[Any, FrameType]]:
    """Return *coroutine* and what it awaits, with their frames, outermost first."""
    frames: list[tuple[Any, FrameType]] = []
    while coroutine is not None and len(frames) < 200:
        frame = frame_of(coroutine)
        if frame is not None:
            frames.append((coroutine, frame))
        inner: Any = None
        for name in ("cr_await", "gi_yieldfrom", "ag_await"):
            inner = inner or getattr(coroutine, name, None)
        if inner is None or inner is coroutine:
            break
        if type(inner).__name__ in ("async_generator_asend", "async_generator_athrow", "anext_awaitable"):
            # The link to the generator itself is not visible from Python; the frame that drives it may hold it.
            inner = _driven(frame)
        coroutine = inner
    return frames


def codes(coroutine: Any) -> list[CodeType]:
    """Return the code of *coroutine* and of what it awaits, outermost first."""
    return [frame.f_code for _, frame in frames_of(coroutine)]


def _driven(frame: FrameType | None) -> Any:
    """Return the async generator that is suspended inside *frame*, where a local variable shows which."""
    if frame is None:
        return None
    for value in locals_of(frame).values():
        generator = getattr(value, "generator", value)
        if getattr(generator, "ag_running", False) and getattr(generator, "ag_await", None) is not None:
            return generator
    return None
