"""When a held call is let go, and what that leaves of the patience: the rules alone, without any loop."""

from __future__ import annotations

import pytest

from pytest_concurrency._record.door import Doors, Held, Rule, Survey, Timers, WaitingRoom
from pytest_concurrency._record.recorder import Recorder

QUIET = Survey(timers=Timers(later=True))
BUSY = Survey(outside=("a socket",))


@pytest.mark.parametrize(
    ("survey", "now", "left"),
    [
        pytest.param(BUSY, 0.5, 1.0, id="something is under way, and there is time"),
        pytest.param(BUSY, 1.0, 0.0, id="patience has run out"),
        pytest.param(QUIET, 0.25, 0.75, id="nothing else can move: the rest is for the next calls"),
        pytest.param(QUIET, 0.9, 0.0, id="what is left is too little to prove anything"),
    ],
)
def test_what_is_left_of_the_patience(survey: Survey, now: float, left: float) -> None:
    recorder = Recorder()
    doors = Doors(recorder)
    doors.add(Rule(0, ("fetch",), patience=1.0))
    (door,) = doors.doors
    room = WaitingRoom(doors, lambda held, horizon: survey)
    live = recorder.begin("fetch")
    gone: list[int] = []
    room.held.append(Held(door, live, None, 0.0, lambda: gone.append(live.id)))

    room.look(now)

    assert doors.patience(door) == left
    assert bool(gone) == (left < 1.0)
