"""Which of the things that were left behind count, who is innocent, and what the user allows. Pure functions."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .._allow import PlaceRule, parse_place, with_packages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._trace import Leak, Place


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of `concurrency_allow_leaks`."""

    text: str
    place: PlaceRule | None = None
    pattern: str | None = None

    def lets_off(self, leak: Leak, root: str) -> bool:
        """Tell whether *leak* is allowed, by its name or by a line that led to its making."""
        if self.pattern is not None and any(
            fnmatch.fnmatchcase(name, self.pattern) for name in (leak.name, leak.what) if name
        ):
            return True
        if self.place is None:
            return False
        lines = [(maker.module, maker.place) for maker in leak.made]
        if leak.place is not None:
            lines.append(("", leak.place))
        return any(self.place.covers(line.file, module, line.function, root) for module, line in lines)


def parse_rule(text: str) -> Rule:
    """Return the rule that *text* stands for: a name, or a place.

    Raises:
        ValueError: It stands for neither.
    """
    given = text.strip()
    expected = "expected a name such as Thread-*, package.module:function, or a path such as src/shop/*.py"
    if not given:
        raise ValueError(f"{text!r} does not say what may be left behind: {expected}")
    is_place = ":" in given or "/" in given or given.endswith(".py")
    try:
        place = parse_place(given)
    except ValueError as error:
        place, problem = None, str(error)
    if is_place and place is None:
        raise ValueError(f"{text!r} {problem or 'does not say what may be left behind'}: {expected}")
    # `shop.worker` may be a module, or a task's or thread's name.
    return Rule(text, place, None if is_place else given)


@dataclass(frozen=True, slots=True)
class Finding:
    """All that one line left behind of one kind and in one state."""

    leaks: tuple[Leak, ...]

    @property
    def leak(self) -> Leak:
        """The first of them."""
        return self.leaks[0]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.leaks)


def innocent(leak: Leak) -> str | None:
    """Return why it is nobody's fault that this is left, None where nobody says so."""
    for reason, covers in INNOCENTS:
        if covers(leak):
            return reason
    return None


def counts(leak: Leak, rules: Sequence[Rule], root: str) -> bool:
    """Tell whether *leak* is to be reported."""
    return innocent(leak) is None and not any(rule.lets_off(leak, root) for rule in rules)


def findings(leaks: Iterable[Leak], rules: Sequence[Rule], root: str) -> tuple[Finding, ...]:
    """Return what counts, the same things of one line together, in the order in which they were found."""
    groups: dict[tuple[object, ...], list[Leak]] = {}
    for leak in leaks:
        if counts(leak, rules, root):
            key = (leak.kind, leak.what, leak.state, leak.at, leak.place, leak.fixture)
            # Without a line nothing says that they are alike.
            groups.setdefault(key if leak.place is not None else (*key, leak.name), []).append(leak)
    return tuple(Finding(tuple(group)) for group in groups.values())


# Who is innocent

_RUNNERS = frozenset(
    {"pytest", "_pytest", "pluggy", "pytest_asyncio", "pytest_trio", "pytest_timeout", "xdist", "execnet", "coverage"}
    | {"anyio.pytest_plugin", "pytest_rerunfailures", "pytest_cov", "pytest_run_parallel"}
)
_DEBUGGERS = frozenset({"pydevd", "_pydevd_bundle", "_pydev_bundle", "debugpy", "bdb", "pdb", "ipdb", "pudb"})
_STANDARD = frozenset(
    {"asyncio", "threading", "concurrent", "multiprocessing", "contextlib", "functools", "unittest", "contextvars"}
)


def _first_maker(leak: Leak) -> str:
    """Return the module of the innermost line outside the standard library's machinery."""
    for maker in leak.made:
        if maker.module.partition(".")[0] not in _STANDARD:
            return maker.module
    return ""


def _made_by(modules: frozenset[str]) -> Callable[[Leak], bool]:
    return lambda leak: not modules.isdisjoint(with_packages(_first_maker(leak)))


def _idles_for_trio(leak: Leak) -> bool:
    # With a job it stands in `_handle_job`, or further in.
    own = [place for place in leak.stack if _path(place).endswith("/_thread_cache.py")]
    return leak.kind == "thread" and bool(own) and own[-1].function.endswith("._work")


def _idles_for_anyio(leak: Leak) -> bool:
    # It asks its queue for a job; who else comes in between, such as a tool that wraps locks, does not matter.
    paths = [_path(place) for place in leak.stack]
    after = [inner for outer, inner in pairwise(paths) if outer.endswith("/_backends/_asyncio.py")]
    return leak.kind == "thread" and bool(after) and after[-1].endswith("/queue.py")


def _path(place: Place) -> str:
    return place.file.replace("\\", "/")


def _was_accepted(leak: Leak) -> bool:
    return leak.kind == "socket" and leak.place is None


def _watches_a_child(leak: Leak) -> bool:
    return leak.kind == "thread" and leak.name.startswith("asyncio-waitpid-")


def _tracks_resources(leak: Leak) -> bool:
    modules = {maker.module for maker in leak.made[:3]}
    return not modules.isdisjoint({"multiprocessing.resource_tracker", "multiprocessing.forkserver"})


INNOCENTS: tuple[tuple[str, Callable[[Leak], bool]], ...] = (
    ("the test runner made it for its own ends, and ends it", _made_by(_RUNNERS)),
    ("a debugger's, which stays as long as it is attached", _made_by(_DEBUGGERS)),
    ("multiprocessing keeps its tracker and its fork server for the whole process", _tracks_resources),
    ("trio keeps idle threads for the next job, and ends them after ten seconds", _idles_for_trio),
    ("anyio keeps idle threads until its loop ends", _idles_for_anyio),
    ("it waits for a child process, which is told itself", _watches_a_child),
    ("a server accepted it: the server, or who connected, is told", _was_accepted),
)
"""Reasons, and what they cover. Fixtures, pools and loops that live on are no matter of innocence: what is theirs is
asked for when they end."""
