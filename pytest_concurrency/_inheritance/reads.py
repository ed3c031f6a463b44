"""Which globals a function's code reads, and what a value looks like to somebody in another process."""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import os
import sys
import threading
import types
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .._places import TRAMPOLINE_MARK, owner
from .facts import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .facts import Shown

MISSING = object()
_MOST_FUNCTIONS = 200
_MOST_PARTS = 200
_WIDTH = 60
_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath)
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
# Set for each test by pytest; by C libraries behind Python's back; by an interpreter that starts.
_VOLATILE = frozenset({"PYTEST_CURRENT_TEST", "COLUMNS", "LINES", "LC_CTYPE"})


def functions_of(given: object) -> Iterator[types.FunctionType]:
    """Yield the plain functions that calling *given* runs: of a partial or a method the one inside."""
    if isinstance(given, types.FunctionType):
        yield given
    elif isinstance(given, types.MethodType):
        yield from functions_of(given.__func__)
    elif isinstance(given, functools.partial):
        for part in (given.func, *given.args):
            yield from functions_of(part)
    elif isinstance(given, type):
        yield from _methods(given)
    elif inner := getattr(given, "__wrapped__", None):
        # A cache around it.
        yield from functions_of(inner)
    elif callable(given) and isinstance(call := type(given).__call__, types.FunctionType):
        yield call


def _methods(given: type) -> Iterator[types.FunctionType]:
    for each in given.__mro__:
        for value in tuple(vars(each).values()):
            inner = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if isinstance(inner, types.FunctionType) and owner(inner.__code__.co_filename) == "user":
                yield inner


def _is_users(given: type) -> bool:
    module = sys.modules.get(given.__module__)
    file = getattr(module, "__file__", None)
    return file is not None and owner(file) == "user"


def readings(given: object) -> list[Reading]:
    """Return the globals that *given* reads when it is called, and those that the functions read which it calls."""
    found: dict[tuple[str, tuple[str, ...]], Reading] = {}
    waiting = list(functions_of(given))
    seen: set[types.FunctionType] = set()
    while waiting and len(seen) < _MOST_FUNCTIONS:
        function = waiting.pop(0)
        if function in seen or owner(function.__code__.co_filename) != "user":
            continue
        seen.add(function)
        # A decorator calls the function that it was given.
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):
                waiting.extend(functions_of(cell.cell_contents))
        module = str(function.__globals__.get("__name__"))
        for path in _paths(_code(function)):
            value, used = resolve(function.__globals__, path)
            if value is MISSING or isinstance(value, types.ModuleType):
                continue
            if isinstance(value, type):
                # A class is used for what its methods do; what they read of it has a path of its own.
                waiting.extend(functions_of(value))
                continue
            if isinstance(value, types.FunctionType):
                waiting.append(value)
            key = _at_home(module, function.__globals__, used)
            if value is os.environ or value is os.getenv:
                key, value = ("os", ("environ",)), os.environ
            if key not in found:
                found[key] = Reading(f"{module}.{function.__qualname__}", *key, shown(value))
    return list(found.values())


def _at_home(module: str, namespace: Mapping[str, Any], path: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the module that a value lies in, and the way from there, where *path* leads through other modules."""
    for used in range(len(path) - 1, 0, -1):
        inner, _ = resolve(namespace, path[:used])
        if isinstance(inner, types.ModuleType) and sys.modules.get(inner.__name__) is inner:
            return inner.__name__, path[used:]
    return module, path


def _code(function: types.FunctionType) -> types.CodeType:
    code = function.__code__
    if TRAMPOLINE_MARK in code.co_varnames:
        # Somebody watches it: its own code is with the function that the hook calls.
        for constant in code.co_consts:
            original = getattr(getattr(constant, "__self__", None), "original", None)
            if isinstance(original, types.FunctionType):
                return original.__code__
    return code


def _paths(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    path: list[str] = []
    for instruction in dis.get_instructions(code):
        name = instruction.argval
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and path:
            path.append(name)
            continue
        if path and instruction.opname not in ("CACHE", "EXTENDED_ARG", "PUSH_NULL"):
            yield tuple(path)
            path = []
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            path = [name]
    if path:
        yield tuple(path)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _paths(constant)


def resolve(namespace: Mapping[str, Any], path: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """Follow *path* as far as it leads to values; return the last, and the way to it. No code of the user's runs."""
    value = namespace.get(path[0], MISSING)
    used = 1
    for name in path[1:]:
        inner = _attribute(value, name)
        # A method, a property: what it works on is the value that is read.
        if inner is MISSING or (isinstance(inner, types.FunctionType) and not isinstance(value, types.ModuleType)):
            break
        value, used = inner, used + 1
    return value, path[:used]


def _attribute(value: object, name: str) -> Any:
    if isinstance(value, type):
        for each in value.__mro__:
            if name in vars(each):
                inner = vars(each)[name]
                return MISSING if hasattr(inner, "__get__") and not isinstance(inner, types.FunctionType) else inner
        return MISSING
    try:
        return object.__getattribute__(value, "__dict__").get(name, MISSING)
    except AttributeError:
        return MISSING


def _is_a_wrapper_of_ours(value: object) -> bool:
    """Tell whether *value* stands in the place of a blocking call for the length of the run: a new child has none."""
    if isinstance(value, types.FunctionType):
        return owner(value.__code__.co_filename) == "own" and hasattr(value, "__wrapped__")
    return type(value).__module__.startswith("pytest_concurrency.") and hasattr(value, "__wrapped__")


def shown(value: object) -> Shown:
    """Return *value* part by part, in words that are the same in another process if the value is."""
    found: Shown = {}
    for path, text in _parts(value, "", 4):
        if len(found) >= _MOST_PARTS:
            break
        found[path] = text
    return found


def _parts(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    while _is_a_wrapper_of_ours(value):
        value = value.__wrapped__
    kind = type(value)
    if kind in _PLAIN or isinstance(value, PurePath):
        yield path, _cut(repr(value))
    elif isinstance(value, Enum):
        yield path, f"{kind.__name__}.{value.name}"
    elif isinstance(value, types.FunctionType):
        code = value.__code__
        yield path, f"the function {value.__qualname__} of {os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    elif isinstance(value, _LOCKS):
        # Old Pythons tell of an RLock only here.
        yield path, f"a lock that is {'held' if repr(value).startswith('<locked') else 'free'}"
    elif kind.__module__.startswith("multiprocessing."):
        yield path, f"the {kind.__name__} of process {os.getpid()}"
    elif value is os.environ:
        # Names alone: values may be secret.
        names = {name: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8] for name, text in value.items()}
        yield path, "os.environ"
        yield from ((f"{path}[{name!r}]", f"set#{names[name]}") for name in sorted(names.keys() - _VOLATILE))
    else:
        yield path, _size(value, f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))
        if depth:
            for step, part in _inside(value):
                yield from _parts(part, path + step, depth - 1)


def _size(value: Any, name: str) -> str:
    return f"{name} of {len(value)}" if type(value) in (dict, list, tuple, set, frozenset) else name


def _inside(value: Any) -> list[tuple[str, Any]]:
    kind = type(value)
    # Another thread may be changing it.
    if kind in (list, tuple):
        return [(f"[{index}]", part) for index, part in enumerate(value[:_MOST_PARTS])]
    if isinstance(value, dict):
        items = list(dict.copy(value).items())[:_MOST_PARTS]
        return [(f"[{_cut(repr(key))}]", part) for key, part in items if type(key) in _PLAIN]
    if kind in (set, frozenset):
        return [(f" has {_cut(repr(part))}", True) for part in set(value) if type(part) in _PLAIN]
    if kind.__name__ == "ContextVar" and kind.__module__ == "_contextvars":
        try:
            return [(".get()", value.get())]
        except LookupError:
            return []
    if isinstance(value, threading.local) or kind is types.SimpleNamespace or _is_users(kind):
        try:
            return [(f".{name}", part) for name, part in dict(vars(value)).items()]
        except TypeError:
            return [
                (f".{name}", getattr(value, name))
                for name in getattr(kind, "__slots__", ())
                if isinstance(getattr(kind, name, None), types.MemberDescriptorType) and hasattr(value, name)
            ]
    return []


def _cut(text: str) -> str:
    if len(text) <= _WIDTH:
        return text
    # Two long texts that differ at the end are to differ here too.
    return f"{text[: _WIDTH - 3]}...#{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"
