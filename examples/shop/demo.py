"""Runs the shop's tests with pytest_concurrency: does it find the planted bugs, all of them and nothing else?

Run it with `python examples/shop/demo.py`. You will see pytest's own output, six failures in it, and then a table of
what was planted and what was found. It exits with 0 only where the two are the same.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARIES = ("asyncio", "trio")
VERSIONS = ("right", "one_by_one", "forgotten_sleep", "lock_too_long")
TESTS = ("test_finds_the_best_offer", "test_asks_all_shops_at_once", "test_leaves_the_event_loop_free")


@dataclass(frozen=True)
class Bug:
    """A mistake in the shop, the test that has to fail for it, and what the failure has to say."""

    version: str
    test: str
    marker: str
    cause: str
    file: str
    code: str

    def place(self) -> str:
        """Return `file:line` of the line at fault."""
        lines = (HERE / self.file).read_text(encoding="utf-8").splitlines()
        (number,) = [number for number, line in enumerate(lines, 1) if self.code in line]
        return f"{self.file}:{number}"


def planted(library: str) -> list[Bug]:
    return [
        Bug(
            version="one_by_one",
            test="test_asks_all_shops_at_once",
            marker="must_overlap",
            cause="one after the other",
            file=f"shop/on_{library}/one_by_one.py",
            code="await customer.ask(shop, product)",
        ),
        Bug(
            version="forgotten_sleep",
            test="test_leaves_the_event_loop_free",
            marker="must_not_block",
            cause="time.sleep",
            file="shop/retry.py",
            code="time.sleep(",
        ),
        Bug(
            version="lock_too_long",
            test="test_asks_all_shops_at_once",
            marker="must_overlap",
            cause="lock",
            file=f"shop/on_{library}/lock_too_long.py",
            code="async with self._door:",
        ),
    ]


def run_pytest(report: Path) -> int:
    """Run the shop's tests in a process of their own, write *report*, and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-v", "--tb=short", f"--concurrency-report={report}"]
    if not importlib.metadata.entry_points(group="pytest11", name="pytest_concurrency"):
        # A checkout that is on the path but not installed: pytest cannot find the plugin by itself.
        command[3:3] = ["-p", "pytest_concurrency.plugin"]
    # The options of a run that this one may be part of are not meant for it.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    print(f"$ cd {os.path.relpath(HERE)} && python {' '.join(command[1:])}", flush=True)
    return subprocess.run(command, cwd=HERE, env=environment, check=False).returncode


def differences(tests: dict[str, dict[str, Any]]) -> list[str]:
    """Print what was planted beside what was found, and return all that is not as it should be."""
    wrong = []
    for library in LIBRARIES:
        bugs = {(bug.test, bug.version): bug for bug in planted(library)}
        sleep = next(bug.place() for bug in bugs.values() if bug.marker == "must_not_block")
        for version in VERSIONS:
            blocks = {f"time.sleep, {sleep}"} if version == "forgotten_sleep" else set()
            for name in TESTS:
                nodeid = f"tests/test_on_{library}.py::{name}[{version}]"
                bug = bugs.get((name, version))
                found = tests.pop(nodeid, None)
                problems = problems_of(found, bug, blocks) if found else ["was not run"]
                if bug or problems:
                    verdict = "; ".join(problems) or f"found: {bug.cause}, {bug.place()}"
                    print(f"  {'WRONG' if problems else 'ok':5}  {library:7}  {version:15}  {verdict}")
                wrong += [f"{nodeid}: {problem}" for problem in problems]
    return wrong + [f"{nodeid}: not expected to exist" for nodeid in tests]


def problems_of(found: dict[str, Any], bug: Bug | None, allowed: set[str]) -> list[str]:
    """Return where the outcome of one test, and the reason it gave, is not what *bug* asks for.

    Args:
        allowed: The blocking calls that must be reported, and no others.
    """
    broken = {each["marker"]: each["message"] for each in found["expectations"] if not each["held"]}
    blocks = {f"{block['call']}, {block['file']}:{block['line']}" for block in found["blocks"]}
    problems = []
    if blocks != allowed:
        problems.append(f"blocking calls: expected {sorted(allowed)}, found {sorted(blocks)}")
    if bug is None:
        if found["outcome"] != "passed" or broken:
            problems.append(f"nothing is wrong here, but it {found['outcome']}: {broken}")
        return problems
    if found["outcome"] != "failed":
        problems.append(f"should have failed, but it {found['outcome']}")
    if set(broken) - {bug.marker}:
        problems.append(f"should have broken {bug.marker} alone, but broke {sorted(broken)}")
    # A block is its own evidence; what else went wrong is told in the message of the marker.
    text = "\n".join([*broken.values(), *(blocks if bug.marker == "must_not_block" else ())])
    problems += [f"nobody says {part!r}" for part in (bug.cause, bug.place()) if part not in text]
    return problems


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        code = run_pytest(report)
        if code not in (0, 1) or not report.exists():
            print(f"\npytest ended with exit code {code}: the tests did not run to their end")
            return 1
        tests = {test["nodeid"]: test for test in json.loads(report.read_text(encoding="utf-8"))["tests"]}

    bugs = [bug for library in LIBRARIES for bug in planted(library)]
    total = len(LIBRARIES) * len(VERSIONS) * len(TESTS)
    print(f"\n{len(bugs)} bugs were planted. For each, one test must fail and name the cause and the line:\n")
    wrong = differences(tests)
    if code != 1:
        wrong.append(f"pytest ended with exit code {code}, not with 1 for failed tests")
    if wrong:
        print("\nNot as planted:", *wrong, sep="\n  ")
        return 1
    print(
        f"\nAll as planted. Of {total} tests {len(bugs)} failed, each with its cause and the line at fault; the other "
        f"{total - len(bugs)} passed.\nThe forgotten time.sleep was reported wherever it ran, and no other call was. "
        "The right version passed everything."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
