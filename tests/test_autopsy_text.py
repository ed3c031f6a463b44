"""The exact words of a hang."""

from __future__ import annotations

import pytest

from pytest_concurrency._hang import Hang, Hold, Party
from pytest_concurrency._show.autopsy import autopsy_message, is_telling
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Place, Span, Strand, Trace

PAGE = Page("/app")


def at(line: int, function: str = "f") -> Place:
    return Place("/app/shop.py", line, function)


def test_a_deadlock_names_who_holds_what_and_where_each_took_it() -> None:
    hang = Hang(
        (
            Party(
                1,
                "task",
                "ab",
                "lock",
                "Lock `b`",
                (2,),
                True,
                at(7, "ab"),
                "async with b:",
                (Hold("Lock `a`", at(5)),),
            ),
            Party(
                2,
                "task",
                "ba",
                "lock",
                "Lock `a`",
                (1,),
                True,
                at(11, "ba"),
                "async with a:",
                (Hold("Lock `b`", at(9)),),
            ),
            Party(
                3,
                "task",
                "test_it",
                "task",
                on=(1, 2),
                place=at(12, "test_it"),
                code="await asyncio.gather(ab(), ba())",
            ),
            Party(4, "thread", "MainThread", "loop", bystander=True),
        ),
        root=3,
    )

    assert (
        autopsy_message(hang, PAGE)
        == """\
deadlock: ab waits for Lock `b` held by ba, ba waits for Lock `a` held by ab

task ab
  waits for Lock `b` held by ba
  at shop.py:7 in ab: async with b:
  holds Lock `a`, taken at shop.py:5
task ba
  waits for Lock `a` held by ab
  at shop.py:11 in ba: async with a:
  holds Lock `b`, taken at shop.py:9
task test_it
  waits for ab and ba
  at shop.py:12 in test_it: await asyncio.gather(ab(), ba())

Take them in the same order everywhere, or hold one at a time."""
    )


def test_a_loop_that_is_kept_by_a_call_which_needs_it_is_explained() -> None:
    hang = Hang(
        (
            Party(1, "task", "test_it", "result", on=(2,), place=at(3), code="future.result()"),
            Party(2, "task", "fetch", "turn", on=(3,), place=at(9, "fetch"), code="async def fetch():"),
            Party(3, "thread", "MainThread", "runs", on=(1,), bystander=True),
        ),
        root=1,
    )

    assert (
        autopsy_message(hang, PAGE)
        == """\
deadlock: test_it waits for the result of fetch, fetch waits for its turn:
  MainThread keeps the event loop

task test_it
  waits for the result of fetch
  at shop.py:3 in f: future.result()
task fetch
  waits for its turn: MainThread keeps the event loop
  at shop.py:9 in fetch: async def fetch():
thread MainThread
  runs test_it, which keeps the event loop

An event loop cannot bring a result while its own thread waits for it: await the
result (asyncio.wrap_future), or wait in another thread."""
    )


def test_without_a_circle_the_first_line_leads_to_what_everything_waits_for() -> None:
    hang = Hang(
        (
            Party(1, "task", "test_it", "task", on=(2,), place=at(3), code="await worker"),
            Party(2, "task", "worker", "get", "Queue `q`", place=at(9, "worker"), code="await q.get()"),
            *(Party(n, "task", f"other {n}", "event", "Event `e`", place=at(20)) for n in range(3, 9)),
        ),
        root=1,
        lost=("trio's tasks could not be looked at: ValueError: x",),
    )

    assert (
        autopsy_message(hang, PAGE)
        == """\
test_it waits for worker; worker waits for an item from Queue `q`

task test_it
  waits for worker
  at shop.py:3 in f: await worker
task worker
  waits for an item from Queue `q`
  at shop.py:9 in worker: await q.get()
tasks other 3, other 4, other 5, other 6 and 2 more
  waits for Event `e` to be set
  at shop.py:20 in f

trio's tasks could not be looked at: ValueError: x"""
    )


def test_a_deadlock_that_the_body_does_not_wait_for_comes_second() -> None:
    hang = Hang(
        (
            Party(1, "thread", "one", "lock", "Lock `b`", (2,), True, at(7)),
            Party(2, "thread", "two", "lock", "Lock `a`", (1,), True, at(11)),
            Party(3, "thread", "MainThread", "event", "Event `done`", place=at(20)),
        ),
        root=3,
    )

    assert autopsy_message(hang, PAGE).startswith(
        """\
MainThread waits for Event `done` to be set

elsewhere, a deadlock: one waits for Lock `b` held by two, two waits for Lock
  `a` held by one

thread one
"""
    )


def test_the_last_spans_are_shown_where_they_were_recorded() -> None:
    strand = Strand(1, "asyncio-task", "Task-1", 1, 1)
    done = Span(1, 1, "shop.fetch", 1, 0.5, done=2, last=3, end=0.75, outcome="returned")
    trace = Trace(strands=(strand,), spans=(done, Span(2, 1, "shop.store", 4, 1.25)))
    hang = Hang((Party(1, "task", "test_it", "event", "Event `e`", place=at(3)),), root=1)

    assert (
        autopsy_message(hang, PAGE, trace)
        == """\
test_it waits for Event `e` to be set

task test_it
  waits for Event `e` to be set
  at shop.py:3 in f

last spans:
  shop.fetch on Task-1: 0.500 s to 0.750 s, returned
  shop.store on Task-1: open since 1.250 s"""
    )


def test_a_child_that_hangs_on_a_lock_from_before_the_fork_is_followed() -> None:
    note = "which thread 'T' of the parent process held at shop.py:4 when it forked: no thread here can give it back"
    hang = Hang(
        (
            Party(1, "thread", "MainThread", "process", on=(2,), place=at(3), code="p.join()"),
            Party(2, "process", "Process-1 (pid 7)", "child", on=(3,)),
            Party(3, "thread", "MainThread of Process-1 (pid 7)", "lock", "Lock `x`", note=note, place=at(9)),
        ),
        root=1,
    )

    assert (
        autopsy_message(hang, PAGE)
        == """\
MainThread waits for process Process-1 (pid 7) to end; MainThread of Process-1
  (pid 7) waits for Lock `x`, which thread 'T' of the parent process held at
  shop.py:4 when it forked: no thread here can give it back

thread MainThread
  waits for process Process-1 (pid 7) to end
  at shop.py:3 in f: p.join()
process Process-1 (pid 7)
  does not end: see MainThread of Process-1 (pid 7)
thread MainThread of Process-1 (pid 7)
  waits for Lock `x`, which thread 'T' of the parent process held at shop.py:4
    when it forked: no thread here can give it back
  at shop.py:9 in f"""
    )


@pytest.mark.parametrize(
    ("party", "words"),
    [
        (Party(1, "task", "a", "lock", "Lock `x`"), "waits for Lock `x`, whose holder is not known"),
        (Party(1, "task", "a", "lock", "Lock `x`", (1,)), "waits for Lock `x`, which it holds itself"),
        (Party(1, "task", "a", "put", "Queue `q`"), "waits for room in Queue `q`"),
        (Party(1, "task", "a", "join queue", "Queue `q`"), "waits for all items of Queue `q` to be done"),
        (Party(1, "task", "a", "condition", "Condition `c`"), "waits for Condition `c` to be notified"),
        (Party(1, "task", "a", "barrier", "Barrier `b`"), "waits for others at Barrier `b`"),
        (Party(1, "task", "a", "task"), "waits for tasks that have ended"),
        (Party(1, "task", "a", "future", "Future `f`"), "waits for Future `f` to be given a result"),
        (Party(1, "task", "a", "timer", note="2 s"), "sleeps (2 s)"),
        (Party(1, "task", "a", "io", within=2.5), "waits for a socket or a pipe, for at most 2.5 s more"),
        (Party(1, "task", "a", "worker"), "waits for the result of a job"),
        (Party(1, "task", "a", "turn"), "waits for its event loop"),
        (Party(1, "task", "a", "held"), "is held at the door until the verdict on its calls is settled"),
        (Party(1, "thread", "a", "join"), "waits for a thread to end"),
        (Party(1, "thread", "a", "process"), "waits for a child process to end"),
        (Party(1, "thread", "a", "call", note="sock.recv(1)"), "is in sock.recv(1)"),
        (Party(1, "thread", "a", "call"), "is in a call that has not returned"),
        (Party(1, "process", "a", "silent"), "does not say where it stands"),
        (Party(1, "thread", "a", "loop", place=at(1)), "runs an event loop"),
        (Party(1, "thread", "a"), "could go on"),
        (
            Party(1, "thread", "a", "result", note="not begun: the one thread of its pool is busy"),
            "waits for the result of a job: not begun: the one thread of its pool is busy",
        ),
    ],
)
def test_every_wait_has_its_words(party: Party, words: str) -> None:
    assert f"  {words}" in autopsy_message(Hang((party,), root=1), Page(width=120)).split("\n")


def test_what_only_the_source_tells_is_said_to_be_so() -> None:
    holds = (Hold("Lock `x`", at(4), sure=False), Hold("Lock `y`"))
    text = autopsy_message(Hang((Party(1, "task", "a", "event", "Event `e`", holds=holds),), root=1), PAGE)

    assert "  holds Lock `x`, taken at shop.py:4 (there is no release() since)\n  holds Lock `y`" in text


def test_a_deadlock_that_only_the_source_tells_is_said_to_be_so() -> None:
    holds = (Hold("Lock `x`", at(4), sure=False),)
    text = autopsy_message(Hang((Party(1, "task", "a", "lock", "Lock `x`", (1,), holds=holds),), root=1), PAGE)

    assert text.startswith("deadlock, as the source reads: a waits for Lock `x`, which it holds itself\n")


def test_many_groups_are_cut_short() -> None:
    hang = Hang(tuple(Party(n, "task", f"t{n}", "event", f"Event `e{n}`") for n in range(1, 31)), root=1)

    assert autopsy_message(hang, PAGE).endswith("task t20\n  waits for Event `e20` to be set\nand 10 more")


def test_a_program_that_computes_has_nothing_to_be_explained() -> None:
    computing = Party(1, "thread", "MainThread", "", place=at(3))
    idle = Party(2, "thread", "pool_0", "idle", bystander=True)

    assert not is_telling(Hang((computing, idle), 1))
    assert not is_telling(Hang((Party(1, "thread", "MainThread", "timer", place=at(3)),), 1))
    assert is_telling(Hang((Party(1, "thread", "MainThread", "event", place=at(3)),), 1))
    waiting = Hang((Party(1, "thread", "MainThread", "event", place=at(3)),), 1)
    assert autopsy_message(waiting, PAGE, proven=True).startswith(
        "nobody can go on any more: MainThread waits for something to be set\n"
    )
    assert autopsy_message(Hang((computing,), 1), PAGE).startswith("no deadlock: somebody could still go on\n")
