"""What is known of one test: what it asks for, its recording, and where its messages are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from . import _markers

if TYPE_CHECKING:
    from ._session import Session as Session
    from ._show.messages import Page

_FIXTURES = frozenset({"concurrency", "virtual_clock"})
session_key = pytest.StashKey["Session"]()


def asked_by(item: pytest.Item) -> frozenset[str]:
    """Return which of our markers and fixtures a test uses."""
    names = _markers.used(item, _markers.ALL)
    names.update(_FIXTURES.intersection(getattr(item, "fixturenames", ())))
    return frozenset(names)


def session_of(item: pytest.Item) -> Session | None:
    """Return the recording of a test, None where it is not recorded."""
    return item.stash.get(session_key, None)


def page_of(item: pytest.Item) -> Page:
    """Return where the messages of a test will be read: how wide, and in which characters."""
    from ._show.messages import Page
    from ._show.timeline import ASCII, UNICODE

    reporter: Any = item.config.pluginmanager.get_plugin("terminalreporter")
    width, style = 80, ASCII
    if reporter is not None:
        width = max(60, min(reporter._tw.fullwidth, 120))
        encoding = getattr(reporter._tw._file, "encoding", None) or "ascii"
        try:
            "".join((UNICODE.running, UNICODE.waiting, UNICODE.blocked, UNICODE.held)).encode(encoding)
            style = UNICODE
        except (LookupError, UnicodeEncodeError):
            pass
    return Page(str(item.config.rootpath), width, style)
