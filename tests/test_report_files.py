"""The report as a page, as a trace for Perfetto, as SARIF, and in other tools' reports: of traces written by hand."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._judge.blocking import Finding
from pytest_concurrency._show import chrome_trace, html, junit, lanes, sarif
from pytest_concurrency._show.json import test_entry as entry_of
from pytest_concurrency._show.messages import Page
from pytest_concurrency._trace import Block, Leak, Place, Span, Step, Strand, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Place("/project/shop/cart.py", 12, "checkout")
OUTSIDE = Place("/lib/a b.py", 7, "dumps")
TASK = Strand(
    1, "asyncio-task", "Task-2", 10, 20, start=0.0, end=1.0, steps=(Step(1, 2, 0.0, 0.5), Step(5, 6, 0.75, 1.0))
)
CALL = Span(1, 1, "shop:fetch", 3, 0.0, 4, 0.8, 5, 1.0, "returned", (HERE,))
SLEEP = Block("sleep", "time.sleep", HERE, 0.25, "asyncio", (HERE, OUTSIDE), strand=1, start=0.25, end=0.5)
STOPPED = Block("socket", "socket.connect", OUTSIDE, None, "asyncio", start=0.6, end=0.6)


def trace(**more: Any) -> Trace:
    return Trace(nodeid="test_it.py::test_it", backend="asyncio", seconds=1.0, strands=(TASK,), **more)


def entry(
    told: Trace,
    *,
    outcome: str = "passed",
    worker: str | None = None,
    expectations: tuple[Any, ...] = (),
    line: int = 3,
) -> dict[str, Any]:
    return {
        **entry_of(told, told.blocks, expectations, "/project"),
        "outcome": outcome,
        "worker": worker,
        "seconds": told.seconds,
        "location": {"file": "test_it.py", "line": line},
        "drawing": lanes.drawing(told, told.blocks),
    }


BROKEN = {"marker": "must_overlap", "held": False, "message": "expected 2 calls at once, saw 1\n\n<b>&"}
HELD = {"marker": "must_not_block", "held": True, "message": ""}
FULL = trace(spans=(CALL,), blocks=(SLEEP, STOPPED), leaks=(Leak("task", "Task-9", HERE), Leak("thread", "feeder")))
NOTHING = {
    "nodeid": "test_it.py::test_lost", "outcome": "failed", "worker": None, "seconds": 0.0, "backend": None,
    "strands": [], "spans": [], "blocks": [], "leaks": [], "expectations": [],
    "location": {"file": "test_it.py", "line": 9},
}  # fmt: skip


# Lanes


def test_a_lane_has_no_gap_from_its_start_to_its_end() -> None:
    told = trace(spans=(CALL,), blocks=(SLEEP,))

    (lane,) = lanes.drawing(told, ())["spans"]

    assert lane["parts"] == [
        ["running", 0.0, 0.25],
        ["blocked", 0.25, 0.5],
        ["waiting", 0.5, 0.75],
        ["running", 0.75, 0.8],
        ["held", 0.8, 1.0],
    ]
    assert (lane["label"], lane["strand"], lane["start"], lane["end"]) == ("fetch#1", 1, 0.0, 1.0)


def test_a_strand_without_steps_is_running_and_one_that_never_ended_goes_on() -> None:
    thread = Strand(7, "thread", "feeder", 1, 2, start=0.5, started_by_test=True)
    idle = Strand(8, "thread", "MainThread", 1, 1)

    drawn = lanes.drawing(Trace(seconds=2.0, strands=(thread, idle)), ())

    assert [(lane["label"], lane["parts"]) for lane in drawn["strands"]] == [("feeder", [["running", 0.5, 2.0]])]


def test_a_span_that_took_no_time_has_no_parts() -> None:
    moment = Span(2, 1, "shop:fetch", 3, 0.5, 4, 0.5, 5, 0.5)

    assert lanes.parts_of(trace(spans=(moment,)), moment, 0.5) == []


def test_a_lane_of_many_steps_is_drawn_coarsely_but_whole() -> None:
    steps = tuple(Step(number, number, number / 1000, number / 1000 + 0.0005) for number in range(1000))
    busy = Strand(1, "asyncio-task", "Task-1", 1, 1, start=0.0, end=1.0, steps=steps)

    (lane,) = lanes.drawing(Trace(seconds=1.0, strands=(busy,)), ())["strands"]

    parts = lane["parts"]
    assert len(parts) <= 400
    assert parts[0][1] == 0.0
    assert parts[-1][2] == pytest.approx(1.0)
    assert all(before[2] == after[1] for before, after in pairwise(parts))


def test_of_many_lanes_the_first_are_drawn_and_all_are_counted() -> None:
    spans = tuple(Span(number, 1, "shop:fetch", number, 0.0, last=9999, end=1.0) for number in range(1, 1501))

    test = entry(trace(spans=spans))

    assert len(test["drawing"]["spans"]) == 1000
    assert "and 1300 more" in checked(html.document([test], "1.0")).text


# The page


class Checker(HTMLParser):
    """Checks that tags are closed in turn, and takes down what a page refers to."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "srcset", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def test_a_page_needs_nothing_else_and_runs_nothing() -> None:
    page = html.document([entry(FULL, outcome="failed", expectations=(BROKEN, HELD))], "1.0")

    checker = checked(page)
    assert not checker.links
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert "url(" not in page
    assert "@import" not in page


def test_a_page_tells_all_of_a_test() -> None:
    test = entry(FULL, outcome="failed", worker="gw1", expectations=(BROKEN, HELD))

    text = " ".join(checked(html.document([test], "1.0")).text.split())

    for words in (
        "1 test, 1 failed; 5 findings",
        "failed test_it.py::test_it 1.00 s, asyncio, gw1, 5 findings",
        "must_overlap broken",
        "expected 2 calls at once, saw 1 <b>&",
        "must_not_block held",
        "fetch#1 Task-2",
        "0.00-1.00 s",
        "time.sleepsleep0.25 sshop/cart.py:12 in checkoutway thereshop/cart.py:12 in checkout/lib/a b.py:7 in dumps",
        "socket.connectsocketstopped/lib/a b.py:7 in dumps",
        "taskTask-9shop/cart.py:12",
        "threadfeederunknown",
        "runningwaitingblocking the loopdone, held for the proof",
        "pytest_concurrency 1.0",
    ):
        assert words in text


def test_a_bar_is_told_in_words_too() -> None:
    page = html.document([entry(FULL)], "1.0")

    assert (
        'aria-label="fetch#1, Task-2: running 0.30 s, waiting 0.25 s, blocking the loop 0.25 s,'
        ' done, held for the proof 0.20 s"'
    ) in page


def test_what_a_test_is_called_cannot_break_the_page() -> None:
    evil = '"><script>alert(1)</script>'
    strand = Strand(1, "thread", evil, 1, 1, end=1.0, started_by_test=True)
    place = Place(evil, 1, evil)
    told = Trace(
        evil, strands=(strand,), spans=(Span(1, 1, evil, 1, 0.0, end=1.0),),
        blocks=(Block(evil, evil, place, 1.0, evil, (place, place)),), leaks=(Leak(evil, evil, place),),
    )  # fmt: skip
    verdict = {"marker": evil, "held": False, "message": evil}

    page = html.document([entry(told, outcome=evil, worker=evil, expectations=(verdict,)), entry(Trace(evil))], evil)

    assert "script" not in checked(page).tags
    assert checked(html.fragment(entry(told))).tags.count("script") == 0


def test_alike_blocks_are_one_row() -> None:
    page = html.document([entry(trace(blocks=(SLEEP,) * 40))], "1.0")

    assert "1 finding" in page
    assert "10.00 s, 40 times" in page


def test_findings_come_first_and_silent_tests_are_listed_together() -> None:
    silent = {**NOTHING, "nodeid": "test_it.py::test_silent", "outcome": "passed"}
    calm = {**entry(trace(spans=(CALL,))), "nodeid": "test_it.py::test_calm"}
    found = {**entry(FULL), "nodeid": "test_it.py::test_found"}

    text = checked(html.document([silent, calm, found, NOTHING], "1.0")).text

    assert re.findall(r"test_it.py::(\w+)", text) == ["test_lost", "test_found", "test_calm", "test_silent"]
    assert "1 test in which nothing was recorded" in text
    assert "4 tests, 3 passed, 1 failed; 4 findings" in text


def test_a_page_of_nothing_is_a_page() -> None:
    assert "0 tests; 0 findings" in checked(html.document([], "1.0")).text
    assert html.fragment(NOTHING) == ""


# The trace


def events(*tests: dict[str, Any]) -> list[dict[str, Any]]:
    told = json.loads(chrome_trace.document(tests))
    assert set(told) == {"displayTimeUnit", "traceEvents"}
    # What the format asks of each kind of event.
    for event in told["traceEvents"]:
        needed = {
            "M": {"args"},
            "X": {"ts", "dur"},
            "i": {"ts", "s"},
            "b": {"ts", "id", "cat"},
            "e": {"ts", "id", "cat"},
        }
        assert {"ph", "name", "pid", "tid"} | needed[event["ph"]] <= set(event)
        assert event.get("dur", 0) >= 0
        assert event.get("ts", 0) >= 0
    return list(told["traceEvents"])


def test_a_trace_has_strands_as_threads_and_times_in_microseconds() -> None:
    told = events(entry(FULL, worker="gw0"))

    assert [event["args"]["name"] for event in told if event["name"] in ("process_name", "thread_name")] == [
        "test_it.py::test_it",
        "Task-2 (asyncio-task)",
    ]
    assert [event["args"]["labels"] for event in told if event["name"] == "process_labels"] == ["passed, asyncio, gw0"]
    running = [(event["ts"], event["dur"]) for event in told if event["name"] == "running"]
    assert running == [(0.0, 250_000.0), (750_000.0, 250_000.0)]
    begin, end = (event for event in told if event["name"] == "shop:fetch")
    assert (begin["ph"], begin["ts"], end["ph"], end["ts"]) == ("b", 0.0, "e", 1_000_000.0)
    assert begin["id"] == end["id"]
    assert begin["args"] == {"call": "fetch#1", "outcome": "returned", "running": 0.5, "waiting": 0.25, "blocked": 0.25}
    (sleep,) = (event for event in told if event["name"] == "time.sleep")
    assert (sleep["ph"], sleep["ts"], sleep["dur"], sleep["tid"]) == ("X", 250_000.0, 250_000.0, 1)
    assert sleep["args"]["file"] == "shop/cart.py"
    (stopped,) = (event for event in told if event["name"] == "socket.connect")
    assert (stopped["ph"], stopped["ts"], stopped["tid"]) == ("i", 600_000.0, 0)


def test_slices_of_one_track_do_not_cross() -> None:
    told = events(entry(FULL))

    slices = sorted((event["ts"], event["ts"] + event["dur"]) for event in told if event["ph"] == "X")
    assert all(before[1] <= after[0] for before, after in pairwise(slices))


def test_tests_of_one_worker_follow_each_other_and_those_of_two_stand_side_by_side() -> None:
    told = events(entry(FULL, worker="gw0"), NOTHING, entry(FULL, worker="gw0"), entry(FULL, worker="gw1"))

    begins = {event["pid"]: event["ts"] for event in told if event["ph"] == "b"}
    assert begins == {1: 0.0, 3: 1_000_000.0, 4: 0.0}


# SARIF


def sarif_run(*tests: dict[str, Any]) -> dict[str, Any]:
    log = json.loads(sarif.document(tests, "1.0"))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("/sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "pytest_concurrency"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        assert " " not in physical["artifactLocation"]["uri"]
        assert result["partialFingerprints"]
    return dict(run)


def test_findings_are_results_at_their_lines() -> None:
    run = sarif_run(entry(FULL, expectations=(BROKEN, HELD)))

    def told(result: dict[str, Any]) -> tuple[Any, ...]:
        place = result["locations"][0]["physicalLocation"]
        return result["ruleId"], result["level"], place["artifactLocation"], place["region"]["startLine"]

    below = {"uri": "shop/cart.py", "uriBaseId": "%SRCROOT%"}
    test = {"uri": "test_it.py", "uriBaseId": "%SRCROOT%"}
    assert [told(result) for result in run["results"]] == [
        ("blocking-sleep", "warning", below, 12),
        ("blocking-socket", "warning", {"uri": "file:///lib/a%20b.py"}, 7),
        ("leak-task", "warning", below, 12),
        ("leak-thread", "warning", test, 3),
        ("must-overlap", "error", test, 3),
    ]
    assert [result["message"]["text"] for result in run["results"]][:4] == [
        "time.sleep blocks the event loop, in checkout.",
        "socket.connect blocks the event loop, in dumps.",
        "The task Task-9 is left behind.",
        "The thread feeder is left behind.",
    ]
    assert {rule["id"]: rule["shortDescription"]["text"] for rule in run["tool"]["driver"]["rules"]} == {
        "blocking-sleep": "A call of the kind 'sleep' blocks the event loop",
        "blocking-socket": "A call of the kind 'socket' blocks the event loop",
        "leak-task": "A task is left behind by a test",
        "leak-thread": "A thread is left behind by a test",
        "must-overlap": "Calls that must overlap do not",
    }


def test_what_several_tests_find_is_one_result() -> None:
    one, other = entry(trace(blocks=(SLEEP, SLEEP))), entry(trace(blocks=(SLEEP,)))
    other["nodeid"] = "test_it.py::test_other"

    (result,) = sarif_run(one, other)["results"]

    assert result["properties"]["tests"] == ["test_it.py::test_it", "test_it.py::test_other"]


def test_a_finding_keeps_its_fingerprint_when_its_line_moves_and_its_figures_change() -> None:
    moved = Block("sleep", "time.sleep", Place(HERE.file, 40, HERE.function), 9.0, "asyncio")
    later = {**BROKEN, "message": "expected 2 calls at once, saw 0"}

    before = sarif_run(entry(trace(blocks=(SLEEP,)), expectations=(BROKEN,)))["results"]
    after = sarif_run(entry(trace(blocks=(moved,)), expectations=(later,), line=50))["results"]

    assert [each["partialFingerprints"] for each in before] == [each["partialFingerprints"] for each in after]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a/b c.py", {"uri": "a/b%20c.py", "uriBaseId": "%SRCROOT%"}),
        ("/lib/é.py", {"uri": "file:///lib/%C3%A9.py"}),
        ("C:\\lib\\a.py", {"uri": "file:///C:/lib/a.py"}),
        ("<string>", {"uri": "test_it.py", "uriBaseId": "%SRCROOT%"}),
    ],
)
def test_a_file_is_named_as_a_uri(file: str, expected: dict[str, str]) -> None:
    block = Block("sleep", "time.sleep", Place(file, 2, "f"), 1.0, "asyncio")

    (result,) = sarif_run(entry(trace(blocks=(block,))))["results"]

    assert result["locations"][0]["physicalLocation"]["artifactLocation"] == expected


def test_a_run_without_findings_is_a_log_without_results() -> None:
    assert sarif_run(NOTHING)["results"] == []


# JUnit XML


def test_findings_are_properties() -> None:
    found = Finding("sleep", "time.sleep", HERE, "asyncio", (SLEEP, SLEEP))
    stopped = Finding("socket", "socket.connect", HERE, "asyncio", (STOPPED,))

    assert junit.of_blocks([found, stopped], Page("/project")) == [
        ("concurrency_blocking", f"time.sleep at shop{os.sep}cart.py:12 in checkout (sleep, 2 times, 0.500 s)"),
        ("concurrency_blocking", f"socket.connect at shop{os.sep}cart.py:12 in checkout (socket, 1 time)"),
    ]
    assert junit.of_entry(entry(FULL, expectations=(BROKEN, HELD, {**BROKEN, "message": ""}))) == [
        ("concurrency_must_overlap", "expected 2 calls at once, saw 1"),
        ("concurrency_must_not_block", "held"),
        ("concurrency_must_overlap", "broken"),
        ("concurrency_leak", "task Task-9 at shop/cart.py:12"),
        ("concurrency_leak", "thread feeder"),
    ]


# In a run

TESTS = """
import asyncio, time
import pytest

async def fetch(): ...

async def one_by_one():
    await fetch()
    await fetch()

async def block():
    time.sleep(0.001)

@pytest.mark.must_overlap("test_it:fetch")
def test_broken(): asyncio.run(one_by_one())

def test_blocks(): asyncio.run(block())

@pytest.mark.parametrize("text", ["<b>", "\\udc80"])
def test_silent(text): pass
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_every_report_is_written_once_for_all_workers(
    workers: int, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_it=TESTS)
    names = ("report.html", "report.json", "report.trace.json", "report.sarif")

    inner(*(f"--concurrency-report={name}" for name in names), *([f"-n{workers}"] if workers else []))

    told = {name: (pytester.path / name).read_text(encoding="utf-8") for name in names}
    assert sorted(path.name for path in pytester.path.iterdir() if "report" in path.name) == sorted(names)
    text = checked(told["report.html"]).text
    assert text.count("4 tests, 3 passed, 1 failed; 2 findings") == 2
    assert "fetch#1" in text
    report = json.loads(told["report.json"])
    assert len(report["tests"]) == 4
    assert not {"drawing", "location"} & set(report["tests"][0])
    named = {
        event["args"]["name"]
        for event in json.loads(told["report.trace.json"])["traceEvents"]
        if event["ph"] == "M" and event["name"] == "process_name"
    }
    assert {"test_it.py::test_broken", "test_it.py::test_blocks"} <= named
    results = json.loads(told["report.sarif"])["runs"][0]["results"]
    assert {(each["ruleId"], each["locations"][0]["physicalLocation"]["region"]["startLine"]) for each in results} == {
        ("must-overlap", 13),
        ("blocking-sleep", 11),
    }


def test_a_path_that_cannot_be_written_is_an_error_before_any_test_runs(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile("def test_it(): print('RAN')")
    (pytester.path / "folder.html").mkdir()
    cases = {
        "report.xml": "expected a path that ends in .trace.json, .json, .html or .sarif",
        ".html": "expected a path that ends in .trace.json, .json, .html or .sarif",
        "nowhere/report.html": "the folder * does not exist",
        "folder.html": "that is a folder",
    }
    if os.path.isdir("/proc/self"):
        # Not even root may.
        cases["/proc/self/report.sarif"] = "cannot be written: *"
    for path, problem in cases.items():
        result = inner("-s", f"--concurrency-report={path}")

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: --concurrency-report={path}: {problem}"])
        result.stdout.no_fnmatch_line("*RAN*")


@pytest.mark.parametrize("workers", [0, 2])
def test_junit_xml_has_the_findings_of_every_test(
    workers: int, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_it=TESTS)

    inner("--junitxml=junit.xml", *([f"-n{workers}"] if workers else []))

    root = ElementTree.parse(pytester.path / "junit.xml").getroot()
    told = {
        case.get("name"): [(each.get("name"), each.get("value")) for each in case.iter("property")]
        for case in root.iter("testcase")
    }
    assert told["test_broken"] == [
        ("concurrency_must_overlap", "expected 2 calls of test_it:fetch at once, saw at most 1")
    ]
    ((name, value),) = told["test_blocks"]
    assert name == "concurrency_blocking"
    assert re.fullmatch(r"time\.sleep at test_it\.py:11 in block \(sleep, 1 time, 0\.\d+ s\)", value or "")
    assert told["test_silent[<b>]"] == []


@pytest.mark.parametrize("workers", [0, 2])
def test_pytest_html_shows_the_timeline_of_a_recorded_test(
    workers: int, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytest.importorskip("pytest_html")
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(test_it=TESTS)

    inner("--html=report.html", "--self-contained-html", *([f"-n{workers}"] if workers else []))

    page = (pytester.path / "report.html").read_text(encoding="utf-8")
    told = json.loads(unescape(re.findall(r'data-jsonblob="([^"]*)"', page)[0]))["tests"]
    with_timeline = {
        nodeid
        for nodeid, results in told.items()
        for result in results
        for extra in result["extras"]
        if 'class="pc-row"' in extra["content"]
    }
    # Of the others nothing was recorded.
    assert with_timeline == {"test_it.py::test_broken"}
