"""A descriptor of ours that the program may have closed, with all others, and got anew for a file of its own."""

from __future__ import annotations

import os

# From before any wrapper: what this plugin keeps open is not the program's doing.
_fstat = os.fstat


def identity(number: int) -> tuple[int, int] | None:
    """Return which file the descriptor *number* stands for, None where it is closed."""
    try:
        found = _fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino
