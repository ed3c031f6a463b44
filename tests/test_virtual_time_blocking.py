"""Blocking calls on the virtual clock: still found, and their seconds told apart from those of the clock."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_concurrency._judge.blocking import Finding
from pytest_concurrency._show.blocks import failure_text
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Block, Place

PLACE = Place("/app/work.py", 7, "work")


@pytest.mark.parametrize(
    ("virtual", "expected"),
    [
        ((3.0, False), "These are real seconds, and none of the 3 s that this test's virtual clock\nshows."),
        (
            (13.5, True),
            "These are real seconds, and none of the 13.5 s that this test's virtual clock\n"
            "shows. But time.sleep follows that clock in this test: its seconds are virtual.",
        ),
    ],
    ids=["real", "patched"],
)
def test_the_message_tells_real_seconds_from_virtual_ones(virtual: tuple[float, bool], expected: str) -> None:
    block = Block("sleep", "time.sleep", PLACE, 0.05, "asyncio")

    text = failure_text([Finding("sleep", "time.sleep", PLACE, "asyncio", (block,))], Page("/app"), virtual)

    assert text.split("\n\n")[-2] == expected


def test_a_blocking_call_on_the_virtual_clock_is_found(inner: Any, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import asyncio, time
        from time import sleep
        import pytest

        async def main():
            sleep(0.02)
            await asyncio.sleep(3)

        @pytest.mark.virtual_clock
        def test_real(virtual_clock):
            asyncio.run(main())
            assert virtual_clock.elapsed == 3

        @pytest.mark.virtual_clock(patch_time=True)
        def test_patched(virtual_clock):
            asyncio.run(main())
            assert virtual_clock.elapsed == 3.02

        @pytest.mark.virtual_clock(patch_time=True)
        def test_outside_a_loop():
            time.sleep(100)
        """
    )

    result = inner("--blocking=fail")

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*_ test_real _*",
            "time.sleep blocked the event loop for * at test_it.py:6",
            "These are real seconds, and none of the 3 s that this test's virtual clock",
            "*_ test_patched _*",
            "time.sleep blocked the event loop for 20 ms at test_it.py:6",
        ]
    )
