"""Findings as properties of a test case, for JUnit XML. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .._judge.blocking import Finding
    from .messages import Page

Property = tuple[str, str]


def of_blocks(found: Iterable[Finding], page: Page) -> list[Property]:
    """Return a property for each place that blocked a loop."""
    properties = []
    for finding in found:
        facts = [f"{finding.count} time{'s' * (finding.count != 1)}"]
        if finding.seconds is not None:
            facts.append(f"{finding.seconds:.3f} s")
        text = f"{finding.call} at {page.at(finding.place)} ({finding.kind}, {', '.join(facts)})"
        properties.append(("concurrency_blocking", text))
    return properties


def of_entry(entry: Mapping[str, Any]) -> list[Property]:
    """Return a property for each expectation of a test, `held` or its first line, and for each leak."""
    properties = [
        (
            f"concurrency_{expectation['marker']}",
            "held" if expectation["held"] else expectation["message"].partition("\n")[0] or "broken",
        )
        for expectation in entry["expectations"]
    ]
    for leak in entry["leaks"]:
        at = f" at {leak['file']}:{leak['line']}" if leak["file"] is not None else ""
        properties.append(("concurrency_leak", f"{leak['kind']} {leak['name']}{at}"))
    return properties
