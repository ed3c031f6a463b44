"""Who may block: rules as a user writes them, the `with` block, and the arguments of the markers."""

from __future__ import annotations

import asyncio
import sys

import pytest

from pytest_concurrency import allow_blocking
from pytest_concurrency._blocking.policy import allowed_here, parse_rule


def frame_of_a_test():
    return sys._getframe()


HERE = __name__


@pytest.mark.parametrize(
    ("rule", "lets_off"),
    [
        (HERE, True),
        (HERE.rpartition(".")[0] or HERE, True),
        (f"{HERE}:frame_of_a_test", True),
        (f"{HERE}:frame_*", True),
        (f"{HERE}:another", False),
        ("somebody.else", False),
        (f"{HERE[:-1]}", False),
        ("*/test_rules.py", True),
        ("test_rules.py", True),
        ("./test_rules.py", True),
        ("other/*.py", False),
        ("time.sleep@test_rules.py", True),
        ("time.*@test_rules.py", True),
        ("os.system@test_rules.py", False),
        (f"time.sleep@{HERE}:frame_of_a_test", True),
    ],
)
def test_a_rule_lets_off_what_it_names(rule: str, lets_off: bool) -> None:
    frame = frame_of_a_test()
    root = frame.f_code.co_filename.rpartition("/")[0]

    assert parse_rule(rule).matches(("time.sleep",), [frame], root) is lets_off


@pytest.mark.parametrize(
    "text", ["", "  ", "a b", "1abc", "shop.", "@x", "time sleep@shop", "shop:", "src/a.py:f", "a@"]
)
def test_a_malformed_rule_is_refused_with_the_forms_that_are_accepted(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected package\.module, package\.module:function, a path") as caught:
        parse_rule(text)

    assert repr(text) in str(caught.value)


def test_inside_the_block_blocking_is_allowed_and_after_it_no_more() -> None:
    assert allowed_here() is None
    with allow_blocking("outer"):
        with allow_blocking("inner"):
            assert allowed_here() == "inner"
        assert allowed_here() == "outer"
    assert allowed_here() is None


@pytest.mark.parametrize("reason", ["", "  ", None])
def test_allowing_takes_a_reason(reason: str) -> None:
    with pytest.raises(ValueError, match="needs a reason"), allow_blocking(reason):
        pass


def test_a_task_started_inside_is_allowed_only_as_long_as_the_block_lasts() -> None:
    seen = []

    async def child(go: asyncio.Event) -> None:
        seen.append(allowed_here())
        await go.wait()
        seen.append(allowed_here())

    async def main() -> None:
        go = asyncio.Event()
        with allow_blocking("while it starts"):
            task = asyncio.create_task(child(go))
            await asyncio.sleep(0)
        go.set()
        await task

    asyncio.run(main())

    assert seen == ["while it starts", None]


def test_another_task_is_not_allowed_meanwhile() -> None:
    seen = []

    async def other(inside: asyncio.Event, done: asyncio.Event) -> None:
        await inside.wait()
        seen.append(allowed_here())
        done.set()

    async def main() -> None:
        inside, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(other(inside, done))
        with allow_blocking("mine"):
            inside.set()
            await done.wait()
        await task

    asyncio.run(main())

    assert seen == [None]
