"""The interpreter's audit events: calls named as they are made, however they were imported.

An audit hook stays for the life of the process. There is one, put in when a detector first needs it; while no
detector listens, it does one look-up in an empty table.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .._originals import sleep
from .early import LISTENERS, SLEEP_HAS_AN_EVENT, BuiltinSeam

if TYPE_CHECKING:
    from collections.abc import Callable

    Describe = Callable[[tuple[Any, ...]], str | None]
    Listener = Callable[[str, tuple[Any, ...]], None]


class Event(NamedTuple):
    """What one audit event says about a call."""

    kind: str
    call: str
    describe: Describe
    """From the event's arguments to a few words about them, or None where this call cannot wait."""


_SOCK_DGRAM = 2

_state = {"installed": False}


def _hook(event: str, args: tuple[Any, ...], _get: Callable[[str], Listener | None] = LISTENERS.get) -> None:
    __tracebackhide__ = True
    listener = _get(event)
    if listener is not None:
        listener(event, args)


def listen(listener: Listener | None) -> None:
    """Send the events of the table to *listener* alone from now on, to nobody where it is None."""
    if listener is None:
        LISTENERS.clear()
        return
    if not _state["installed"]:
        _state["installed"] = True
        sys.addaudithook(_hook)
    LISTENERS.update(dict.fromkeys(EVENTS, listener))


def hears_sleep() -> bool:
    """Tell whether a call of `time.sleep` is heard of: a new Python that breaks this is to say so."""
    if not SLEEP_HAS_AN_EVENT and not isinstance(time.sleep, BuiltinSeam):
        # Somebody has put something of their own there; what it calls in the end is their affair.
        return True
    heard: list[str] = []
    listen(lambda event, args: heard.append(event))
    try:
        (sleep if SLEEP_HAS_AN_EVENT else time.sleep)(0)
    finally:
        listen(None)
    return "time.sleep" in heard


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = os.fsdecode(value)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    words = value if isinstance(value, str) else repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


def _first(args: tuple[Any, ...]) -> str | None:
    return _text(args[0]) if args and args[0] is not None else ""


def _sleep(args: tuple[Any, ...]) -> str | None:
    seconds = float(args[0])
    return seconds_text(seconds) if seconds > 0 else None


def seconds_text(seconds: float) -> str:
    """Return *seconds* as people write them."""
    return f"{seconds:.3g} s"


def _opened(args: tuple[Any, ...]) -> str | None:
    # A number is a descriptor that is open already: wrapping it reads nothing.
    if isinstance(args[0], int):
        return None
    path = _text(args[0])
    return None if path in (os.devnull, "/dev/urandom", "/dev/random") else path


def _connected(args: tuple[Any, ...]) -> str | None:
    sock, address = args[0], args[1]
    if sock.gettimeout() == 0 or sock.type == _SOCK_DGRAM:
        return None
    return address_text(address)


def address_text(address: object) -> str:
    """Return a socket's address as people write it."""
    if isinstance(address, tuple) and len(address) >= 2:
        host = f"[{address[0]}]" if ":" in str(address[0]) else str(address[0])
        return _text(f"{host}:{address[1]}")
    return _text(address)


def _resolved(args: tuple[Any, ...]) -> str | None:
    host = args[0]
    if host is None or not host:
        return None
    text = _text(host)
    return None if is_numeric(text) else text


def is_numeric(host: str) -> bool:
    """Tell whether *host* is an address already, which nobody has to look up."""
    # The event comes from this module, so it is there.
    socket = sys.modules["_socket"]
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.partition("%")[0])
        except OSError:
            continue
        return True
    return False


def _name_of(args: tuple[Any, ...]) -> str | None:
    return address_text(args[0])


def _locked(args: tuple[Any, ...]) -> str | None:
    operation = args[1]
    # LOCK_UN gives the lock back and LOCK_NB never waits.
    return None if operation & 8 or operation & 4 else ""


def _command(args: tuple[Any, ...]) -> str | None:
    command = args[1] if len(args) > 1 and args[1] else args[0]
    if isinstance(command, (list, tuple)):
        return _text(" ".join(_text(part) for part in command))
    return _text(command)


def _prompt(args: tuple[Any, ...]) -> str | None:
    return _text(args[0]) if args and args[0] else ""


def _file_events() -> dict[str, Event]:
    plain = (
        "listdir scandir mkdir rmdir remove rename link symlink truncate chmod chown utime chflags "
        "getxattr listxattr setxattr removexattr lockf"
    )
    events = {f"os.{name}": Event("file", f"os.{name}", _first) for name in plain.split()}
    # Those of shutil, glob and tempfile announce the whole operation before its first step.
    shutil = [f"shutil.{name}" for name in ("copyfile", "copytree", "move", "rmtree", "make_archive", "unpack_archive")]
    for name in (*shutil, "glob.glob", "tempfile.mkstemp", "tempfile.mkdtemp"):
        events[name] = Event("file", name, _first)
    # A number below zero means memory that no file stands behind.
    events["mmap.__new__"] = Event("file", "mmap.mmap", lambda args: "" if args[0] >= 0 else None)
    events["open"] = Event("file", "open", _opened)
    return events


EVENTS: dict[str, Event] = {
    "time.sleep": Event("sleep", "time.sleep", _sleep),
    **_file_events(),
    "socket.connect": Event("socket", "socket.socket.connect", _connected),
    "socket.getaddrinfo": Event("dns", "socket.getaddrinfo", _resolved),
    "socket.gethostbyname": Event("dns", "socket.gethostbyname", _resolved),
    "socket.gethostbyaddr": Event("dns", "socket.gethostbyaddr", _name_of),
    "socket.getnameinfo": Event("dns", "socket.getnameinfo", _name_of),
    "subprocess.Popen": Event("subprocess", "subprocess.Popen", _command),
    "os.system": Event("subprocess", "os.system", _first),
    "os.posix_spawn": Event("subprocess", "os.posix_spawn", _first),
    "pty.spawn": Event("subprocess", "pty.spawn", lambda args: _command((args[0],))),
    "webbrowser.open": Event("subprocess", "webbrowser.open", _first),
    "fcntl.flock": Event("lock", "fcntl.flock", _locked),
    "fcntl.lockf": Event("lock", "fcntl.lockf", _locked),
    "sqlite3.connect": Event("database", "sqlite3.connect", _first),
    "builtins.input": Event("input", "builtins.input", _prompt),
    "import": Event("import", "import", _first),
}
