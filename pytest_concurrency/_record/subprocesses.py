"""Python started by `subprocess`: recorded where its environment asks for it.

A Python that is started with `PYTEST_CONCURRENCY_CHILD=1` in its environment, by a recorded test, finds our
`sitecustomize` first on its path, and in the variable what to record. The user's own `sitecustomize` runs as well.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._patching import patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .processes import Children

VARIABLE = "PYTEST_CONCURRENCY_CHILD"
STARTUP = Path(__file__).parent.parent / "_startup"
# `Popen(args, bufsize, executable, stdin, stdout, stderr, preexec_fn, close_fds, shell, cwd, env, …)`
_ENV = 10


@contextmanager
def watch(children: Children) -> Iterator[None]:
    """Tell every Python to begin that is started inside the `with` block and asks for it."""
    import subprocess

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @wraps(original)
        def __init__(popen: Any, *args: Any, **kwargs: Any) -> None:
            given = args[_ENV] if len(args) > _ENV else kwargs.get("env")
            given = os.environ if given is None else given
            if not children.is_here or not _asks(given):
                original(popen, *args, **kwargs)
                return
            start = children.start_here(sys._getframe(1))
            env = _environment(given, children.summons(start).as_text())
            if len(args) > _ENV:
                args = (*args[:_ENV], env, *args[_ENV + 1 :])
            else:
                kwargs["env"] = env
            with children.starting():
                original(popen, *args, **kwargs)
                name = _python_named(popen.args)
                if name:
                    children.started(popen.pid, name, start, _SILENT.format(name=name, pid=popen.pid))

        return __init__

    with patched(subprocess.Popen, "__init__", make):
        yield


_SILENT = (
    "Process {name!r} (pid {pid}) asked to be recorded and told nothing: it did not get as far, or its Python runs no"
    " sitecustomize (options -I, -S and -E)."
)


def _asks(environment: Mapping[Any, Any]) -> bool:
    return environment.get(VARIABLE, "") not in ("", "0")


def _environment(given: Mapping[Any, Any], summons: str) -> dict[Any, Any]:
    path = [str(STARTUP), *(each for each in given.get("PYTHONPATH", "").split(os.pathsep) if each != str(STARTUP))]
    return {**given, VARIABLE: summons, "PYTHONPATH": os.pathsep.join(each for each in path if each)}


def _python_named(command: Any) -> str:
    """Return a short name for a command that runs Python, nothing for any other."""
    words = [command] if isinstance(command, (str, os.PathLike)) else list(command)
    program = Path(os.fsdecode(words[0]).partition(" ")[0]).name if words else ""
    if not program.lower().startswith(("python", "pypy")):
        return ""
    rest = " ".join(os.fsdecode(word) for word in words[1:3]).split("\n", 1)[0]
    return f"{program} {rest}".strip()[:40]
