"""What a target names, and what is said where it names nothing."""

from __future__ import annotations

import functools
import json
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._record.targets import TargetError, name_of, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType, ModuleType

SHOP = """
import functools
import time
from math import sqrt

async def fetch(number):
    return number

def plain(): ...

async def stream():
    yield 1

def make_closure():
    async def closure(): ...
    return closure

closure = make_closure()
fetch_one = functools.partial(fetch, 1)
fetch_one_again = functools.partial(fetch_one)
sleep = time.sleep
lowered = lambda: None
number = 7

class Client:
    async def fetch(self): ...

    @classmethod
    async def make(cls): ...

    @staticmethod
    async def check(): ...

    fetch_two = functools.partialmethod(fetch, 2)

    @property
    def name(self):
        raise AssertionError("a property must not run")

    class Inner:
        def deep(self): ...

class Child(Client): ...

client = Client()

def __getattr__(name):
    if name == "on_demand":
        return fetch
    raise AttributeError(name)
"""


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package `target_shop` with a module `client`, and two modules that cannot be imported."""
    folder = tmp_path_factory.mktemp("shop")
    package = folder / "target_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "client.py").write_text(SHOP)
    (package / "broken.py").write_text("import target_shop_missing_dependency\n")
    (package / "old.py").write_text("from target_shop.client import no_such_name\n")
    monkeypatch.syspath_prepend(folder)
    import importlib

    yield importlib.import_module("target_shop.client")
    for name in [name for name in sys.modules if name.partition(".")[0] == "target_shop"]:
        del sys.modules[name]


def function(path: str) -> FunctionType:
    found = resolve(f"target_shop.client:{path}").function
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["target_shop.client.fetch", "target_shop.client:fetch"])
def test_a_function_is_named_with_dots_or_a_colon(name: str, shop: ModuleType) -> None:
    resolved = resolve(name)

    assert (resolved.name, resolved.function) == (name, shop.fetch)


@pytest.mark.parametrize(
    ("path", "qualname"),
    [
        ("plain", "plain"),
        ("stream", "stream"),
        ("closure", "make_closure.<locals>.closure"),
        ("lowered", "<lambda>"),
        ("fetch_one", "fetch"),
        ("fetch_one_again", "fetch"),
        ("Client.fetch", "Client.fetch"),
        ("Client.make", "Client.make"),
        ("Client.check", "Client.check"),
        ("Client.fetch_two", "Client.fetch"),
        ("Client.Inner.deep", "Client.Inner.deep"),
        ("Child.fetch", "Client.fetch"),
        ("client.fetch", "Client.fetch"),
        ("on_demand", "fetch"),
    ],
)
@pytest.mark.usefixtures("shop")
def test_every_kind_of_function_leads_to_its_code(path: str, qualname: str) -> None:
    assert function(path).__qualname__ == qualname


def test_a_function_may_be_given_itself(shop: ModuleType) -> None:
    for target in (shop.fetch, shop.fetch_one, functools.partial(shop.fetch)):
        resolved = resolve(target)

        assert (resolved.name, resolved.function) == ("target_shop.client:fetch", shop.fetch)


def test_a_bound_method_may_be_given_itself(shop: ModuleType) -> None:
    for target in (shop.client.fetch, shop.Client.fetch, shop.Client.__dict__["make"], shop.Client.make):
        assert resolve(target).function is not None
    assert resolve(shop.client.fetch).name == "target_shop.client:Client.fetch"


def test_a_function_written_in_c_is_hung_on_the_name_that_it_is_called_by(shop: ModuleType) -> None:
    resolved = resolve("target_shop.client.sqrt")

    assert (resolved.function, resolved.owner, resolved.attribute) == (None, shop, "sqrt")


def test_a_function_written_in_c_that_is_given_itself_is_hung_on_its_own_module() -> None:
    import math

    resolved = resolve(math.sqrt)

    assert (resolved.name, resolved.owner, resolved.attribute) == ("math:sqrt", math, "sqrt")


def test_a_module_may_be_imported_by_naming_it() -> None:
    assert resolve("json.dumps").function is json.dumps


def test_a_name_is_known_without_being_resolved(shop: ModuleType) -> None:
    assert name_of("no.such:thing") == "no.such:thing"
    assert name_of(shop.fetch) == "target_shop.client:fetch"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("", "'' is not a target: expected a name such as 'package.module:Class.method'"),
        ("target_shop..fetch", "'target_shop..fetch' is not a target: expected a name such as"),
        (":fetch", "':fetch' is not a target: expected a name such as"),
        ("target_shop:", "'target_shop:' is not a target: expected a name such as"),
        (7, "7 is not a target: expected a function, or a name such as 'package.module:Class.method'"),
        (None, "None is not a target: expected a function, or a name such as"),
        (
            "target_shop.client.fetsh",
            "target 'target_shop.client.fetsh': target_shop.client has no 'fetsh'; did you mean 'fetch'?",
        ),
        ("target_shop.client:zzz", "target 'target_shop.client:zzz': target_shop.client has no 'zzz'"),
        (
            "target_shop.client:Client.fetchh",
            "target 'target_shop.client:Client.fetchh': target_shop.client.Client has no 'fetchh'; did you mean",
        ),
        ("target_shop.client", "target 'target_shop.client' is a module: expected a function in it"),
        (
            "target_shop.client:number",
            "target 'target_shop.client:number' is not callable: it is 7",
        ),
        (
            "target_shop.client:Client",
            "target 'target_shop.client:Client' is a class: name one of its methods, such as"
            " target_shop.client:Client.__init__",
        ),
        (
            "target_shop.client:Client.name",
            "target 'target_shop.client:Client.name' is a property, not something that is called",
        ),
        (
            "target_shup.client.fetch",
            "target 'target_shup.client.fetch' cannot be imported: there is no module 'target_shup'",
        ),
        (
            "target_shup:fetch",
            "target 'target_shup:fetch' cannot be imported: No module named 'target_shup'",
        ),
        (
            "target_shop.broken.fetch",
            "target 'target_shop.broken.fetch' cannot be imported: No module named 'target_shop_missing_dependency'",
        ),
        (
            "target_shop.old.fetch",
            "target 'target_shop.old.fetch' cannot be imported: cannot import name 'no_such_name'",
        ),
        (
            "target_shop.cliant.fetch",
            "target 'target_shop.cliant.fetch': target_shop has no 'cliant'; did you mean 'client'?",
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_what_is_no_target_is_said(target: object, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        resolve(target)

    assert str(caught.value).startswith(text)


def test_a_method_written_in_c_that_is_given_itself_cannot_be_watched() -> None:
    with pytest.raises(TargetError) as caught:
        resolve([].append)

    assert str(caught.value).endswith(
        "is written in C and cannot be watched here: name it by the module that your code takes it from, or watch a"
        " Python function that calls it"
    )
