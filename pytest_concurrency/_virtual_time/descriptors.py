"""Could anything still come in on these descriptors from outside, or is something on its way?

Nothing can on a socket that listens, and on a pipe or connection whose two ends are both in this process unless bytes
are between them. Everything else (a peer in another process, a child, a terminal) can bring something at any moment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOPBACK = ("127.", "::1")
_ANY = ("0.0.0.0", "::", "")
_Address = tuple[str, int]


class _Socket(NamedTuple):
    fd: int
    family: int
    kind: int
    name: _Address | None
    peer: _Address | None
    listens: bool


def awaited(watched: Sequence[int]) -> str | None:
    """Return, in words, the first of the *watched* descriptors that may bring something; None when none may."""
    if not watched:
        return None
    everything = list(_open_descriptors()) or list(watched)
    sockets = {fd: found for fd in everything if (found := _look_at(fd)) is not None}
    for fd in watched:
        if reason := _waits_for(fd, sockets, everything):
            return f"descriptor {fd} waits for {reason}"
    return None


def _waits_for(fd: int, sockets: dict[int, _Socket], everything: list[int]) -> str | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    if fd in sockets:
        return _socket_waits_for(sockets[fd], list(sockets.values()))
    if stat.S_ISFIFO(status.st_mode):
        return None if _other_end_is_here(fd, status.st_ino, everything) else "the other end of a pipe"
    kind = _link(fd)
    # Only this process can write to its own event counters and look into its own pollers.
    return None if kind in {"anon_inode:[eventfd]", "anon_inode:[eventpoll]"} else f"{kind or 'the outside'}"


def _socket_waits_for(one: _Socket, sockets: list[_Socket]) -> str | None:
    if one.listens:
        return None
    if one.family == getattr(socket, "AF_UNIX", None):
        return None if _unix_peer_is_here(one.fd) else "another process"
    if one.kind == socket.SOCK_DGRAM and one.peer is None:
        # Nobody outside this machine can send to the loopback address.
        return None if one.name is not None and one.name[0].startswith(_LOOPBACK) else "a datagram"
    if one.peer is None:
        return "a connection"
    other = next((each for each in sockets if _are_ends(one, each)), None)
    if other is None:
        return f"{one.peer[0]}:{one.peer[1]}"
    if _unsent(one.fd) or (not other.listens and _unsent(other.fd)):
        return "bytes on their way"
    return None


def _are_ends(one: _Socket, other: _Socket) -> bool:
    if one.kind != other.kind or other.name is None or one.peer is None:
        return False
    if other.listens:
        # Connected, but not accepted yet: the kernel holds the other end.
        return other.name[1] == one.peer[1] and other.name[0] in (one.peer[0], *_ANY)
    if one.kind == socket.SOCK_DGRAM and other.peer is None:
        return other.name[1] == one.peer[1] and other.name[0] in (one.peer[0], *_ANY)
    return other.name == one.peer and other.peer == one.name


def _look_at(fd: int) -> _Socket | None:
    """Return what the socket *fd* is connected to; None when it is no socket."""
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        found = socket.socket(fileno=fd)
    except OSError:
        return None
    try:
        listens = False
        with contextlib.suppress(OSError, AttributeError):
            listens = bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        return _Socket(fd, found.family, found.type, _name(found.getsockname), _name(found.getpeername), listens)
    finally:
        # The descriptor is somebody else's: let go of it without closing it.
        found.detach()


def _name(ask: Any) -> _Address | None:
    try:
        address = ask()
    except OSError:
        return None
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    return str(address[0]).removeprefix("::ffff:"), address[1]


def _unsent(fd: int) -> int:
    """Return how many bytes have been sent on *fd* that the other end's kernel has not acknowledged."""
    if not sys.platform.startswith("linux"):
        return 0
    import fcntl
    import termios

    try:
        answer = fcntl.ioctl(fd, termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return int(struct.unpack("i", answer)[0])


def _unix_peer_is_here(fd: int) -> bool:
    """Tell whether this process made the other end and no child can have inherited it."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    found = socket.socket(fileno=fd)
    try:
        credentials = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return False
    finally:
        found.detach()
    return bool(struct.unpack("3i", credentials)[0] == os.getpid()) and not has_children()


def has_children() -> bool:
    """Tell whether this process has child processes that nobody has waited for."""
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _other_end_is_here(fd: int, inode: int, everything: list[int]) -> bool:
    wanted = {os.O_RDONLY: os.O_WRONLY, os.O_WRONLY: os.O_RDONLY}.get(_access(fd))
    same = (each for each in everything if each != fd and _inode(each) == inode)
    return any(_access(each) in (wanted, os.O_RDWR) for each in same) and not has_children()


def _access(fd: int) -> int:
    if sys.platform == "win32":
        return -1
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
    except OSError:
        return -1


def _inode(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return None


def _link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def _open_descriptors() -> Iterator[int]:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        yield from (int(name) for name in names if name.isdigit())
        return
