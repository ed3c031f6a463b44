"""Makes this package, and nobody else, believe that it runs on another system: for its fallbacks' tests.

With this folder in `PYTHONPATH` and the name of a system in `ELSEWHERE`, the package's modules find neither `/proc` nor
what that system's Python does not have, in this process and in its children. The rest of the world stays as it is.
"""

from __future__ import annotations

import builtins
import errno
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = "pytest_concurrency"

# By module, the names that this package uses and the system's Python does not have. By typeshed.
_DARWIN = {
    "os": """copy_file_range eventfd fdatasync getxattr listxattr posix_fadvise posix_fallocate removexattr
        sched_getaffinity setxattr waitid""",
    "time": "pthread_getcpuclockid",
    "signal": "sigtimedwait sigwaitinfo",
    "select": "epoll",
    "socket": "SO_PEERCRED",
    "resource": "RUSAGE_THREAD",
}
_WIN32 = {
    "os": """O_CLOEXEC P_ALL P_PID WEXITED WNOHANG WNOWAIT chown copy_file_range eventfd fdatasync fork fstatvfs
        get_blocking getloadavg getxattr listxattr lockf mkfifo mknod nice posix_fadvise posix_fallocate posix_spawn
        pread preadv pwrite pwritev readv register_at_fork removexattr sched_getaffinity sendfile setxattr spawnlp
        spawnlpe spawnvp spawnvpe statvfs sync sysconf wait wait3 wait4 waitid writev""",
    "time": "clock_gettime pthread_getcpuclockid",
    "signal": "SIGURG alarm pause pthread_kill sigtimedwait sigwait sigwaitinfo",
    "select": "epoll poll",
    "socket": "AF_UNIX SO_PEERCRED",
}
_MISSING = {"darwin": _DARWIN, "win32": _WIN32}
_NO_MODULES = {"darwin": frozenset[str](), "win32": frozenset({"resource", "fcntl", "termios"})}
_BY_PATH = ("listdir", "lstat", "open", "readlink", "scandir", "stat")


class _Elsewhere(ModuleType):
    """A module as the other system has it; what is set is set in the real one."""

    def __init__(self, real: ModuleType, missing: frozenset[str], other: dict[str, Any]) -> None:
        self.__dict__.update({"__name__": real.__name__, "_real": real, "_missing": missing, "_other": other})

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return self._other[name] if name in self._other else getattr(self._real, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._real, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._real, name)


def _is_hidden(path: Any) -> bool:
    return not isinstance(path, int) and os.fsdecode(path).startswith("/proc")


def _without_proc(function: Any) -> Any:
    def call(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        if _is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *args, **kwargs)

    return call


def _no_proc(asks: Any) -> Any:
    return lambda path, *args: not _is_hidden(path) and asks(path, *args)


class _Finder:
    """Finds the package's modules where they are, and executes them in the other world."""

    def __init__(self, system: str) -> None:
        self._no_modules = _NO_MODULES[system]
        self._worlds: dict[str, ModuleType] = {}
        missing = {name: frozenset(names.split()) for name, names in _MISSING[system].items()}
        other: dict[str, dict[str, Any]] = {
            "os": {name: _without_proc(getattr(os, name)) for name in _BY_PATH} | {"access": _no_proc(os.access)},
            "os.path": {name: _no_proc(getattr(os.path, name)) for name in ("exists", "isdir", "isfile")},
            "sys": {"platform": system},
        }
        if system == "win32":
            other["os"]["name"] = "nt"
        for name in {*missing, *other} - self._no_modules:
            real = os.path if name == "os.path" else builtins.__import__(name)
            self._worlds[name] = _Elsewhere(real, missing.get(name, frozenset()), other.get(name, {}))
        other["os"]["path"] = self._worlds["os.path"]
        self._builtins = {**vars(builtins), "__import__": self._import, "open": _without_proc(open)}

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] != _PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                module.__dict__["__builtins__"] = self._builtins
                execute(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def _import(
        self, name: str, own: Any = None, here: Any = None, fromlist: Sequence[str] = (), level: int = 0
    ) -> Any:
        found = name.partition(".")[0] if not fromlist else name
        if level == 0 and found in self._no_modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = builtins.__import__(name, own, here, fromlist, level)
        return self._worlds.get(found, module) if level == 0 else module


if "ELSEWHERE" in os.environ:
    sys.meta_path.insert(0, _Finder(os.environ["ELSEWHERE"]))  # type: ignore[arg-type]
