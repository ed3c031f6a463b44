"""Places that a rule names: a module, a function in it, or files by a path. Pure functions."""

from __future__ import annotations

import fnmatch
import os
import re
from typing import NamedTuple

# Not compiled before there is a rule to read.
_NAME = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_FUNCTION = r"[\w.<>*?]+"


class PlaceRule(NamedTuple):
    """The code that an allow rule lets off."""

    module: str | None = None
    function: str | None = None
    path: str | None = None

    def covers(self, file: str, module: str, function: str, root: str) -> bool:
        """Tell whether a line of *function* (its qualified name) in *module* and *file* is meant.

        Args:
            root: The folder that paths are relative to.
        """
        if self.path is not None:
            file = file.replace(os.sep, "/")
            below = f"{root.rstrip('/')}/"
            return fnmatch.fnmatchcase(file.removeprefix(below), self.path) or fnmatch.fnmatchcase(file, self.path)
        if self.module is not None and self.module not in with_packages(module):
            return False
        if self.function is None:
            return True
        qualified = function.replace(".<locals>", "")
        names = (qualified, qualified.rpartition(".")[2])
        return any(fnmatch.fnmatchcase(name, self.function) for name in names)


def parse_place(text: str) -> PlaceRule:
    """Return the place that *text* names: `package.module`, `package.module:function` or a path glob.

    Raises:
        ValueError: It names none; the message says why where that is not plain.
    """
    module, colon, function = text.partition(":")
    if "/" in text or text.endswith(".py"):
        if colon and not re.match(r"[A-Za-z]:[\\/]", text):
            raise ValueError("names a path and a function")
        return PlaceRule(path=text.replace(os.sep, "/").removeprefix("./"))
    if not re.fullmatch(_NAME, module) or (colon and not re.fullmatch(_FUNCTION, function)):
        raise ValueError
    return PlaceRule(module, function or None)


def with_packages(module: str) -> frozenset[str]:
    """Return the dotted name *module* and those of the packages that it lies in."""
    parts = module.split(".")
    return frozenset(".".join(parts[:n]) for n in range(1, len(parts) + 1))
