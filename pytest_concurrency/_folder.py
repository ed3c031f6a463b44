"""A folder of our own, for what other processes of a test have to tell."""

from __future__ import annotations

import os


def private_folder() -> str:
    """Make an empty folder that nobody but this user can look into, and return its path.

    Not `tempfile.mkdtemp`: this happens at a fork, maybe in the middle of the user's loop, and the detector of blocking
    calls knows what is ours by whose line makes the call.
    """
    import tempfile

    while True:
        path = os.path.join(tempfile.gettempdir(), f"pytest-concurrency-{os.urandom(6).hex()}")
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        return path
