"""Which of the blocks that were seen count, and what they come to. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._settings import Blocking
    from .._trace import Block, Place

# Computing has no call to be guilty by: only its length tells.
_BY_LENGTH = frozenset({"cpu"})


@dataclass(frozen=True, slots=True)
class Finding:
    """All blocks of one kind that one line made in one call."""

    kind: str
    call: str
    place: Place
    backend: str
    blocks: tuple[Block, ...]

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.blocks)

    @property
    def seconds(self) -> float | None:
        """How long they lasted in all, None where nothing is known of any."""
        known = [block.seconds for block in self.blocks if block.seconds is not None]
        return sum(known) if known else None

    @property
    def worst(self) -> Block:
        """The longest, the first of those that are alike."""
        return max(self.blocks, key=lambda block: block.seconds or 0.0)


def counts(block: Block, blocking: Blocking) -> bool:
    """Tell whether *block* is one that *blocking* asks for."""
    if block.allowed is not None or block.kind not in blocking.kinds:
        return False
    if block.kind in _BY_LENGTH or block.kind in blocking.past_threshold:
        return block.seconds is not None and block.seconds >= blocking.threshold
    return True


def seen(blocks: Iterable[Block], blocking: Blocking) -> tuple[Block, ...]:
    """Return those that may not be and are of a kind that *blocking* asks for, however short they were."""
    return tuple(block for block in blocks if block.allowed is None and block.kind in blocking.kinds)


def findings(blocks: Iterable[Block], blocking: Blocking) -> tuple[Finding, ...]:
    """Return what counts, the longest first, and in the order of the first block where nothing is known of length."""
    groups: dict[tuple[object, ...], list[Block]] = {}
    for block in blocks:
        if counts(block, blocking):
            groups.setdefault((block.kind, block.call, block.place, block.backend), []).append(block)
    found = [
        Finding(group[0].kind, group[0].call, group[0].place, group[0].backend, tuple(group))
        for group in groups.values()
    ]
    return tuple(sorted(found, key=lambda finding: -(finding.seconds or 0.0)))
