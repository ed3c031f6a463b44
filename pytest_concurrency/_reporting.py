"""Collect what every test recorded, from all workers, and write the report files when the run ends."""

from __future__ import annotations

import os
import tempfile
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from ._errors import ConcurrencyError, LeakError
from ._judge.blocking import seen
from ._session import Judged
from ._settings import report_suffix
from ._show import chrome_trace, html, json, junit, lanes, sarif
from ._show.timeline import as_spans, draw

if TYPE_CHECKING:
    from pathlib import Path

    from ._session import Session
    from ._settings import Settings

_PICTURES = (".html", ".trace.json")
TIMELINE = "_pytest_concurrency_timeline"
ENTRY = "_pytest_concurrency"
"""The attribute of a test's report that carries its entry, as built-in types, from a worker to the controller."""


def attach(report: pytest.TestReport, session: Session, settings: Settings, root: str) -> None:
    """Put what *session* recorded on the report of its teardown, which is the last one of a test.

    It goes there as each of the reports that are to be written needs it.
    """
    verdicts = [{"marker": judged.marker, "held": judged.held, "message": judged.message} for judged in session.judged]
    trace = session.trace()
    blocks = seen(trace.blocks, session.blocking)
    entry = json.test_entry(trace, blocks, verdicts, root)
    entry["seconds"] = session.seconds()
    if settings.html or any(report_suffix(path) in _PICTURES for path in settings.reports):
        # No part of the report for programs.
        entry["drawing"] = lanes.drawing(trace, blocks)
    if settings.reports:
        setattr(report, ENTRY, entry)
    if settings.junit:
        report.user_properties.extend(junit.of_entry(entry))
    if settings.html and (timeline := html.fragment(entry)):
        extra = {"name": None, "format_type": "html", "content": timeline, "mime_type": None, "extension": None}
        report.extras = [*getattr(report, "extras", ()), extra]  # type: ignore[attr-defined]  # what pytest-html looks for


_ERRORS = {"must_not_block": "BlockingError", "must_finish_within": "DeadlineError", "must_not_leak": "LeakError"}
"""Markers that are judged where no session is needed, and what they raise."""


def note_verdicts(session: Session, asked: frozenset[str], error: BaseException | None) -> None:
    """Add to the verdicts of *session* those of the markers that are judged without it.

    Args:
        asked: Our markers that the test has.
        error: What its body, or a verdict, raised.
    """
    if error is not None and not isinstance(error, ConcurrencyError):
        # There is no verdict over the body's own exception.
        return
    for marker in sorted(asked & set(_ERRORS)):
        broken = type(error).__name__ == _ERRORS[marker]
        if broken or error is None:
            session.judged.append(Judged(marker, not broken, str(error) if broken else ""))


def note_late_leak(session: Session, error: BaseException | None) -> None:
    """Correct the verdict on `must_not_leak` where something was found only after the fixtures had ended."""
    if isinstance(error, LeakError):
        session.judged = [each for each in session.judged if each.marker != "must_not_leak"]
        session.judged.append(Judged("must_not_leak", False, str(error), LeakError))


def attach_timeline(report: pytest.TestReport, session: Session) -> None:
    """Put a drawing of what *session* recorded on the report of its test."""
    trace, page = session.trace(), session.page
    own = tuple(strand for strand in trace.strands if strand.started_by_test)
    lines = draw(trace, trace.spans or as_spans(own), width=page.width, style=page.style)
    if lines and not report.failed:
        # A failed expectation has drawn its own.
        setattr(report, TIMELINE, "\n".join(lines))


def write_timelines(terminal: pytest.TerminalReporter) -> None:
    """Write the drawings of all tests, from all workers."""
    drawn = [
        (report.nodeid, getattr(report, TIMELINE))
        for reports in terminal.stats.values()
        for report in reports
        if hasattr(report, TIMELINE)
    ]
    if drawn:
        terminal.section("concurrency timelines")
    for nodeid, text in drawn:
        terminal.write_line(f"{nodeid}\n{text}\n")


class Reporting:
    """The controller's side, registered only where a report was asked for."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self._tests: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = self._tests.setdefault(
            report.nodeid,
            {
                "nodeid": report.nodeid, "outcome": "passed", "worker": None, "seconds": 0.0, "backend": None,
                "strands": [], "spans": [], "blocks": [], "leaks": [], "expectations": [],
            },
        )  # fmt: skip
        if report.when == "setup":
            # A test that is run again is told by its last run.
            test["outcome"] = "passed"
        if report.outcome != "passed" and test["outcome"] != "failed":
            test["outcome"] = report.outcome
        file, line, _ = report.location
        test["location"] = {"file": file.replace(os.sep, "/"), "line": (line or 0) + 1}
        # Where the worker died there is only this report: the test is listed all the same.
        test["worker"] = getattr(report, "worker_id", None)
        test.update(getattr(report, ENTRY, {}))

    def pytest_sessionfinish(self) -> None:
        for path in self._paths:
            try:
                write(path, self._rendered(report_suffix(path)))
            except OSError as error:
                pytest.exit(f"--concurrency-report={path}: cannot be written: {error}", pytest.ExitCode.USAGE_ERROR)

    def _rendered(self, suffix: str | None) -> str:
        tests = list(self._tests.values())
        if suffix == ".html":
            return html.document(tests, _version())
        if suffix == ".trace.json":
            return chrome_trace.document(tests)
        if suffix == ".sarif":
            return sarif.document(tests, _version())
        private = ("drawing", "location")
        return json.document({key: test[key] for key in test if key not in private} for test in tests)


def _version() -> str:
    try:
        return metadata.version("pytest-concurrency-check")
    except metadata.PackageNotFoundError:
        # A bare checkout.
        return "0"


def write(path: Path, text: str) -> None:
    """Write *text* to *path* in one go: a reader sees the old file or the new one.

    Raises:
        OSError: It cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        # A test's name or message may have halves of surrogate pairs, which UTF-8 has no way to write.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        # mkstemp makes a private file; a report is as readable as any other file that the user writes.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
