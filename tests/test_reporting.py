"""The report for programs, schema 1."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._show.json import document, relative, test_entry
from pytest_concurrency._trace import Block, Leak, Place, Span, Step, Strand, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

# Named like a test in the module that it comes from.
entry_of = test_entry
del test_entry

HERE = Place("/project/shop/cart.py", 12, "checkout")
THERE = Place("/lib/json.py", 7, "dumps")


def trace(**more: Any) -> Trace:
    strand = Strand(1, "asyncio-task", "Task-2", 10, 20, steps=(Step(1, 2, 0.0, 0.25), Step(5, 6, 0.75, 1.0)))
    span = Span(1, 1, "shop:fetch", 3, 0.0, 4, 0.5, 5, 1.0, "returned", (HERE,))
    return Trace(nodeid="test_it.py::test_it", backend="asyncio", strands=(strand,), spans=(span,), **more)


def test_an_entry_has_strands_spans_and_verdicts() -> None:
    verdict = {"marker": "must_overlap", "held": True, "message": ""}

    assert entry_of(trace(), (), [verdict], "/project") == {
        "nodeid": "test_it.py::test_it",
        "backend": "asyncio",
        "strands": [{"id": 1, "kind": "asyncio-task", "name": "Task-2", "pid": 10, "thread": 20}],
        "spans": [
            {
                "id": 1,
                "strand": 1,
                "name": "shop:fetch",
                "start": 0.0,
                "end": 1.0,
                "running": 0.5,
                "waiting": 0.5,
                "blocked": 0.0,
                "outcome": "returned",
            }
        ],
        "blocks": [],
        "leaks": [],
        "expectations": [verdict],
    }


def test_a_block_is_told_with_its_line_and_the_way_there() -> None:
    block = Block("sleep", "time.sleep", HERE, 0.5, "asyncio", (HERE, THERE), strand=1)

    assert entry_of(trace(blocks=(block,)), [block], [], "/project")["blocks"] == [
        {
            "kind": "sleep",
            "call": "time.sleep",
            "file": "shop/cart.py",
            "line": 12,
            "function": "checkout",
            "seconds": 0.5,
            "strand": 1,
            "stack": ["shop/cart.py:12 in checkout", "/lib/json.py:7 in dumps"],
        }
    ]


def test_a_leak_may_be_without_a_place() -> None:
    leaks = (Leak("task", "Task-9", HERE), Leak("thread", "worker"))

    assert entry_of(trace(leaks=leaks), (), [], "/project")["leaks"] == [
        {"kind": "task", "name": "Task-9", "file": "shop/cart.py", "line": 12},
        {"kind": "thread", "name": "worker", "file": None, "line": None},
    ]


@pytest.mark.parametrize(
    ("file", "root", "shown"),
    [
        ("/project/shop/cart.py", "/project", "shop/cart.py"),
        ("/project/shop/cart.py", "/project/", "shop/cart.py"),
        ("/project2/cart.py", "/project", "/project2/cart.py"),
        ("/lib/json.py", "/project", "/lib/json.py"),
        ("/lib/json.py", "", "/lib/json.py"),
        ("<string>", "/project", "<string>"),
    ],
)
def test_files_below_the_root_are_relative_to_it(file: str, root: str, shown: str) -> None:
    assert relative(file, root) == shown


def test_a_document_is_json_with_its_schema() -> None:
    assert json.loads(document([{"nodeid": "é"}])) == {"schema": 1, "tests": [{"nodeid": "é"}]}


TESTS = """
import asyncio
import pytest

async def fetch(): ...

async def together():
    await asyncio.gather(fetch(), fetch())

@pytest.mark.must_overlap("test_it:fetch")
def test_held(): asyncio.run(together())

@pytest.mark.must_overlap("test_it:fetch")
def test_broken(): asyncio.run(fetch())

def test_unmarked(): asyncio.run(together())

def test_without_a_loop(): pass

def test_skipped(): pytest.skip("not today")

@pytest.mark.xfail
def test_xfailed(): raise LookupError

@pytest.fixture
def broken(): raise LookupError
def test_error_in_setup(broken): pass

@pytest.fixture
def broken_later():
    yield
    raise LookupError
def test_error_in_teardown(broken_later): pass
"""
OUTCOMES = {
    "test_held": "passed",
    "test_broken": "failed",
    "test_unmarked": "passed",
    "test_without_a_loop": "passed",
    "test_skipped": "skipped",
    "test_xfailed": "skipped",
    "test_error_in_setup": "failed",
    "test_error_in_teardown": "failed",
}


def read(pytester: pytest.Pytester, name: str = "report.json") -> dict[str, dict[str, Any]]:
    """Return what the report says of each test, by its name."""
    report = json.loads((pytester.path / name).read_text("utf-8"))
    assert report["schema"] == 1
    return {test["nodeid"].partition("::")[2]: test for test in report["tests"]}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_test_is_reported_once_with_its_outcome(
    workers: int, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_it=TESTS)

    inner("--concurrency-report=report.json", *([f"-n{workers}"] if workers else []))
    tests = read(pytester)

    assert {name: test["outcome"] for name, test in tests.items()} == OUTCOMES
    assert len(tests) == len(OUTCOMES)
    workers_seen = {test["worker"] for test in tests.values()}
    assert workers_seen <= {"gw0", "gw1"} if workers else workers_seen == {None}


def test_a_report_tells_what_happened(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(test_it=TESTS)

    inner("--concurrency-report=report.json", "--concurrency-report=again.json")
    tests = read(pytester)
    held, broken = tests["test_held"], tests["test_broken"]

    assert held["backend"] == "asyncio"
    assert held["seconds"] > 0
    assert held["expectations"] == [{"marker": "must_overlap", "held": True, "message": ""}]
    assert [span["name"] for span in held["spans"]] == ["test_it:fetch"] * 2
    assert {span["strand"] for span in held["spans"]} <= {strand["id"] for strand in held["strands"]}
    (expectation,) = broken["expectations"]
    assert (expectation["marker"], expectation["held"]) == ("must_overlap", False)
    assert expectation["message"].startswith("expected 2 calls of test_it:fetch at once, saw at most 1\n")
    assert tests["test_without_a_loop"]["backend"] is None
    assert tests["test_unmarked"]["backend"] == "asyncio"
    assert read(pytester, "again.json") == tests


def test_a_report_has_the_blocks_of_every_test(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import asyncio
        import time

        async def main():
            time.sleep(0.001)

        def test_it():
            asyncio.run(main())
        """
    )

    inner("--concurrency-report=report.json")
    (block,) = read(pytester)["test_it"]["blocks"]

    assert (block["kind"], block["call"], block["file"]) == ("sleep", "time.sleep", "test_it.py")
    assert (block["line"], block["function"]) == (5, "main")
    assert block["seconds"] >= 0.001
    assert block["stack"][0] == "test_it.py:5 in main"


def test_a_run_that_collects_nothing_writes_a_report_all_the_same(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    inner("--concurrency-report=report.json")

    assert read(pytester) == {}


MARKED = """
    import asyncio, time
    import pytest

    async def block():
        time.sleep(0.01)

    @pytest.mark.must_not_block()
    def test_blocks():
        asyncio.run(block())

    @pytest.mark.must_not_block()
    def test_waits():
        asyncio.run(asyncio.sleep(0))

    @pytest.mark.virtual_clock
    @pytest.mark.must_finish_within(0.5)
    def test_is_late():
        asyncio.run(asyncio.sleep(1))

    @pytest.mark.must_not_block()
    def test_fails_by_itself():
        assert False
"""


def test_every_marker_has_its_verdict_in_the_report(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(MARKED)

    inner("--concurrency-report=report.json")

    tests = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))["tests"]
    assert {
        test["nodeid"].rpartition("::")[2]: [(each["marker"], each["held"]) for each in test["expectations"]]
        for test in tests
    } == {
        "test_blocks": [("must_not_block", False)],
        "test_waits": [("must_not_block", True)],
        "test_is_late": [("must_finish_within", False)],
        "test_fails_by_itself": [],
    }
