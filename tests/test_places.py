"""Whose line is it?"""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import pytest_concurrency
from pytest_concurrency._places import callers, outward, owner, place_of

# Whoever else has a folder beside ours, in a checkout or where it is installed.
NEIGHBOURS = "installed" if "site-packages" in pytest_concurrency.__file__ else "user"


@pytest.mark.parametrize(
    ("file", "whose"),
    [
        pytest.param(__file__, "user", id="a test"),
        pytest.param(json.__file__, "stdlib", id="the standard library"),
        pytest.param(pytest.__file__, "installed", id="an installed library"),
        pytest.param(pytest_concurrency.__file__, "own", id="this plugin"),
        pytest.param(str(Path(pytest_concurrency.__file__).parent / "_record" / "door.py"), "own", id="deep in it"),
        pytest.param("/usr/lib/python3/dist-packages/attr/__init__.py", "installed", id="a distribution's library"),
        pytest.param("<frozen importlib._bootstrap>", "frozen", id="the interpreter"),
        pytest.param("<attrs generated init shop.Cart>", "frozen", id="generated"),
        pytest.param("<string>", "user", id="exec"),
        pytest.param("<doctest shop[0]>", "user", id="a doctest"),
        pytest.param(str(Path(sysconfig.get_path("stdlib")) / "asyncio" / "tasks.py"), "stdlib", id="asyncio"),
        pytest.param(
            str(Path(pytest_concurrency.__file__).parent) + "_shop/cart.py", NEIGHBOURS, id="a name like ours"
        ),
    ],
)
def test_the_owner_of_a_file(file: str, whose: str) -> None:
    assert owner(file) == whose


def frame() -> Any:
    return sys._getframe(1)


def test_a_place_is_the_line_that_runs() -> None:
    place, line = place_of(frame()), frame().f_lineno

    assert (place.file, place.line, place.function) == (__file__, line, "test_a_place_is_the_line_that_runs")


def test_outward_leads_from_a_frame_to_its_callers() -> None:
    def inner() -> list[str]:
        return [each.f_code.co_name for each in outward(frame())]

    assert inner()[:2] == ["inner", "test_outward_leads_from_a_frame_to_its_callers"]


def test_callers_are_the_users_own_lines_innermost_first() -> None:
    found: list[tuple[str, ...]] = []

    class Encoder(json.JSONEncoder):
        def default(self, value: object) -> object:
            found.append(tuple(place.function.rpartition(".")[2] for place in callers(frame())))
            return 1

    json.dumps([object()], cls=Encoder)

    assert found[0][:2] == ("default", "test_callers_are_the_users_own_lines_innermost_first")


def test_no_more_callers_than_asked() -> None:
    def deeper(depth: int) -> Any:
        return deeper(depth - 1) if depth else callers(frame(), 3)

    assert len(deeper(10)) == 3


def test_nobody_calls_nothing() -> None:
    assert callers(None) == ()
