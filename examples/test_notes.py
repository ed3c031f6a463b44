"""The notes' programs, run as the scripts that they are: `python examples/notes/gather.py`.

In `notes/` they stand as they were printed, and beside three of them what was meant. Here they really take their
seconds, all at once; the lessons run them on a virtual clock. What each prints is stored here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

NOTES = Path(__file__).parent / "notes"
NO_TIME = "AttributeError: 'float' object has no attribute"
NEVER = "RuntimeWarning: coroutine 'sleep' was never awaited"
# Program -> what it prints, and what it complains of. A time is 0 here: how long it took is for the lessons to prove.
PROGRAMS = {
    "lady_and_killer.py": ("start at 0\nlady\nkiller9\nend at 0\n", []),
    "time_sleep.py": ("", [f"{NO_TIME} 'sleep'"]),
    "time_sleep_right.py": ("f1:done\nf2:done\n耗时0 \n", []),
    "asyncio_sleep.py": ("f1:done\nf2:done\n", [NEVER, f"{NO_TIME} 'time'"]),
    "asyncio_sleep_right.py": ("f1:done\nf2:done\n耗时0 \n", []),
    "gather.py": ("f2:done\nf1:done\n", [NEVER, f"{NO_TIME} 'time'"]),
    "gather_right.py": ("f1:done\nf2:done\n耗时0 \n", []),
    "f_3_and_f_4.py": ("f3 doing\nf4 doing\n", []),
}


def test_the_notes_programs_print_what_they_print() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": "", "NO_COLOR": "1"}
    running = {
        name: subprocess.Popen(
            [sys.executable, NOTES / name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        for name in PROGRAMS
    }

    told = {name: program.communicate(timeout=60) for name, program in running.items()}

    assert sorted(PROGRAMS) == sorted(file.name for file in NOTES.glob("*.py"))
    for name, (printed, complaints) in PROGRAMS.items():
        output, errors = told[name]
        assert re.sub(r"\d+:\d+:\d+|\d+\.\d+", "0", output) == printed
        assert running[name].returncode == (1 if complaints else 0)
        for complaint in complaints or [""]:
            assert complaint in errors
        assert complaints or not errors
