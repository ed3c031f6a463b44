"""What runs in the fresh child that is asked what it has."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from .reads import MISSING, resolve, shown

if TYPE_CHECKING:
    from .facts import Shown


def answer(connection: Any, wanted: list[tuple[str, tuple[str, ...]]], descriptors: list[int]) -> None:
    """Send what this process has of *wanted*, and which files its *descriptors* are."""
    # Before a module is imported, which may open some.
    files = [_file(number) for number in descriptors]
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        # What the program prints when it is imported has been read already.
        sys.stdout = sys.stderr = nowhere
        values = [_value(module, path) for module, path in wanted]
        connection.send((values, files))
        connection.close()


def _file(number: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _value(module: str, path: tuple[str, ...]) -> Shown | None:
    try:
        namespace = vars(importlib.import_module(module))
    except Exception:
        return None
    value, used = resolve(namespace, path)
    # Shorter: what led on is something else here.
    return shown(value) if value is not MISSING and used == path else {}
