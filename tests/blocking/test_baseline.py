"""The baseline file: what it forgives, what it does not, and how it is written."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from pytest_concurrency._blocking.baseline import Entry, entry_of, parse, render, write
from pytest_concurrency._judge.blocking import findings
from pytest_concurrency._settings import Blocking
from pytest_concurrency._trace import Block, Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Suite = Callable[..., pytest.RunResult]

CODE = """
import asyncio, time

async def known():
    time.sleep(0.001)

async def another():
    time.sleep(0.001)

def test_known():
    asyncio.run(known())

def test_another():
    asyncio.run(another())
"""
FIRST = "test_it.py::known  time.sleep"
SECOND = "test_it.py::another  time.sleep"


def test_what_is_written_is_read_again() -> None:
    entries = {Entry("src/shop/client.py", "Client.fetch", "time.sleep"), Entry("a.py", "f.<locals>.g", "open")}

    text = render(entries)

    assert parse(text) == entries
    assert text.splitlines()[2:] == ["a.py::f.<locals>.g  open", "src/shop/client.py::Client.fetch  time.sleep"]


@pytest.mark.parametrize("line", ["nonsense", "a.py::f", "a.py  time.sleep", "::f  time.sleep", "a.py::  time.sleep"])
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: .*: expected path::function, two spaces, and the call"):
        parse(f"# a comment\n{line}\n")


def test_an_entry_does_not_know_the_lines_number() -> None:
    def found(line: int):
        place = Place("/home/shop/src/client.py", line, "fetch")
        return findings([Block("sleep", "time.sleep", place, 0.1, "asyncio")], Blocking())[0]

    assert entry_of(found(3), "/home/shop") == entry_of(found(99), "/home/shop")
    assert str(entry_of(found(3), "/home/shop")) == "src/client.py::fetch  time.sleep"
    assert entry_of(found(3), "/elsewhere").file == "/home/shop/src/client.py"


def test_writing_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "baseline.txt"
    write(path, [Entry("a.py", "f", "open")])
    write(path, [Entry("b.py", "f", "open")])

    assert [each.name for each in tmp_path.iterdir()] == ["baseline.txt"]
    assert "b.py::f  open" in path.read_text()


def test_what_is_listed_is_forgiven_and_what_is_new_fails(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makefile(".txt", baseline=FIRST)

    result = suite(CODE, "--blocking-baseline=baseline.txt")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_another - time.sleep blocked the event loop*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_it_is_written_and_then_the_suite_passes(
    suite: Suite, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    if workers and importlib.util.find_spec("xdist") is None:
        pytest.skip("xdist is not installed")

    result = suite(CODE, "--blocking-baseline=baseline.txt", "--blocking-baseline-update", *workers)

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["baseline.txt: written, with 2 places that block"])
    assert (pytester.path / "baseline.txt").read_text().splitlines()[2:] == [SECOND, FIRST]
    suite(CODE, "--blocking-baseline=baseline.txt", *workers).assert_outcomes(passed=2)


def test_what_no_longer_blocks_is_named(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makefile(".txt", baseline=f"{FIRST}\n{SECOND}\ngone.py::f  open\n")

    result = suite(CODE, "--blocking-baseline=baseline.txt")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["baseline.txt: 1 place did not block in this run; if all tests ran,", "*", "  gone.py::f  open"]
    )


def test_a_marked_test_is_not_forgiven(suite: Suite, pytester: pytest.Pytester) -> None:
    pytester.makefile(".txt", baseline=f"{FIRST}\n{SECOND}")
    code = CODE.replace("def test_known", "import pytest\n@pytest.mark.must_not_block\ndef test_known")

    suite(code, "--blocking-baseline=baseline.txt").assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--blocking-baseline=missing.txt"], "there is no such file; write it with --blocking-baseline-update"),
        (["--blocking-baseline-update"], "say which file, with --blocking-baseline=FILE"),
        (["--blocking-baseline=x", "--blocking=off"], "nothing is looked for, since --blocking = 'off'"),
    ],
)
def test_misuse_is_a_usage_error(suite: Suite, arguments: list[str], words: str) -> None:
    result = suite(CODE, *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{words}"])


def many(places: int) -> str:
    functions = "".join(f"async def main{n}():\n    time.sleep(0.001)\n\n\n" for n in range(places))
    calls = "".join(f"    asyncio.run(main{n}())\n" for n in range(places))
    return f"import asyncio, time\n\n{functions}def test_it():\n{calls}\n\ndef test_again():\n{calls}"


def test_a_first_run_with_many_findings_is_told_how_to_forgive_them(suite: Suite) -> None:
    result = suite(many(20))

    result.assert_outcomes(passed=2, warnings=40)
    result.stdout.fnmatch_lines(
        [
            "*= blocking =*",
            "20 places block an event loop. To forgive them, and fail on what is new:",
            "  pytest --blocking-baseline=blocking.txt --blocking-baseline-update",
            "once, and from then on",
            "  pytest --blocking-baseline=blocking.txt",
        ]
    )


def test_a_few_findings_are_not_many(suite: Suite) -> None:
    suite(many(19)).stdout.no_fnmatch_line("*To forgive them*")
