"""gevent with and without its patch: `python greenlets.py`, `python greenlets.py patched`.

The same function, with the same `time.sleep` and not one word of coroutine syntax, in three greenlets at once.
"""

from __future__ import annotations

import sys

if "patched" in sys.argv[1:]:
    from gevent import monkey

    monkey.patch_all()

import json
import time

import gevent

from pytest_concurrency import record

steps: list[str] = []


def fetch(name: str) -> None:
    steps.append(f"{name} begins")
    time.sleep(0.05)
    steps.append(f"{name} ends")


with record() as concurrency:
    concurrency.watch(fetch)
    gevent.joinall([gevent.spawn(fetch, name) for name in "abc"], raise_error=True)

blocks = [[block.call, block.place.line] for block in concurrency.blocks]
print(json.dumps({"steps": steps, "at once": concurrency.peak(fetch), "blocks": blocks}))
