"""Put an attribute in place and take it out again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MISSING = object()


@contextmanager
def patched(owner: Any, name: str, make: Callable[[Any], Any], *, needed: bool = False) -> Iterator[None]:
    """Set `owner.name` to what *make* returns for the present value, for the length of the `with` block.

    Nothing happens where *owner* has no such attribute: a library's version without it is watched by what it has.

    Args:
        needed: It cannot be watched without.

    Raises:
        AttributeError: What is needed is not there.
    """
    original = getattr(owner, name) if needed else getattr(owner, name, None)
    if original is None:
        yield
        return
    # An inherited attribute goes back to being inherited.
    own = vars(owner).get(name, _MISSING)
    replacement = make(original)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        # Somebody who patched it after us still has theirs in place, with ours inside: not ours to take out.
        if vars(owner).get(name) is replacement:
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
