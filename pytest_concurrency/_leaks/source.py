"""What every kind of leak has in common: who watches for it, and what it yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._imports import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from contextlib import ExitStack

    from .._trace import Leak
    from .owner import Owner
    from .watch import Watch


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Something that is still there."""

    key: Any
    """The thing itself."""
    owner: Owner
    leak: Leak
    can_still_end: bool = False
    """It runs beside us: given a moment it may end of itself."""


class Source:
    """Takes down what is started of one kind. `install` puts in place what `undo` takes out again."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def install(self, undo: ExitStack) -> None:
        """Begin to take down."""

    def when_imported(self, undo: ExitStack, module: str, watch: Callable[[], object]) -> None:
        """Begin with what needs *module* once it is there; a version that cannot be watched ends the watching."""
        undo.enter_context(when_imported(module, watch, on_failure=self.watch.fail))

    def left(self, of: Container[Owner]) -> Iterator[Left]:
        """Yield what these owners started and what is still there."""
        return iter(())

    def forget(self, of: Container[Owner]) -> None:
        """Drop what was taken down for these owners, who answer for nothing any more."""
