"""What a target names: a function, or its dotted name, to the function object whose calls are to be seen."""

from __future__ import annotations

import functools
import importlib
import inspect
from dataclasses import dataclass
from types import FunctionType
from typing import Any


class TargetError(ValueError):
    """A target that cannot be watched; the text says why and what is accepted."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where the calls of a target can be seen."""

    name: str
    """As the user wrote it, or `module:qualname` for a function that was given itself."""
    function: FunctionType | None
    """Written in Python: its code can be swapped."""
    owner: Any = None
    """Otherwise: the object that holds it …"""
    attribute: str = ""
    """… and under which name."""


def resolve(target: object) -> Resolved:
    """Return where the calls of *target* can be seen.

    Args:
        target: A function of any kind, or its name: `package.module.function`, `package.module:Class.method`.

    Raises:
        TargetError: It cannot be imported, is not callable, or nothing can be hung on it.
    """
    if isinstance(target, str):
        owner, attribute, found = _look_up(target)
        return _resolved(target, found, owner, attribute)
    if not callable(target) and not isinstance(target, (staticmethod, classmethod)):
        raise TargetError(
            f"{target!r} is not a target: expected a function, or a name such as 'package.module:Class.method'"
        )
    return _resolved(_name_of(target), target, None, "")


def name_of(target: object) -> str:
    """Return the name that the spans of *target* carry, without resolving it."""
    return target if isinstance(target, str) else _name_of(target)


def _name_of(target: object) -> str:
    function = _python_function(target)
    named: Any = function if function is not None else target
    module = getattr(named, "__module__", None)
    qualname = getattr(named, "__qualname__", None) or repr(named)
    return f"{module}:{qualname}" if module else str(qualname)


def _look_up(name: str) -> tuple[Any, str, Any]:
    module_name, colon, path = name.partition(":")
    parts = name.split(".") if not colon else []
    if not name.strip() or (colon and not (module_name and path)) or "" in parts:
        raise TargetError(f"{name!r} is not a target: expected a name such as 'package.module:Class.method'")
    if colon:
        module, attributes = _import(module_name, name), path.split(".")
    else:
        module, attributes = _import_longest(name)
    owner, found, done = module, module, module.__name__
    for attribute in attributes:
        owner = found
        # Statically: a descriptor's own object is wanted, and a property must not run.
        try:
            found = inspect.getattr_static(owner, attribute)
        except AttributeError:
            # A module may make its names on demand (`__getattr__`).
            try:
                found = getattr(owner, attribute)
            except AttributeError:
                raise TargetError(
                    f"target {name!r}: {done} has no {attribute!r}{_did_you_mean(owner, attribute)}"
                ) from None
        done = f"{done}.{attribute}"
    if not attributes:
        raise TargetError(f"target {name!r} is a module: expected a function in it")
    return owner, attributes[-1], found


def _import(module_name: str, target: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        raise TargetError(f"target {target!r} cannot be imported: {error}") from error


def _import_longest(name: str) -> tuple[Any, list[str]]:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module_name = ".".join(parts[:length])
        try:
            return importlib.import_module(module_name), parts[length:]
        except ModuleNotFoundError as error:
            # Only "this name is no module" means: try a shorter one. A module that fails inside is an error.
            if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
                raise TargetError(f"target {name!r} cannot be imported: {error}") from error
        except ImportError as error:
            raise TargetError(f"target {name!r} cannot be imported: {error}") from error
    raise TargetError(f"target {name!r} cannot be imported: there is no module {parts[0]!r}")


def _did_you_mean(owner: object, attribute: str) -> str:
    import difflib

    close = difflib.get_close_matches(attribute, dir(owner), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _resolved(name: str, found: Any, owner: Any, attribute: str) -> Resolved:
    if isinstance(found, property):
        raise TargetError(f"target {name!r} is a property, not something that is called")
    function = _python_function(found)
    if function is not None:
        return Resolved(name, function)
    if isinstance(found, type):
        raise TargetError(f"target {name!r} is a class: name one of its methods, such as {name.rstrip('.')}.__init__")
    if not callable(found):
        raise TargetError(f"target {name!r} is not callable: it is {found!r}")
    if owner is None:
        owner, attribute = _holder(found)
    if owner is None:
        raise TargetError(
            f"target {name!r} is written in C and cannot be watched here: name it by the module that your code"
            " takes it from, or watch a Python function that calls it"
        )
    return Resolved(name, None, owner, attribute)


def _holder(found: Any) -> tuple[Any, str]:
    module_name, attribute = getattr(found, "__module__", None), getattr(found, "__name__", "")
    module = importlib.import_module(module_name) if module_name else None
    return (module, attribute) if module is not None and getattr(module, attribute, None) is found else (None, "")


def _python_function(found: object) -> FunctionType | None:
    """Return the function written in Python that a call of *found* runs first, None where there is none."""
    while not isinstance(found, FunctionType):
        if isinstance(found, functools.partial):
            found = found.func
        elif isinstance(found, (staticmethod, classmethod, functools.partialmethod)) or inspect.ismethod(found):
            found = getattr(found, "__func__", None) or getattr(found, "func", None)
        else:
            return None
    return found
