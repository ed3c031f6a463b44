"""Which wrapped calls can wait: a table of functions that no audit event tells of, each with its own question."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .audit import address_text, seconds_text
from .loops import running_loop

if TYPE_CHECKING:
    from collections.abc import Callable


# The numbers of `select`, which is not imported before the program does.
_READABLE, _WRITABLE = 1, 4
_ENDED = object()
# Ours, from before any wrapper.
_fstat = os.fstat
_WNOHANG = getattr(os, "WNOHANG", 1)
_POSIX_PIPE_BUF = 512


class Maybe(str):
    """A few words about a call of which only its length will tell whether it waited."""

    least = 0.001
    """Seconds from which on it did."""


class Busy(Maybe):
    """A call that waits for what may just have finished."""

    __slots__ = ()
    least = 0.015


class Idle(Maybe):
    """A call that waits for what has nothing left to do; how long that takes is the machine's affair."""

    __slots__ = ()
    least = float("inf")


class OnDisk(str):
    """A call on a descriptor that turned out to be a file's."""

    __slots__ = ()
    kind = "file"


class Seam(NamedTuple):
    """One function that is wrapped."""

    module: str
    attribute: str
    """Its name in the module, `Class.method` for a method."""
    kind: str
    call: str
    can_wait: Callable[..., str | None]
    """Called as the function is: a few words about the call, None where it cannot wait."""


def _timeout(value: Any, otherwise: str = "") -> str | None:
    if value is None:
        return otherwise
    return f"timeout {seconds_text(value)}" if value > 0 else None


def _condition(self: Any, timeout: float | None = None) -> str | None:
    return _timeout(timeout)


def _join(self: threading.Thread, timeout: float | None = None) -> str | None:
    if not self.is_alive() or self is threading.current_thread():
        return None
    target: Any = getattr(self, "_target", _ENDED)
    if target is _ENDED:
        # Its function has returned: it is on its way out.
        return Idle("")
    if target is not None and getattr(target, "__self__", None) is running_loop() is not None:
        # uvloop waits so for its own worker threads as it ends, from C, without a frame to tell.
        return None
    return _timeout(timeout)


def _shutdown(self: Any, wait: bool = True, **more: Any) -> str | None:
    if not wait:
        return None
    # Threads without a job end at once, and so does the wait for them.
    busy = not self._work_queue.empty() or self._idle_semaphore._value < len(self._threads)
    return Busy("") if busy else Idle("")


def _child(self: Any, timeout: float | None = None) -> str | None:
    if self.returncode is not None or _has_exited(self.pid):
        return None
    return _timeout(timeout)


def _communicate(self: Any, *data: Any, timeout: float | None = None, **more: Any) -> str | None:
    has_pipes = any(pipe is not None for pipe in (self.stdin, self.stdout, self.stderr))
    return _timeout(timeout) if has_pipes or self.returncode is None else None


def _has_exited(pid: int) -> bool:
    if sys.platform == "win32" or not hasattr(os, "waitid"):
        return False
    try:
        # Looks without taking the exit status away.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except OSError:
        return False


def _spawns(mode: int, *args: Any) -> str | None:
    # What it starts may have ended before it is waited for: the line waits all the same, for somebody so fast.
    return "" if mode == os.P_WAIT else None


def _waitpid(pid: int, options: int) -> str | None:
    return None if options & _WNOHANG or (pid > 0 and _has_exited(pid)) else ""


def _waitid(idtype: int, pid: int, options: int) -> str | None:
    return None if options & _WNOHANG else ""


def _wait3(options: int) -> str | None:
    return None if options & _WNOHANG else ""


def _always(*args: Any, **kwargs: Any) -> str | None:
    return ""


def _ready(file: Any, mask: int) -> bool:
    """Tell whether reading from *file*, or writing to it, would find something to do at once."""
    import select

    if not hasattr(select, "poll"):
        return bool(select.select([file] * (mask == _READABLE), [file] * (mask == _WRITABLE), [], 0)[mask == _WRITABLE])
    poll = select.poll()
    poll.register(file, mask)
    return bool(poll.poll(0))


def _peer(sock: Any) -> str:
    try:
        return address_text(sock.getpeername())
    except OSError:
        return ""


def _receives(self: Any, *args: Any, **kwargs: Any) -> str | None:
    return None if self.gettimeout() == 0 or _ready(self, _READABLE) else _peer(self)


def _accepts(self: Any) -> str | None:
    return None if self.gettimeout() == 0 or _ready(self, _READABLE) else address_text(self.getsockname())


def _sends(self: Any, data: Any, *args: Any, **kwargs: Any) -> str | None:
    if self.gettimeout() == 0:
        return None
    if not _ready(self, _WRITABLE):
        return _peer(self)
    return None if _fits(data) else Maybe(_peer(self))


def _reads_secretly(self: Any, *args: Any, **kwargs: Any) -> str | None:
    return None if self.gettimeout() == 0 or self.pending() or _ready(self, _READABLE) else _peer(self)


def _shakes_hands(self: Any, *args: Any, **kwargs: Any) -> str | None:
    return None if self.gettimeout() == 0 else _peer(self)


def _selects(read: Any, write: Any, wrong: Any, timeout: float | None = None) -> str | None:
    if timeout is not None and timeout <= 0:
        return None
    import select

    # The originals' own answer: somebody may be ready already.
    original = getattr(select.select, "__wrapped__", select.select)
    return None if any(original(read, write, wrong, 0)) else _timeout(timeout)


def _selector(self: Any, timeout: float | None = None) -> str | None:
    return Maybe(_timeout(timeout) or "") if timeout is None or timeout > 0 else None


def _reads(descriptor: int, *args: Any) -> str | None:
    if _is_on_disk(descriptor):
        return OnDisk()
    return "" if _is_blocking(descriptor) and not _ready(descriptor, _READABLE) else None


def _writes(descriptor: int, data: Any) -> str | None:
    if _is_on_disk(descriptor):
        return OnDisk()
    if not _is_blocking(descriptor):
        return None
    if not _ready(descriptor, _WRITABLE):
        return ""
    return None if _fits(data) else Maybe()


def _fits(data: Any) -> bool:
    """Tell whether *data*, one piece or several, goes at once into whatever can be written to.

    There is room for as much at least (POSIX, of pipes). Whether for more, only the call's length will tell.
    """
    pieces = data if isinstance(data, (list, tuple)) else (data,)
    try:
        return sum(memoryview(piece).nbytes for piece in pieces) <= _POSIX_PIPE_BUF
    except TypeError:
        return False


def _is_blocking(descriptor: int) -> bool:
    # Windows cannot be asked whether a pipe is ready; what waits there is left to the sampler.
    return sys.platform != "win32" and os.get_blocking(descriptor)


def _is_on_disk(descriptor: int) -> bool:
    # A file of the disk is always ready, and takes the disk's time.
    return descriptor > 2 and stat.S_ISREG(_fstat(descriptor).st_mode)


def _descriptor(descriptor: Any, *args: Any, **kwargs: Any) -> str | None:
    return "" if _is_on_disk(descriptor if isinstance(descriptor, int) else descriptor.fileno()) else None


def _sends_file(out: int, descriptor: int, *args: Any, **kwargs: Any) -> str | None:
    return "" if _is_blocking(out) else None


def _certificates(self: Any, *args: Any, **kwargs: Any) -> str | None:
    # Those that are given as text or bytes are read from nowhere.
    path = next((each for each in (*args, *kwargs.values()) if each is not None), "")
    return None if set(kwargs) == {"cadata"} and not args else str(path)[-60:]


def _default_certificates(self: Any, *args: Any, **kwargs: Any) -> str | None:
    return ""


def _imports(name: str, package: str | None = None) -> str | None:
    absolute = importlib.util.resolve_name(name, package) if name.startswith(".") else name
    return None if absolute in sys.modules else absolute


def _reloads(module: Any) -> str | None:
    return str(module.__name__)


def _path(path: Any = "", *args: Any, **kwargs: Any) -> str | None:
    return "" if isinstance(path, int) else str(path)[:60]


def _signals(signals: Any, timeout: float | None = None) -> str | None:
    return _timeout(timeout)


def _multiprocess(self: Any, timeout: float | None = None) -> str | None:
    return _timeout(timeout) if self.is_alive() else None


def _sockets() -> list[Seam]:
    receive = "recv recv_into recvfrom recvfrom_into recvmsg recvmsg_into"
    seams = [Seam("socket", f"socket.{name}", "socket", f"socket.socket.{name}", _receives) for name in receive.split()]
    seams += [
        Seam("socket", f"socket.{name}", "socket", f"socket.socket.{name}", _sends)
        for name in ("send", "sendall", "sendto", "sendmsg")
    ]
    seams.append(Seam("socket", "socket.accept", "socket", "socket.socket.accept", _accepts))
    seams += [
        Seam("ssl", "SSLSocket.read", "socket", "ssl.SSLSocket.read", _reads_secretly),
        Seam("ssl", "SSLSocket.do_handshake", "socket", "ssl.SSLSocket.do_handshake", _shakes_hands),
        Seam("select", "select", "socket", "select.select", _selects),
    ]
    seams += [
        Seam("selectors", f"{name}.select", "socket", "selectors.select", _selector)
        for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    ]
    return seams


def _files() -> list[Seam]:
    by_path = "stat lstat access readlink statvfs mkfifo mknod sync"
    by_number = (
        "fstat fstatvfs fsync fdatasync ftruncate pread preadv pwrite pwritev copy_file_range "
        "posix_fallocate posix_fadvise"
    )
    seams = [Seam("os", name, "file", f"os.{name}", _path) for name in by_path.split()]
    seams += [Seam("os", name, "file", f"os.{name}", _descriptor) for name in by_number.split()]
    seams.append(Seam("os", "sendfile", "file", "os.sendfile", _sends_file))
    seams += [Seam("os", name, "wait", f"os.{name}", _writes) for name in ("write", "writev")]
    seams += [
        Seam("ssl", f"SSLContext.{name}", "file", f"ssl.SSLContext.{name}", _certificates)
        for name in ("load_verify_locations", "load_cert_chain")
    ]
    seams += [
        Seam("ssl", f"SSLContext.{name}", "file", f"ssl.SSLContext.{name}", _default_certificates)
        for name in ("load_default_certs", "set_default_verify_paths")
    ]
    return [seam for seam in seams if seam.module != "os" or hasattr(os, seam.attribute)]


SEAMS: tuple[Seam, ...] = (
    Seam("threading", "Condition.wait", "lock", "threading.Condition.wait", _condition),
    Seam("threading", "Thread.join", "join", "threading.Thread.join", _join),
    Seam(
        "concurrent.futures.thread",
        "ThreadPoolExecutor.shutdown",
        "join",
        "concurrent.futures.Executor.shutdown",
        _shutdown,
    ),
    Seam("subprocess", "Popen.wait", "subprocess", "subprocess.Popen.wait", _child),
    Seam("subprocess", "Popen.communicate", "subprocess", "subprocess.Popen.communicate", _communicate),
    Seam("os", "_spawnvef", "subprocess", "os.spawnv", _spawns),
    Seam("os", "waitpid", "subprocess", "os.waitpid", _waitpid),
    Seam("os", "wait4", "subprocess", "os.waitpid", _waitpid),
    Seam("os", "waitid", "subprocess", "os.waitpid", _waitid),
    Seam("os", "wait3", "subprocess", "os.wait", _wait3),
    Seam("os", "wait", "subprocess", "os.wait", _always),
    Seam("importlib", "import_module", "import", "importlib.import_module", _imports),
    Seam("importlib", "reload", "import", "importlib.reload", _reloads),
    Seam("os", "read", "input", "os.read", _reads),
    Seam("os", "readv", "input", "os.read", _reads),
    *_files(),
    *_sockets(),
    *([] if sys.platform == "win32" else [Seam("signal", "pause", "wait", "signal.pause", _always)]),
    Seam("signal", "sigwait", "wait", "signal.sigwait", _signals),
    Seam("signal", "sigwaitinfo", "wait", "signal.sigwait", _signals),
    Seam("signal", "sigtimedwait", "wait", "signal.sigwait", _signals),
)
