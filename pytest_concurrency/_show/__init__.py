"""Pure functions of a trace."""

from __future__ import annotations
