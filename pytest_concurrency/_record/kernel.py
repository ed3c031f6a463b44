"""What the kernel says of this process's threads. On Linux; elsewhere it says nothing."""

from __future__ import annotations

import os
import platform
from typing import NamedTuple

_FUTEX = {
    "x86_64": 202,
    "aarch64": 98,
    "riscv64": 98,
    "armv7l": 240,
    "i686": 240,
    "ppc64le": 221,
    "s390x": 238,
}.get(platform.machine())
_PRIVATE = 128
_BITSET = 9
# In glibc a mutex that the C library or the interpreter keeps for itself waits in another way than a lock of the
# program's: whoever holds it may merely have been preempted.
_KEEPS_THEM_APART = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
_TASKS = "/proc/self/task"
TELLS = _FUTEX is not None and os.access("/proc/self/syscall", os.R_OK)
"""Whether it says anything."""


class Thread(NamedTuple):
    """One thread as the kernel sees it."""

    sleeps: bool
    """It does not run, and it does not want to."""
    in_lock: bool
    """It waits for a lock of this process: also while it waits for the GIL, but then with a time limit."""
    for_ever: bool
    """It waits for such a lock with no time limit."""
    turns: str
    """How much it has run so far: when this is the same twice, it has not run in between."""


def look(native_id: int) -> Thread | None:
    """Return what the thread does, None where it is gone or the kernel does not say."""
    try:
        state = _read(native_id, "stat").rpartition(")")[2].split()[0]
        turns = _read(native_id, "schedstat")
        call = _read(native_id, "syscall").split()
    except (OSError, IndexError):
        return None
    in_lock = for_ever = False
    if len(call) > 4 and call[0] == str(_FUTEX):
        operation = int(call[2], 16)
        in_lock = bool(operation & _PRIVATE)
        is_lock = not _KEEPS_THEM_APART or operation & 0x7F == _BITSET
        for_ever = in_lock and is_lock and int(call[4], 16) == 0
    return Thread(state == "S", in_lock, for_ever, turns)


def threads() -> set[int]:
    """Return the native ids of all threads, those that Python does not know (yet, or any more) too."""
    return {int(name) for name in os.listdir(_TASKS)} if TELLS else set()


def _read(native_id: int, name: str) -> str:
    with open(f"{_TASKS}/{native_id}/{name}", encoding="ascii", errors="replace") as file:
        return file.read()
