"""What a child process did not inherit: seen where work is handed over, compared with a fresh child, then judged."""

from __future__ import annotations
