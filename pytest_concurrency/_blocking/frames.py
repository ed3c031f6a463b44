"""From a frame that makes a blocking call to what a reader wants to know: whose line, and what lies between."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from .._places import is_trampoline, outward, owner, place_of
from .kinds import CALLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from .._trace import Place

LOOP_LIBRARIES = frozenset({"asyncio", "trio", "anyio", "uvloop", "tornado", "gevent", "sniffio"})

# Where a loop hands over to the code of one step. What lies further out is who started the loop.
_STEP_BEGINS = frozenset(
    {
        ("asyncio.events", "_run"),
        ("asyncio.base_events", "_run_once"),
        ("asyncio.base_events", "run_forever"),
        ("trio._core._run", "unrolled_run"),
        ("gevent.hub", "run"),
        ("pytest_concurrency._blocking.turns", "run_forever"),
    }
)

# The names under which a standard library function is known, where they differ from where it is defined.
_HOMES = {
    "concurrent.futures._base": "concurrent.futures",
    "concurrent.futures.thread": "concurrent.futures",
    "concurrent.futures.process": "concurrent.futures",
    "pathlib._local": "pathlib",
    "pathlib._abc": "pathlib",
    "_pyio": "io",
}
_NAMES = {
    "concurrent.futures.ThreadPoolExecutor.shutdown": "concurrent.futures.Executor.shutdown",
    "concurrent.futures.ProcessPoolExecutor.shutdown": "concurrent.futures.Executor.shutdown",
    "concurrent.futures.Executor.__exit__": "concurrent.futures.Executor.shutdown",
    "concurrent.futures.Executor.map.<locals>.result_iterator": "concurrent.futures.Executor.map",
    "subprocess.Popen.__init__": "subprocess.Popen",
    "subprocess.Popen.__exit__": "subprocess.Popen.wait",
    "multiprocessing.process.BaseProcess.join": "multiprocessing.process.BaseProcess.join",
    "zipfile.ZipFile.__init__": "zipfile.ZipFile",
    "zipfile._path.ZipFile.__init__": "zipfile.ZipFile",
    "tarfile.TarFile.open": "tarfile.open",
    "smtplib.SMTP.__init__": "smtplib.SMTP",
    "imaplib.IMAP4.__init__": "imaplib.IMAP4",
    "poplib.POP3.__init__": "poplib.POP3",
    "requests.api.get": "requests.get",
    "requests.api.request": "requests.api.request",
    "urllib.request.OpenerDirector.open": "urllib.request.urlopen",
    "tempfile.TemporaryDirectory.__init__": "tempfile.TemporaryDirectory",
    "getpass.unix_getpass": "getpass.getpass",
}


class Site(NamedTuple):
    """Where a call was made."""

    place: Place
    """The user's own line."""
    stack: tuple[Place, ...]
    """From that line down to the call, outermost first."""
    call: str
    """The public name of what the user's line called, as far as the table knows it."""
    inner: tuple[FrameType, ...]
    """The frames between the call and the user's line, innermost first, without that line."""
    step: tuple[FrameType, ...]
    """All frames of this step of the loop, innermost first."""


def locate(frame: FrameType | None, call: str) -> Site | None:
    """Return where *call* was made, None where there is no frame at all."""
    step, outside = _split(frame)
    if not step and not outside:
        return None
    index = _own_line(step)
    if index is not None:
        shown = step[: index + 1]
    else:
        # Nobody's own line is in this step: it is a library's background work, or C code called by the loop itself.
        index = _library_line(step)
        if index is not None:
            shown = step[: index + 1]
        else:
            home = next((each for each in outside if owner(each.f_code.co_filename) == "user"), None)
            first = next((each for each in (*step, *outside)), None)
            shown = (home or first,) if (home or first) is not None else ()  # type: ignore[assignment]
    if not shown:
        return None
    inner = step[:index] if index is not None else step
    return Site(
        place=place_of(shown[-1]),
        stack=tuple(place_of(each) for each in reversed(shown) if not _is_frozen(each)),
        call=call if call == "import" else _public_name(inner, call),
        inner=inner,
        step=step,
    )


def started_at(site: Site | None, call: str) -> Site | None:
    """Return *site* with the line that started this greenlet, where it has no line of the user's own."""
    if site is not None and owner(site.place.file) not in ("stdlib", "frozen"):
        return site
    place = next(iter(_started_by()), None)
    if place is None:
        return site
    if site is None:
        return Site(place, (place,), call, (), ())
    return site._replace(place=place, stack=(place, *site.stack))


def _started_by() -> Iterator[Place]:
    """Yield the user's lines that led to the start of this greenlet, innermost first, as gevent has kept them."""
    from .._trace import Place

    greenlet = sys.modules.get("greenlet")
    frame = getattr(greenlet.getcurrent(), "spawning_stack", None) if greenlet is not None else None
    while frame is not None:
        code = frame.f_code
        if owner(code.co_filename) == "user":
            yield Place(code.co_filename, frame.f_lineno, getattr(code, "co_qualname", code.co_name))
        frame = frame.f_back


def module_of(frame: FrameType) -> str:
    """Return the name of the module whose code *frame* runs."""
    # Whatever a program may have put there.
    name = dict.get(frame.f_globals, "__name__")
    return name if type(name) is str else ""


def _is_frozen(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen")


def _split(frame: FrameType | None) -> tuple[tuple[FrameType, ...], tuple[FrameType, ...]]:
    step: list[FrameType] = []
    outside: list[FrameType] = []
    begun = False
    for each in outward(frame):
        if begun:
            outside.append(each)
        elif (module_of(each), each.f_code.co_name) in _STEP_BEGINS:
            begun = True
        elif owner(each.f_code.co_filename) != "own" and not is_trampoline(each):
            step.append(each)
    return tuple(step), tuple(outside)


def _own_line(step: tuple[FrameType, ...]) -> int | None:
    for index, each in enumerate(step):
        if owner(each.f_code.co_filename) == "user":
            return index
    return None


def _library_line(step: tuple[FrameType, ...]) -> int | None:
    for index, each in enumerate(step):
        if owner(each.f_code.co_filename) == "installed" and module_of(each).partition(".")[0] not in LOOP_LIBRARIES:
            return index
    return None


def _public_name(inner: tuple[FrameType, ...], call: str) -> str:
    # The outermost known name is what the user's line itself called; what it calls in turn is its own affair.
    for each in reversed(inner):
        module = module_of(each)
        name = f"{_HOMES.get(module, module)}.{each.f_code.co_qualname}"
        name = _NAMES.get(name, name)
        if name in CALLS:
            return name
    return call
