"""What kept an event loop from running: the calls that block, named as they are made."""

from __future__ import annotations
