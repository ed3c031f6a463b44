"""Who answers for what is started here and now: a test, or a fixture.

A context variable says so. Tasks have a copy of the context of whoever made them, so what a task starts belongs to the
same owner as the task; a thread is given its starter's owner when it begins.
"""

from __future__ import annotations

import contextvars
from dataclasses import dataclass


@dataclass(slots=True, eq=False, weakref_slot=True)
class Owner:
    """A test, or one set-up of a fixture."""

    fixture: str = ""
    """The fixture with its scope, as a reader is told; empty for a test."""


current: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("pytest_concurrency_owner", default=None)
