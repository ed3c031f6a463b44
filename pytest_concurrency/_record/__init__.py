"""Sources that touch the world and write to one Recorder; each undoes all it did."""

from __future__ import annotations
