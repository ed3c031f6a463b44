"""Small programs that each do one thing on an event loop: those that block it, and those that only look like it."""

from __future__ import annotations
