"""gevent, as the rows use it: plain functions, called in greenlets."""

from __future__ import annotations

import gevent
import work
from choice import FAKE
from gevent import socket


def on_loop(test):
    return test


def _instant(number: int) -> None:
    pass


def _sleeping(number: int) -> None:
    gevent.sleep(0.003)


def _http(number: int) -> None:
    with socket.create_connection(work.server) as sock:
        sock.sendall(f"GET /{number} HTTP/1.0\r\n\r\n".encode())
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    assert answer.endswith(f"/{number}".encode())


_WORK = {"instant": _instant, "sleeping": _sleeping, "http": _http}


def fetch(number: int) -> int:
    _WORK[FAKE](number)
    return number


def store(number: int) -> int:
    _WORK[FAKE](number)
    return number


def failing(number: int) -> int:
    _WORK[FAKE](number)
    raise ValueError(f"no {number}")


def endless() -> None:
    gevent.event.Event().wait()


class Client:
    def method(self, number: int) -> int:
        _WORK[FAKE](number)
        return number
