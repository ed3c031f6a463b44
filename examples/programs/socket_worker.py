"""A worker that shares nothing with anybody: it is told a number by socket, and answers with its square.

`python socket_worker.py HOST PORT`, on whichever machine.
"""

from __future__ import annotations

import socket
import sys

import lesson_work

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection, connection.makefile("rw") as lines:
    for line in lines:
        print(lesson_work.square(int(line)), file=lines, flush=True)
