"""What loading the plugin costs, over `import pytest` alone, and what it drags in.

Run it with `python benchmarks/import_cost.py [--runs 20]`. You will see milliseconds of CPU time, and whether an event
loop library was loaded. Each run is a fresh interpreter that finds all modules compiled, as any second run does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

LOOPS = ("asyncio", "trio", "anyio", "uvloop", "gevent", "tornado")
PROBE = f"""
import json, sys, time
begun = time.process_time()
import pytest
bare = time.process_time()
before = set(sys.modules)
import pytest_concurrency.plugin
done = time.process_time()
new = sorted(set(sys.modules) - before)
print(json.dumps({{
    "pytest": (bare - begun) * 1000,
    "plugin": (done - bare) * 1000,
    "loops": [name for name in {LOOPS!r} if name in sys.modules],
    "own": [name for name in new if name.startswith("pytest_concurrency")],
    "others": [name for name in new if not name.startswith("pytest_concurrency")],
}}))
"""


def probe(cache: str) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20, help="Fresh interpreters to start")
    runs = parser.parse_args().runs

    with tempfile.TemporaryDirectory() as cache:
        probe(cache)  # compiles
        results = [probe(cache) for _ in range(runs)]

    print(f"Python {sys.version.split()[0]}, {runs} runs, milliseconds of CPU time\n")
    print(f"{'':24}{'least':>8}{'median':>8}")
    for label, key in (("import pytest", "pytest"), ("the plugin, after that", "plugin")):
        values = [result[key] for result in results]
        print(f"{label:24}{min(values):8.1f}{statistics.median(values):8.1f}")
    last = results[-1]
    print(f"\nmodules of ours:  {len(last['own'])}")
    print(f"modules of others: {len(last['others'])}  {' '.join(last['others'])}")
    print(f"event loops:       {' '.join(last['loops']) or 'none'}")


if __name__ == "__main__":
    main()
