"""What a program that does not go on was waiting for: a snapshot of its tasks, threads and children."""

from __future__ import annotations
