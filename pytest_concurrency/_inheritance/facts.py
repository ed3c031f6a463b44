"""What was seen of the processes that one test started, as frozen data."""

from __future__ import annotations

from dataclasses import dataclass

Shown = dict[str, str]
"""A value as text: what each part of it that can be compared between processes looks like. `""` is the value itself."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A global that code reads which was handed to a child."""

    function: str
    """Whose code reads it."""
    module: str
    path: tuple[str, ...]
    """The global's name, and attributes of it."""
    here: Shown
    """What it was when the work was handed over."""
    there: Shown | None = None
    """What it is in a child that has just been started; None where that is not known."""

    @property
    def name(self) -> str:
        """The global as people write it."""
        return ".".join((self.module, *self.path))


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that could not be sent to a child."""

    what: str
    """Where it was found, such as `args[0].lock`."""
    type: str
    error: str


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A number given to a child that is an open file descriptor here."""

    number: int
    what: str
    """`a pipe`, `a socket`, `a file`, or another word for it."""
    file: tuple[int, int]
    """What the system knows it by."""
    is_open_there: bool | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was seen in one test."""

    method: str
    readings: tuple[Reading, ...] = ()
    refused: tuple[Refused, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    threads: tuple[str, ...] = ()
    """Other threads that were alive when the first child was started."""
