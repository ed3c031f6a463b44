"""What a turn of a loop was spent on that took too long and did not say so. A pure function of clocks and samples."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from .._trace import Place
    from .clocks import Reading, Spent
    from .frames import Site

# What the kernel says a sleeping thread is in, by the beginning or a part of the function's name.
_KERNEL_WAITS: tuple[tuple[str, str], ...] = (
    ("nanosleep", "sleep"),
    ("futex", "lock"),
    ("do_wait", "subprocess"),
    ("pipe_read", "input"),
    ("n_tty_read", "input"),
    ("pipe_write", "wait"),
    ("poll_schedule", "socket"),
    ("do_select", "socket"),
    ("ep_poll", "socket"),
    ("epoll", "socket"),
    ("unix_stream", "socket"),
    ("unix_wait", "socket"),
    ("skb_wait", "socket"),
    ("skb_recv", "socket"),
    ("inet_", "socket"),
    ("tcp_", "socket"),
    ("sk_", "socket"),
    ("sock_", "socket"),
    ("locks_lock", "lock"),
    ("flock_lock", "lock"),
    ("do_sigtimedwait", "wait"),
    ("io_schedule", "file"),
    ("folio_", "file"),
    ("jbd2", "file"),
)
EVERY = 0.005
"""Seconds between two looks."""
_SURE = 0.015
"""Seconds from which on a wait that the kernel has a name for is worth a word; below, hand-over and start-up."""


UNTOLD = "?"
"""What a thread is in where the system does not say: it may wait, and it may compute."""


class Sample(NamedTuple):
    """Where a loop's thread was at one instant of an overdue turn."""

    reading: Reading
    step: object
    """What the loop was running; the same object all through one step."""
    others: int
    """How many more steps were to be run in this turn."""
    site: Site
    kernel: str
    """What the thread was in, asked of the kernel; empty while it computes."""
    task: str | None
    allowed: str | None
    span: tuple[str, int, int, int] | None = None
    """What the user's line was evaluating: file, line, first and last column."""
    held: float = 0.0
    """Seconds before this instant in which the GIL was not to be had: all that time was one step's."""


class Late(NamedTuple):
    """A stretch of an overdue turn that has been explained."""

    kind: str
    seconds: float
    sample: Sample


def kernel_kind(name: str) -> str:
    """Return the kind of wait that the kernel's function *name* stands for, empty where it is none that we know."""
    return next((kind for part, kind in _KERNEL_WAITS if part in name), "wait" if name else "")


def explain(
    spent: Spent,
    samples: Sequence[Sample],
    named: float,
    named_open: Container[str],
    threshold: float,
    *,
    told: bool = True,
) -> list[Late]:
    """Return what the turn was spent on.

    Args:
        spent: The clocks of the whole turn.
        samples: What was seen of it.
        named: Seconds of it that known calls have accounted for already.
        named_open: The kinds of known calls that were made and whose length nobody knows: such waits are theirs.
        threshold: From which length on computing, and waiting for nobody knows what, counts.
        told: The turn's beginning and its end are known to belong to the steps that were seen.
    """
    if not samples:
        return []
    found = [late for late in (_computed(spent, samples, named, threshold, told),) if late is not None]
    if any(sample.kernel == UNTOLD for sample in samples):
        waits = _waited_untold(spent, samples, named, threshold)
    else:
        waits = _waited(spent, samples, named, threshold) or _waited_unseen(spent, samples, named, threshold)
    return [*found, *(late for late in waits if late.kind not in named_open)]


def written(span: tuple[str, int, int, int] | None) -> str:
    """Return the text of *span*, shortened; empty where the source is not at hand."""
    if span is None:
        return ""
    import linecache

    file, line, start, stop = span
    text = linecache.getline(file, line).encode()[start:stop].decode(errors="replace")
    return text if len(text) <= 50 else f"{text[:47]}..."


def where(samples: Sequence[Sample]) -> str:
    """Return on which lines the time went, most of it first; empty where one line had it all."""
    seen = Counter(sample.site.place for sample in samples if sample.kernel in _MAY_COMPUTE)
    if len(seen) < 2:
        return ""
    shares = [
        f"{number * 100 // seen.total()} % at {os.path.basename(place.file)}:{place.line}"
        for place, number in seen.most_common(_MOST_LINES)
    ]
    return ", ".join(shares)


_MOST_LINES = 3


def called(expression: str) -> str:
    """Return what *expression* calls, without the arguments: `lock.acquire` of `lock.acquire(timeout=1)`."""
    if not expression.endswith(")"):
        return expression
    depth = 0
    for index in range(len(expression) - 1, -1, -1):
        depth += (expression[index] == ")") - (expression[index] == "(")
        if depth == 0:
            return expression[:index]
    return expression


def _computed(spent: Spent, samples: Sequence[Sample], named: float, threshold: float, told: bool) -> Late | None:
    alone = told and all(sample.step == samples[0].step for sample in samples)
    if alone and (len(samples) > 1 or samples[0].others <= _FEW):
        # What known calls took was mostly waiting; what of it was computing is not counted twice.
        cpu = spent.cpu - max(0.0, named - spent.blocked)
        step = samples
    else:
        # Many short steps make a long turn, and nobody is to blame: only what one step did between two looks counts.
        cpu, step = max((_within(spent, samples, sample.step) for sample in samples), key=lambda pair: pair[0])
        keeper = max(samples, key=lambda sample: sample.held)
        if keeper.held > cpu:
            cpu, step = min(keeper.held, spent.cpu), [keeper]
    busy = [sample for sample in step if sample.kernel in _MAY_COMPUTE]
    if cpu < threshold or not step:
        return None
    return Late("cpu", cpu, _most_computed(cpu, busy or step))


def _most_computed(cpu: float, samples: Sequence[Sample]) -> Sample:
    """Return a sample of the place where most of *cpu* went; by the looks where nobody tells of it."""
    clocks = [sample.reading.cpu for sample in samples]
    if not clocks[-1]:
        return _most_seen(samples)
    # What was computed up to a look was most likely computed where it found the thread: whoever keeps the GIL is
    # looked at when it lets go. What no two looks lie around goes to the first.
    before = clocks[0] - max(0.0, cpu - (clocks[-1] - clocks[0]))
    shares: dict[Place, float] = {}
    for sample, earlier in zip(samples, [before, *clocks], strict=False):
        shares[sample.site.place] = shares.get(sample.site.place, 0.0) + sample.reading.cpu - earlier
    most = max(shares, key=lambda place: shares[place])
    return next(sample for sample in samples if sample.site.place == most)


_FEW = 3
_MAY_COMPUTE = ("", UNTOLD)


def _within(spent: Spent, samples: Sequence[Sample], step: object) -> tuple[float, Sequence[Sample]]:
    own = [sample for sample in samples if sample.step == step]
    if not own[-1].reading.cpu and len(own) > 1:
        # Nobody tells what another thread has computed: by the share of the looks that found it there.
        return spent.cpu * len(own) / len(samples), own
    return own[-1].reading.cpu - own[0].reading.cpu, own


def _waited(spent: Spent, samples: Sequence[Sample], named: float, threshold: float) -> list[Late]:
    asleep = [sample for sample in samples if sample.kernel]
    if not asleep:
        return []
    # No more than what was seen of it: a virtual machine's host takes time that no clock in it accounts for.
    blocked = min(spent.blocked, spent.wall * (len(asleep) + 1) / len(samples)) - named
    found = []
    for kind in dict.fromkeys(kernel_kind(sample.kernel) for sample in asleep):
        own = [sample for sample in asleep if kernel_kind(sample.kernel) == kind]
        seconds = blocked * len(own) / len(asleep)
        if kind == "lock":
            # Waiting for the GIL looks the same: what other threads computed meanwhile was not waited for a lock.
            seconds -= spent.others
        if seconds >= (threshold if kind == "wait" else _SURE):
            found.append(Late(kind, seconds, _most_seen(own)))
    return found


def _waited_unseen(spent: Spent, samples: Sequence[Sample], named: float, threshold: float) -> list[Late]:
    """Return the wait of a call that kept the GIL meanwhile, so that nobody could look before it was over."""
    keeper = max(samples, key=lambda sample: sample.held)
    waited = min(keeper.held, spent.blocked - named) - spent.others
    # Whoever waits for the GIL itself, which another thread keeps, wakes up to ask for it at every switch interval.
    if waited < threshold or spent.sleeps * sys.getswitchinterval() > waited / 2:
        return []
    return [Late("wait", waited, keeper)]


def _waited_untold(spent: Spent, samples: Sequence[Sample], named: float, threshold: float) -> list[Late]:
    """Return the wait of a turn of which only clocks and looks are known.

    What was not computed may have been spent in the queue for a processor as well, or stopped. But whoever is kept from
    computing computes a little all the same, and is not found waiting again and again by a thread that runs meanwhile.
    """
    waited = spent.blocked - named - spent.others
    seen = 2 * EVERY * len(samples)
    if min(waited, seen) < threshold or spent.cpu > waited / 10:
        return []
    return [Late("wait", waited, _most_seen(samples))]


def _most_seen(samples: Sequence[Sample]) -> Sample:
    places = [sample.site.place for sample in samples]
    return samples[places.index(max(places, key=places.count))]
