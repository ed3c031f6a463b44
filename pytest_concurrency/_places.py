"""Whose code is this line? Frames in, places out."""

from __future__ import annotations

import functools
import os
import sysconfig
from itertools import islice
from typing import TYPE_CHECKING

from ._frames import outward as outward

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from ._trace import Place

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _standard_library() -> tuple[str, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    # A virtual environment shares the standard library of the Python it was made from.
    paths.add(os.path.dirname(os.__file__))
    return tuple(os.path.abspath(path) + os.sep for path in paths if path)


_STDLIB = _standard_library()
_FOLDER = os.getcwd()


@functools.lru_cache(maxsize=4096)
def owner(filename: str) -> str:
    """Return who wrote the code in *filename*: `user`, `installed`, `stdlib`, `own` (this plugin) or `frozen`."""
    if filename.startswith("<"):
        # `<frozen importlib._bootstrap>` is the interpreter's; `<string>`, `<doctest …>` and `<ipython …>` somebody's.
        return "frozen" if filename.startswith(("<frozen", "<attrs generated", "<__array_function__")) else "user"
    # Not `abspath`: this runs while the user's loop does, and other tools take that call for a blocking one.
    path = filename if os.path.isabs(filename) else os.path.join(_FOLDER, filename)
    if path.startswith(_OWN):
        return "own"
    if any(part in path for part in _INSTALLED):
        return "installed"
    if path.startswith(_STDLIB):
        return "stdlib"
    return "user"


def place_of(frame: FrameType) -> Place:
    """Return the line that *frame* executes."""
    # Here, since a suite in which nothing is found is to load no trace.
    from ._trace import Place

    code = frame.f_code
    return Place(code.co_filename, frame.f_lineno or code.co_firstlineno, getattr(code, "co_qualname", code.co_name))


def callers(frame: FrameType | None, limit: int = 8) -> tuple[Place, ...]:
    """Return up to *limit* lines of the user's own code, innermost first, that led to *frame*."""
    return places(lines_to(frame))[:limit]


Lines = tuple["CodeType | int", ...]
"""Some code and the instruction that it executes, again and again: places, before anybody asks for them."""
_MOST_LINES = 16


def lines_to(frame: FrameType | None) -> Lines:
    """Return what `places` makes the callers of, at a tenth of the cost: it is taken down at every watched call."""
    found: list[CodeType | int] = []
    left = _MOST_LINES
    while frame is not None:
        code = frame.f_code
        try:
            step = _STEPS[code.co_filename]
        except KeyError:
            step = _step(code.co_filename)
        if step == "user":
            found += code, frame.f_lasti
            left -= 1
            if not left:
                break
        elif step == code.co_name:
            if step != _TORNADO:
                break
            # It starts what a generator has yielded when that is suspended already.
            yielded = _yielded_to(frame)
            if yielded is not None:
                found += yielded.f_code, yielded.f_lasti
        frame = frame.f_back
    return tuple(found)


def places(lines: Lines) -> tuple[Place, ...]:
    """Return up to 8 places in the user's own functions, innermost first."""
    codes, instructions = lines[::2], lines[1::2]
    found = [
        _place_at(code, instruction)  # type: ignore[arg-type]  # in turns
        for code, instruction in zip(codes, instructions, strict=True)
        if TRAMPOLINE_MARK not in code.co_varnames  # type: ignore[union-attr]
    ]
    return tuple(found[:8])


def place_elsewhere(frame: FrameType) -> Place | None:
    """Return the first of `callers` of a thread that goes on meanwhile, whose frames are looked at with care."""
    for each in outward(frame):
        code = each.f_code
        step = _STEPS.get(code.co_filename) or _step(code.co_filename)
        if step == "user":
            if not is_trampoline(each):
                return place_of(each)
        elif step == code.co_name and step != _TORNADO:
            break
    return None


def _yielded_to(frame: FrameType) -> FrameType | None:
    """Return the frame of the generator coroutine whose yield tornado is dealing with in *frame*."""
    return getattr(getattr(frame.f_locals.get("self"), "gen", None), "gi_frame", None)


def _place_at(code: CodeType, instruction: int) -> Place:
    from ._trace import Place

    # Two bytes are an instruction, on every version; a generator that has not begun stands before the first one.
    found = next(islice(code.co_positions(), max(instruction, 0) // 2, None), (None,))[0]
    return Place(code.co_filename, found or code.co_firstlineno, code.co_qualname)


_TORNADO = "handle_yield"
# Below these functions of libraries stands whoever ran the loop or the test, not who called, or nobody; and below a
# child process's first frame those of the process that it was forked from.
_LOOP_STEPS = {"events.py": "_run", "_run.py": "unrolled_run", "runners.py": "run", "process.py": "_bootstrap"}
_BEGINNINGS = {
    **_LOOP_STEPS,
    "python.py": "pytest_pyfunc_call",
    "threading.py": "_bootstrap_inner",
    "thread.py": "_worker",
    "gen.py": _TORNADO,
}
_STEPS: dict[str, str] = {}


def _step(filename: str) -> str:
    """Return `user` for the user's own files; for another the function below which nobody called, or something else."""
    step = "user" if owner(filename) == "user" else _BEGINNINGS.get(os.path.basename(filename), "none")
    _STEPS[filename] = step
    return step


def is_loop(frame: FrameType) -> bool:
    """Tell whether *frame* is a loop's own step: what stands below it did not call what stands above."""
    code = frame.f_code
    return _LOOP_STEPS.get(os.path.basename(code.co_filename)) == code.co_name and owner(code.co_filename) != "user"


def is_trampoline(frame: FrameType) -> bool:
    """Tell whether *frame* only leads into a watched function's own code, in whose name it runs."""
    return TRAMPOLINE_MARK in frame.f_code.co_varnames


TRAMPOLINE_MARK = "_pytest_concurrency_hook"
"""The local variable that marks a trampoline's code (see `_record.watch`)."""
