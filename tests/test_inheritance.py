"""What a child did not inherit: which globals code reads, how they look from elsewhere, and what is said of it."""

from __future__ import annotations

import contextvars
import enum
import functools
import multiprocessing
import os
import pickle
import threading
import types
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_concurrency._inheritance import judge
from pytest_concurrency._inheritance.facts import Descriptor, Facts, Reading, Refused
from pytest_concurrency._inheritance.judge import findings
from pytest_concurrency._inheritance.reads import MISSING, readings, resolve, shown
from pytest_concurrency._inheritance.record import Handovers, find_refused

# What the functions below read

RATE = 2
LIMITS = {"most": 3}
UNUSED = 1
settings = types.ModuleType("settings")
settings.debug = True  # type: ignore[attr-defined]


class Config:
    level = 1

    def __init__(self) -> None:
        self.name = "shop"

    def read(self) -> int:
        return RATE


config = Config()


def helper() -> int:
    return LIMITS["most"]


def work(number: int = 0) -> Any:
    def inner() -> int:
        return RATE

    return number + inner() + helper() + len([settings.debug, Config.level, config.name])  # type: ignore[attr-defined]


def asks_a_config() -> int:
    return Config().read()


def reads_the_environment() -> str | None:
    return os.getenv("RATE") or os.environ.get("RATE")


@functools.lru_cache
def remembers() -> int:
    return RATE


def decorated() -> Any:
    @functools.wraps(helper)
    def wrapper() -> Any:
        return function()

    function = helper
    return wrapper


class Worker:
    def run(self) -> int:
        return helper()

    def __call__(self) -> int:
        return RATE


def names(given: object) -> set[str]:
    return {".".join(reading.path) for reading in readings(given)}


def test_what_code_reads_is_found_with_what_it_calls() -> None:
    assert names(work) == {"RATE", "helper", "LIMITS", "settings.debug", "Config.level", "config.name"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (functools.partial(work, 1), names(work)),
        (functools.partial(map, helper), {"LIMITS"}),
        (Worker().run, {"helper", "LIMITS"}),
        (Worker(), {"RATE"}),
        (Worker, {"helper", "LIMITS", "RATE"}),
        (asks_a_config, {"RATE"}),
        (remembers, {"RATE"}),
        (decorated(), {"LIMITS"}),
        (len, set()),
        (None, set()),
        (os.path.join, set()),
    ],
    ids=[
        "partial",
        "partial of another's",
        "method",
        "callable",
        "class",
        "through a class",
        "cached",
        "decorated",
        "builtin",
        "None",
        "stdlib",
    ],
)
def test_whatever_is_called_is_looked_into(given: object, expected: set[str]) -> None:
    assert names(given) == expected


def test_the_environment_is_one_global_however_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "secret")

    (reading,) = readings(reads_the_environment)

    assert reading.name == "os.environ"
    assert reading.here["['PASSWORD']"].startswith("set#")
    assert "secret" not in str(reading.here)
    assert "['PYTEST_CURRENT_TEST']" not in reading.here


def test_a_global_of_another_module_is_named_by_that() -> None:
    judge_module = types.ModuleType("elsewhere")
    judge_module.here = judge  # type: ignore[attr-defined]
    names = {"elsewhere": judge_module}
    reads = types.FunctionType((lambda: elsewhere.here._MOST).__code__, names)  # type: ignore[name-defined]  # noqa: F821

    (reading,) = readings(reads)

    # `elsewhere` cannot be imported by its name.
    assert (reading.name, reading.here) == (f"{judge.__name__}._MOST", {"": "5"})


def test_a_path_ends_where_code_would_have_to_run() -> None:
    class Lazy:
        @property
        def value(self) -> int:
            raise AssertionError("nobody asked")

    lazy = Lazy()

    assert resolve({"lazy": lazy}, ("lazy", "value")) == (lazy, ("lazy",))
    assert resolve({"Lazy": Lazy}, ("Lazy", "value")) == (Lazy, ("Lazy",))
    assert resolve({}, ("lazy",)) == (MISSING, ("lazy",))


class Colour(enum.Enum):
    RED = 1


@dataclass(slots=True)
class Point:
    x: int


VARIABLE: contextvars.ContextVar[int] = contextvars.ContextVar("variable")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, {"": "1"}),
        (True, {"": "True"}),
        ("é", {"": "'é'"}),
        ([1, "b"], {"": "list of 2", "[0]": "1", "[1]": "'b'"}),
        ({"a": {2}}, {"": "dict of 1", "['a']": "set of 1", "['a'] has 2": "True"}),
        (Colour.RED, {"": "Colour.RED"}),
        (Point(1), {"": "test_inheritance.Point", ".x": "1"}),
        (types.SimpleNamespace(a=1), {"": "types.SimpleNamespace", ".a": "1"}),
        (object(), {"": "object"}),
        (threading.Lock(), {"": "a lock that is free"}),
        (threading.RLock(), {"": "a lock that is free"}),
        (multiprocessing.Lock(), {"": f"the Lock of process {os.getpid()}"}),
        (VARIABLE, {"": "_contextvars.ContextVar"}),
        (contextvars.ContextVar("other", default=1), {"": "_contextvars.ContextVar", ".get()": "1"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_part_by_part(value: object, expected: dict[str, str]) -> None:
    said = {path: text.replace(f"{__name__}.", "test_inheritance.") for path, text in shown(value).items()}

    assert said == expected


def test_a_held_lock_is_told_from_a_free_one() -> None:
    for lock in (threading.Lock(), threading.RLock()):
        with lock:
            assert shown(lock) == {"": "a lock that is held"}


def test_a_function_is_known_by_where_it_stands() -> None:
    assert shown(helper) == {"": f"the function helper of test_inheritance.py:{helper.__code__.co_firstlineno}"}


def test_long_texts_differ_where_their_ends_do() -> None:
    one, other = shown("a" * 99 + "b")[""], shown("a" * 99 + "c")[""]

    assert one != other
    assert len(one) < 72


def test_a_value_that_holds_itself_comes_to_an_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    wide = {str(number): list(range(100)) for number in range(100)}

    assert len(shown(loop)) == 5
    assert len(shown(wide)) == 200


def test_the_innermost_part_that_cannot_be_sent_is_found() -> None:
    class Local:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    refused = find_refused("args[0]", {"a": [Config(), {"lock": threading.Lock()}]})

    assert refused == Refused("args[0]['a'][1]['lock']", "_thread.lock", "cannot pickle '_thread.lock' object")
    assert find_refused("target", helper) is None
    assert find_refused("args[0]", multiprocessing.Lock()) is None
    local = find_refused("target", functools.partial(lambda: None))
    assert local is not None
    assert local.what == "target.func"
    assert find_refused("args[1]", Local().lock) is not None


def test_nothing_that_is_handed_over_fails_because_it_was_looked_at() -> None:
    class Strange:
        __code__ = property(lambda self: 1 / 0)

    handovers = Handovers("spawn")
    handovers._safely(handovers._note, Strange())

    assert handovers.facts() == Facts("spawn")


def spawned(*readings: Reading, **more: Any) -> Facts:
    return Facts("spawn", readings, **more)


def reading(path: str, here: dict[str, str], there: dict[str, str] | None) -> Reading:
    return Reading("app.total", "app", (path,), here, there)


REMEDY = judge._REMEDY


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (reading("RATE", {"": "2"}, {"": "1"}), "app.RATE, which app.total reads, is 2 here and 1 in a new child."),
        (
            reading("POOL", {"": "app.Pool"}, {}),
            "app.POOL, which app.total reads, is not there in a new child: it was set at run time.",
        ),
        (
            reading("LOOP", {"": "asyncio.unix_events._UnixSelectorEventLoop"}, {"": "None"}),
            "app.LOOP, which app.total reads, is asyncio.unix_events._UnixSelectorEventLoop here and None in a new"
            " child.",
        ),
        (
            reading("LOCK", {"": "the Lock of process 1"}, {"": "the Lock of process 2"}),
            "app.LOCK, which app.total reads, is another Lock in each child: they do not share it.",
        ),
        (
            reading("C", {"": "dict of 2", "['a']": "1", "['b']": "1"}, {"": "dict of 0"}),
            "app.C, which app.total reads, differs: app.C['a'] is 1 here and not there in a new child (and 1 more).",
        ),
        (
            reading("LONG", {"": "'aa...#00000000"}, {"": "'aa...#11111111"}),
            "app.LONG, which app.total reads, differs between here and a new child.",
        ),
        (
            Reading("app.total", "os", ("environ",), {"": "os.environ", "['X']": "set#00000000"}, {"": "os.environ"}),
            "os.environ, which app.total reads, differs: os.environ['X'] is set here and not there in a new child.",
        ),
    ],
    ids=["value", "missing", "type", "shared", "part", "long", "environment"],
)
def test_a_global_that_differs_is_named_with_both_values(given: Reading, expected: str) -> None:
    assert findings(spawned(given), "", "") == [expected, REMEDY]


def test_globals_that_are_alike_or_unknown_say_nothing() -> None:
    alike, unknown = reading("A", {"": "1"}, {"": "1"}), reading("B", {"": "1"}, None)

    assert findings(spawned(alike, unknown), "", "") == []


def test_of_many_globals_the_telling_ones_come_first() -> None:
    lock = reading("LOCK", {"": "the Lock of process 1"}, {"": "the Lock of process 2"})
    many = [reading(f"G{number}", {"": "2"}, {"": "1"}) for number in range(6)]

    said = findings(spawned(lock, *many), "", "")

    assert said[0] == "app.G0, which app.total reads, is 2 here and 1 in a new child."
    assert said[5:] == ["So are 2 more: app.G5, app.LOCK.", REMEDY]


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (
            Refused("target", "function", "Can't pickle local object 'test_it.<locals>.f'"),
            "The process's target could not be sent to the child (function: Can't pickle local object"
            " 'test_it.<locals>.f'). Only a fork takes everything along: give it a function that stands at the top of a"
            " module.",
        ),
        (
            Refused("args[0].lock", "_thread.lock", "cannot pickle '_thread.lock' object"),
            "The process's args[0].lock could not be sent to the child (_thread.lock: cannot pickle '_thread.lock'"
            " object). Only a fork takes everything along: send plain data, and make the rest in the child.",
        ),
    ],
)
def test_what_could_not_be_sent_is_named(refused: Refused, expected: str) -> None:
    assert findings(spawned(refused=(refused,)), "", "") == [expected]


def test_a_pools_refusal_is_read_from_its_error() -> None:
    errors = []
    for given in (lambda: None, threading.Lock()):
        with pytest.raises((pickle.PicklingError, AttributeError, TypeError)) as caught:
            pickle.dumps(given)
        errors.append(f"{type(caught.value).__name__}: {caught.value}\n")

    for error in errors:
        (said,) = findings(spawned(), error, "")
        assert said.startswith("Something could not be sent to the child: ")


CHILD = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
  File "/lib/python3.13/multiprocessing/spawn.py", line 122, in spawn_main
    exitcode = _main(fd, parent_sentinel)
{}
"""
USERS = """Process Process-1:
Traceback (most recent call last):
  File "/project/app.py", line 1, in total
{}
"""


MADE_LATER = (
    "The child found no made in app, which it imports anew: it was put there at run time, or only where that module is"
    " run as a program. Define it at the top of the module."
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            "AttributeError: Can't get attribute 'made' on <module 'app' from '/project/app.py'>",
            MADE_LATER,
        ),
        ("AttributeError: module 'app' has no attribute 'made'", MADE_LATER),
        (
            "ModuleNotFoundError: No module named 'test_it'",
            "The child could not import test_it: it is not to be found on sys.path, which is all that a child knows of"
            " it. Put what children run into a module that can be imported by its name.",
        ),
    ],
)
def test_a_child_that_could_not_begin_says_why(error: str, expected: str) -> None:
    assert findings(spawned(), "", CHILD.format(error)) == [expected]
    assert findings(spawned(), "", USERS.format(error)) == []
    assert findings(Facts("fork"), "", CHILD.format(error)) == []


def test_an_attribute_that_the_program_itself_misses_is_its_own_affair() -> None:
    error = "AttributeError: module 'app' has no attribute 'made'"
    users = f'  File "/project/app.py", line 1, in <module>\n{error}'

    assert findings(spawned(), "", CHILD.format(users)) == []


def test_a_module_that_starts_a_process_when_imported_is_told_of() -> None:
    text = "RuntimeError: \n   An attempt has been made to start a new process before the\n   current process has"
    (said,) = findings(spawned(), "", f"{text} finished its bootstrapping phase.\n")

    assert said == (
        "The module that the child imports starts a process when it is imported. Do that in a function, or under"
        " if __name__ == '__main__'."
    )


def test_a_descriptor_is_named_only_where_it_is_known_to_be_closed() -> None:
    for is_open, expected in (
        (True, []),
        (None, []),
        (
            False,
            [
                "File descriptor 7 (a pipe), which the child was given as a number, is not open there."
                " Send the Connection or the socket itself, or a path."
            ],
        ),
    ):
        facts = spawned(descriptors=(Descriptor(7, "a pipe", (1, 2), is_open),))
        assert findings(facts, "", "") == expected


def test_a_fork_is_told_of_held_locks_and_other_threads() -> None:
    held = reading("LOCK", {"": "a lock that is held"}, None)
    free = reading("FREE", {"": "a lock that is free"}, None)

    assert findings(Facts("fork", (held, free), threads=("feeder",)), "", "") == [
        "app.LOCK, which app.total reads, was held at the fork. The child has a copy that stays held: whoever would"
        " release it is not there. Fork while it is free, or make it in the child.",
        "1 other thread was alive at the fork (feeder). A forked child has only the thread that forked, and a copy of"
        " whatever the others were holding.",
    ]
    many = findings(Facts("fork", threads=("a", "b", "c", "d")), "", "")
    assert many[0].startswith("4 other threads were alive at the fork (a, b, c, ...). ")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ({"fork": "passed", "spawn": "failed"}, "passed under fork, failed under spawn"),
        (
            {"fork": "passed", "spawn": "failed", "forkserver": "failed"},
            "passed under fork, failed under spawn and forkserver",
        ),
        ({"fork": "failed", "spawn": "failed"}, None),
        ({"fork": "passed"}, None),
        ({}, None),
    ],
)
def test_only_a_disagreement_is_worth_a_line(outcomes: dict[str, str], expected: str | None) -> None:
    assert judge.outcome_line(outcomes) == expected
