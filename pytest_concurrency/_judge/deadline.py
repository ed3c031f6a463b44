"""Was the test's body over in time? Pure function: two durations in, a message out."""

from __future__ import annotations


def judge(elapsed: float, limit: float, virtual: bool) -> str | None:
    """Return why *elapsed* seconds are too many where *limit* are allowed; None when they are not.

    Args:
        elapsed: How long the body took, in seconds.
        limit: How long it may take at most, in seconds.
        virtual: The seconds are those of the virtual clock.
    """
    if elapsed <= limit:
        return None
    took, allowed = _apart(elapsed, limit)
    if virtual:
        return (
            f"took {took} of virtual time, expected at most {allowed}\n\n"
            "Only waiting counts on the virtual clock, so this is the same on every machine: some waits come one after "
            "the other, or one is too long. Let them overlap: asyncio.gather(), a TaskGroup or a trio nursery."
        )
    return (
        f"took {took}, expected at most {allowed}\n\n"
        "This is real time, with the load of the machine in it. To measure the test's waiting alone, and exactly, mark "
        "it with virtual_clock as well."
    )


def _apart(one: float, other: float) -> tuple[str, str]:
    """Return both as text, with as few decimals as tell them apart."""
    for decimals in (3, 6, 9, 17):
        texts = _written(one, decimals), _written(other, decimals)
        if texts[0] != texts[1]:
            break
    return texts


def _written(seconds: float, decimals: int) -> str:
    whole, _, fraction = f"{seconds:.{decimals}f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction} s" if fraction else f"{whole} s"
