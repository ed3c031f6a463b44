"""`time.sleep` where it is replaced: nobody who does not block a loop can tell."""

from __future__ import annotations

import copy
import functools
import pickle
import time

import pytest

from pytest_concurrency._blocking.early import LISTENERS, SLEEP_HAS_AN_EVENT, BuiltinSeam, sleep_announced

SLEEP = BuiltinSeam(time.gmtime, "a test's own")


def test_it_looks_like_the_original() -> None:
    assert time.gmtime == SLEEP
    assert time.gmtime == SLEEP
    assert hash(SLEEP) == hash(time.gmtime)
    assert repr(SLEEP) == repr(time.gmtime)
    assert (SLEEP.__name__, SLEEP.__module__) == ("gmtime", "time")
    assert SLEEP.__doc__ == time.gmtime.__doc__
    assert copy.copy(SLEEP) is copy.deepcopy(SLEEP) is SLEEP


def test_it_pickles_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "gmtime", SLEEP)
    stored = pickle.dumps(functools.partial(time.gmtime, 0))
    monkeypatch.undo()

    assert pickle.loads(stored).func is time.gmtime


def test_it_does_not_become_a_method() -> None:
    class Client:
        now = SLEEP

    assert Client().now(0) == time.gmtime(0)


def test_it_tells_of_its_calls_while_somebody_listens() -> None:
    heard = []
    LISTENERS["a test's own"] = lambda event, args: heard.append((event, args))
    try:
        SLEEP(0)
    finally:
        del LISTENERS["a test's own"]
    SLEEP(0)

    assert heard == [("a test's own", (0,))]


@pytest.mark.skipif(SLEEP_HAS_AN_EVENT, reason="time.sleep has an audit event from Python 3.13 on")
def test_it_goes_into_every_module_and_out_again() -> None:
    with sleep_announced():
        inside = time.sleep
        with sleep_announced():
            assert time.sleep is inside
        assert isinstance(inside, BuiltinSeam)
    outer = time.sleep

    # Under the plugin itself, it stays in place until the run ends.
    assert outer is inside or not isinstance(outer, BuiltinSeam)


@pytest.mark.skipif(not SLEEP_HAS_AN_EVENT, reason="time.sleep has an audit event from Python 3.13 on")
def test_nothing_is_replaced_where_there_is_an_event() -> None:
    with sleep_announced():
        assert not isinstance(time.sleep, BuiltinSeam)
