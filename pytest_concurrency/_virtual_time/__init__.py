"""Virtual time for the loops that one test runs. Imports no event loop before the program under test does."""

from __future__ import annotations

from .clock import VirtualClock as VirtualClock
