"""An attribute put in place is taken out again."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_concurrency._patching import patched


class Base:
    def greet(self) -> str:
        return "hello"


class Child(Base):
    pass


def loudly(original: Any) -> Any:
    return lambda self: original(self) + "!"


def test_the_replacement_has_the_original_inside() -> None:
    with patched(Base, "greet", loudly):
        assert Base().greet() == "hello!"
    assert Base().greet() == "hello"


def test_the_very_same_object_is_back() -> None:
    original = vars(Base)["greet"]

    with patched(Base, "greet", loudly):
        pass
    assert vars(Base)["greet"] is original


def test_an_inherited_attribute_goes_back_to_being_inherited() -> None:
    with patched(Child, "greet", loudly):
        assert (Child().greet(), Base().greet()) == ("hello!", "hello")
    assert "greet" not in vars(Child)


def test_it_is_undone_after_an_error() -> None:
    with pytest.raises(LookupError), patched(Base, "greet", loudly):
        raise LookupError
    assert Base().greet() == "hello"


def test_an_attribute_that_is_not_there_is_left_so() -> None:
    with patched(Base, "shout", loudly):
        assert not hasattr(Base, "shout")


def test_somebody_elses_later_patch_stays() -> None:
    theirs = lambda self: "theirs"  # noqa: E731 - an attribute, not a name
    original = vars(Base)["greet"]

    with patched(Base, "greet", loudly):
        Base.greet = theirs  # type: ignore[method-assign]
    try:
        assert Base().greet() == "theirs"
    finally:
        Base.greet = original  # type: ignore[method-assign]
