"""What is started, by whom, and what of it is still there: one module for each kind. They judge nothing."""

from __future__ import annotations
