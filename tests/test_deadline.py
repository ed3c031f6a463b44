from __future__ import annotations

import pytest

from pytest_concurrency._judge.deadline import judge


@pytest.mark.parametrize("elapsed", [0.0, 1.999, 2.0], ids=str)
def test_in_time_there_is_nothing_to_say(elapsed: float) -> None:
    assert judge(elapsed, 2.0, virtual=True) is None
    assert judge(elapsed, 2.0, virtual=False) is None


def test_the_message_on_the_virtual_clock() -> None:
    assert judge(3.0, 2.0, virtual=True) == (
        "took 3 s of virtual time, expected at most 2 s\n"
        "\n"
        "Only waiting counts on the virtual clock, so this is the same on every machine: some waits come one after the "
        "other, or one is too long. Let them overlap: asyncio.gather(), a TaskGroup or a trio nursery."
    )


def test_the_message_in_real_time() -> None:
    assert judge(0.31234, 0.25, virtual=False) == (
        "took 0.312 s, expected at most 0.25 s\n"
        "\n"
        "This is real time, with the load of the machine in it. To measure the test's waiting alone, and exactly, mark "
        "it with virtual_clock as well."
    )


def test_long_durations_are_written_out() -> None:
    message = judge(86400.0, 1000.0, virtual=True)

    assert message is not None
    assert message.startswith("took 86400 s of virtual time, expected at most 1000 s\n")


def test_two_durations_that_differ_little_look_different() -> None:
    message = judge(2.00001, 2.0, virtual=False)

    assert message is not None
    assert message.startswith("took 2.00001 s, expected at most 2 s\n")
