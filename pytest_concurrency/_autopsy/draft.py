"""What is known of one party while the snapshot is being taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from .._places import is_trampoline, owner
from .._record.awaiting import frames_of

if TYPE_CHECKING:
    from types import FrameType

    from .._hang import Kind
    from .._trace import Place


class Grip(NamedTuple):
    """Something that a party holds."""

    value: Any
    place: Place | None
    sure: bool


@dataclass(eq=False, slots=True)
class Draft:
    """A party in the making; what it waits for and holds are the objects themselves."""

    key: object
    """What stands for it: a task, a thread, a process."""
    kind: Kind
    name: str
    frames: list[FrameType] = field(default_factory=list)
    """Its stack, innermost first."""
    wait: str = ""
    target: Any = None
    on: list[object] = field(default_factory=list)
    """The keys of those who can let it go on."""
    any_of: bool = False
    note: str = ""
    within: float | None = None
    grips: list[Grip] = field(default_factory=list)
    bystander: bool = False

    @property
    def user_frame(self) -> FrameType | None:
        """The innermost frame of the user's own code."""
        return next((frame for frame in self.frames if is_users(frame)), None)


def is_users(frame: FrameType) -> bool:
    """Tell whether *frame* runs the user's own code."""
    return owner(frame.f_code.co_filename) == "user" and not is_trampoline(frame)


def is_in(frame: FrameType, file: str, *functions: str) -> bool:
    """Tell whether *frame* runs one of *functions* of a file whose path ends with *file*."""
    code = frame.f_code
    return code.co_name in functions and code.co_filename.replace("\\", "/").endswith(file)


def coroutine_name(coroutine: Any) -> str:
    """Return the name of the outermost function of the user's in *coroutine*, else of its own, `` where it has none."""
    for _, frame in frames_of(coroutine):
        if is_users(frame):
            return frame.f_code.co_name
    return (getattr(coroutine, "__qualname__", "") or "").rpartition(".")[2]


def inner_lock(value: Any) -> Any:
    """Return the lock that decides: a condition's own, the one that an adapter stands for."""
    for _ in range(3):
        if type(value).__module__.partition(".")[0] not in ("asyncio", "trio", "anyio", "threading", "multiprocessing"):
            # Nothing of the user's is asked for anything.
            break
        names = ["_internal_lock", "_internal_semaphore", "_internal_limiter"]
        # anyio's on trio.
        names += [f"_{cls.__name__.lstrip('_')}__original" for cls in type(value).__mro__]
        if "Condition" in type(value).__name__:
            names.append("_lock")
        inner = next((found for name in names if (found := getattr(value, name, None)) is not None), None)
        if inner is None:
            break
        value = inner
    return value
