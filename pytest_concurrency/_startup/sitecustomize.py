"""Python runs this at its start, in a process that a test wants to be recorded (see `_record/subprocesses.py`)."""

from __future__ import annotations

import os
import sys


def _start() -> None:
    own = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != own]
    # The next one of this name is the user's, if there is one; our own has to stay where there is none.
    ours = sys.modules.pop("sitecustomize", None)
    try:
        __import__("sitecustomize")
    except ImportError:
        if ours is not None:
            sys.modules["sitecustomize"] = ours
    try:
        import pytest_concurrency._child as child
    except ImportError:
        # This Python has libraries of its own.
        sys.path.append(os.path.dirname(os.path.dirname(own)))
        import pytest_concurrency._child as child
    child.begin_by_environment()


_start()
