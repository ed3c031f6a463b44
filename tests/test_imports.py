"""Acting on an import, without importing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._imports import when_imported

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "imported_by_a_test"


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that has not been imported yet."""
    (tmp_path / f"{NAME}.py").write_text("value = 7\nloader = __loader__\n")
    (tmp_path / "broken_by_a_test.py").write_text("raise LookupError('on import')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(NAME, None)


def test_a_module_that_is_there_is_told_of_at_once() -> None:
    calls: list[int] = []

    with when_imported("sys", lambda: calls.append(1)):
        assert calls == [1]


def test_a_module_that_comes_is_told_of_when_it_has_been_executed() -> None:
    seen: list[int] = []

    with when_imported(NAME, lambda: seen.append(sys.modules[NAME].value)):
        assert seen == []
        assert NAME not in sys.modules
        importlib.import_module(NAME)
        assert seen == [7]
        importlib.reload(sys.modules[NAME])
    assert seen == [7]


def test_nothing_is_left_in_the_import_system() -> None:
    before = list(sys.meta_path)

    with when_imported(NAME, lambda: None):
        assert sys.meta_path != before
    assert sys.meta_path == before
    with when_imported(NAME, lambda: None):
        importlib.import_module(NAME)
        assert sys.meta_path == before
    assert sys.meta_path == before


def test_nothing_is_left_in_the_import_system_after_an_error() -> None:
    before = list(sys.meta_path)

    with pytest.raises(LookupError), when_imported(NAME, lambda: None):
        raise LookupError
    assert sys.meta_path == before


def test_nobody_is_told_after_the_end() -> None:
    calls: list[int] = []

    with when_imported(NAME, lambda: calls.append(1)):
        pass
    importlib.import_module(NAME)
    assert calls == []


def test_the_module_has_its_own_loader() -> None:
    with when_imported(NAME, lambda: None):
        module = importlib.import_module(NAME)
    plain = importlib.util.find_spec(NAME)

    assert plain is not None
    assert type(module.__loader__) is type(plain.loader)
    assert module.loader is module.__loader__
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__


def test_a_module_that_is_not_installed_stays_so() -> None:
    with when_imported("no_such_module_at_all", lambda: None), pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_at_all")


def test_asking_whether_a_module_is_installed_does_not_tell_of_it() -> None:
    calls: list[int] = []

    with when_imported(NAME, lambda: calls.append(1)):
        assert importlib.util.find_spec(NAME) is not None
        assert calls == []
        importlib.import_module(NAME)
    assert calls == [1]


def test_a_module_that_fails_to_import_is_not_told_of() -> None:
    calls: list[int] = []
    before = list(sys.meta_path)

    with when_imported("broken_by_a_test", lambda: calls.append(1)), pytest.raises(LookupError, match="on import"):
        importlib.import_module("broken_by_a_test")
    assert calls == []
    assert sys.meta_path == before


def test_two_may_wait_for_one_module() -> None:
    calls: list[str] = []

    with when_imported(NAME, lambda: calls.append("outer")), when_imported(NAME, lambda: calls.append("inner")):
        importlib.import_module(NAME)
    assert sorted(calls) == ["inner", "outer"]


def test_many_may_wait_for_one_that_is_not_installed() -> None:
    """Each search for it is one search: ten that asked one another would make millions."""
    asked: list[str] = []

    class Counting:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            asked.append(name)

    sys.meta_path.append(Counting)  # type: ignore[arg-type]  # it has what is asked of a finder
    try:
        with ExitStack() as waiting:
            for _ in range(10):
                waiting.enter_context(when_imported("no_such_module_anywhere", lambda: None))
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module("no_such_module_anywhere")
    finally:
        sys.meta_path.remove(Counting)  # type: ignore[arg-type]

    assert asked == ["no_such_module_anywhere"] * 2
