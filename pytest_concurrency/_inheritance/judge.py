"""What a child did not inherit: facts and what was printed in, sentences out. Pure functions; every text has a test."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .facts import Facts, Reading, Shown

_MOST = 5
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+(?=>)")
_NOT_FOUND = re.compile(r"AttributeError: Can't get attribute '(?P<name>[^']+)' on <module '(?P<module>[^']+)'")
# How 3.15 says it.
_NOT_IN_MODULE = re.compile(r"AttributeError: module '(?P<module>[^']+)' has no attribute '(?P<name>[^']+)'")
_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '(?P<name>[^']+)'")
_CANNOT_PICKLE = re.compile(
    r"(?:PicklingError|AttributeError|TypeError): "
    r"(?P<why>(?:Can't|cannot|can't|Can not) (?:pickle|get local object|serialize)[^\n]*)"
)
_RECEIVING = frozenset({"spawn.py", "forkserver.py", "queues.py", "connection.py"})
_SHARED = re.compile(r"the (?P<kind>\w+) of process \d+$")
_DIGEST = re.compile(r"#[0-9a-f]{8}$")
_REMEDY = (
    "A new child imports the program anew and has what that makes, no more. Send the rest along as an argument, or set"
    " it in the child: a pool has initializer= for that."
)


def findings(facts: Facts, error: str, printed: str) -> list[str]:
    """Return what is known of why children under this start method did not do as under another, a sentence or two each.

    Args:
        error: The exception that ended the test, with its causes, as text.
        printed: What was written to standard error meanwhile, by the children too.
    """
    said = _of_fork(facts) if facts.method == "fork" else _of_new_process(facts, error, printed)
    # Where an object lies in memory tells nothing, and differs from run to run.
    return list(dict.fromkeys(_ADDRESS.sub("", text) for text in said))


def _of_fork(facts: Facts) -> Iterator[str]:
    held = [each for each in facts.readings if each.here.get("") == "a lock that is held"]
    for reading in held[:_MOST]:
        yield (
            f"{reading.name}, which {reading.function} reads, was held at the fork. The child has a copy that stays"
            " held: whoever would release it is not there. Fork while it is free, or make it in the child."
        )
    if facts.threads:
        number = len(facts.threads)
        what = "1 other thread was" if number == 1 else f"{number} other threads were"
        names = ", ".join(facts.threads[:3]) + (", ..." if number > 3 else "")
        yield (
            f"{what} alive at the fork ({names}). A forked child has only the thread that forked, and a copy of"
            " whatever the others were holding."
        )


def _of_new_process(facts: Facts, error: str, printed: str) -> Iterator[str]:
    yield from _of_sending(facts, error, printed)
    yield from _of_receiving(error, printed)
    for each in facts.descriptors:
        if each.is_open_there is False:
            yield (
                f"File descriptor {each.number} ({each.what}), which the child was given as a number, is not open"
                " there. Send the Connection or the socket itself, or a path."
            )
    yield from _of_globals(facts)


def _of_sending(facts: Facts, error: str, printed: str) -> Iterator[str]:
    for refused in facts.refused:
        yield (
            f"The process's {refused.what} could not be sent to the child ({refused.type}: {refused.error})."
            f" Only a fork takes everything along: {_instead(refused.error)}."
        )
    if not facts.refused:
        for found in _CANNOT_PICKLE.finditer(f"{error}\n{printed}"):
            why = found["why"].strip()
            yield (
                f"Something could not be sent to the child: {why}. Only a fork takes everything along: {_instead(why)}."
            )


def _instead(why: str) -> str:
    if "local object" in why or "<locals>" in why or "<lambda>" in why or "not found as" in why or "lookup" in why:
        return "give it a function that stands at the top of a module"
    return "send plain data, and make the rest in the child"


def _of_receiving(error: str, printed: str) -> Iterator[str]:
    for text in f"{error}\n{printed}".split("Traceback (most recent call last):")[1:]:
        files = re.findall(r'^ *File "(?:.*[/\\])?([^"]+)", line', text, re.MULTILINE)
        if not _RECEIVING.intersection(files):
            continue
        # No frame of the program's own below: it was the child's share of the start that failed.
        found = _NOT_FOUND.search(text) or (files[-1] in _RECEIVING and _NOT_IN_MODULE.search(text))
        if found:
            yield (
                f"The child found no {found['name']} in {found['module']}, which it imports anew: it was put there at"
                " run time, or only where that module is run as a program. Define it at the top of the module."
            )
        if found := _NO_MODULE.search(text):
            yield (
                f"The child could not import {found['name']}: it is not to be found on sys.path, which is all that a"
                " child knows of it. Put what children run into a module that can be imported by its name."
            )
    if "finished its bootstrapping phase" in printed + error:
        yield (
            "The module that the child imports starts a process when it is imported. Do that in a function, or under"
            " if __name__ == '__main__'."
        )


def _of_globals(facts: Facts) -> Iterator[str]:
    differing = [each for each in facts.readings if each.there is not None and each.here != each.there]
    # A value that differs explains more than something that could never be shared.
    differing.sort(key=lambda each: _shared(each.here) is not None)
    for reading in differing[:_MOST]:
        yield _difference(reading, reading.there or {})
    if len(differing) > _MOST:
        rest = ", ".join(each.name for each in differing[_MOST : 2 * _MOST])
        yield f"So are {len(differing) - _MOST} more: {rest}."
    if differing:
        yield _REMEDY


def _difference(reading: Reading, there: Shown) -> str:
    name = f"{reading.name}, which {reading.function} reads,"
    here = reading.here
    if not there:
        return f"{name} is not there in a new child: it was set at run time."
    if (kind := _shared(here)) is not None and _shared(there) is not None:
        return f"{name} is another {kind} in each child: they do not share it."
    paths = [
        path for path in (*here, *(path for path in there if path not in here)) if here.get(path) != there.get(path)
    ]
    # The parts say more than that the number of them differs.
    telling = [path for path in paths if path] or paths
    first = telling[0]
    where = f"{reading.name}{first} " if first else ""
    mine, its = _words(here, first), _words(there, first)
    said = f"is {mine} here and {its} in a new child" if mine != its else "differs between here and a new child"
    more = f" (and {len(telling) - 1} more)" if len(telling) > 1 else ""
    return f"{name} {said}{more}." if not where else f"{name} differs: {where}{said}{more}."


def _shared(value: Shown) -> str | None:
    found = _SHARED.match(value.get("", ""))
    return found["kind"] if found else None


def _words(value: Shown, path: str) -> str:
    return _DIGEST.sub("", value[path]) if path in value else "not there"


def outcome_line(outcomes: Mapping[str, str]) -> str | None:
    """Return under which start methods a test passed and under which it failed, None where they agree.

    Args:
        outcomes: `passed` or `failed` by start method.
    """
    passed = [method for method, outcome in outcomes.items() if outcome == "passed"]
    failed = [method for method, outcome in outcomes.items() if outcome == "failed"]
    if not passed or not failed:
        return None
    return f"passed under {_listed(passed)}, failed under {_listed(failed)}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
