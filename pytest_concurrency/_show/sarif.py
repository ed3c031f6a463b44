"""The findings as SARIF 2.1.0, which code hosts show beside the lines they are about.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MARKERS = {
    "must_overlap": "Calls that must overlap do not",
    "must_not_overlap": "Calls that must not overlap do",
    "must_run_in_parallel": "Calls that must run in parallel do not",
    "must_not_block": "A test that must not block its event loop does",
    "must_not_leak": "A test that must leave nothing behind does",
    "must_finish_within": "A test takes longer than it may",
}


def document(tests: Iterable[Mapping[str, Any]], version: str) -> str:
    """Return the findings of all *tests* as a SARIF log; one that several tests have is one result.

    Args:
        version: This plugin's.
    """
    found: dict[tuple[object, ...], tuple[_Finding, list[str]]] = {}
    for test in tests:
        for finding in _findings(test):
            key = (finding.rule, finding.subject, finding.file, finding.line)
            nodeids = found.setdefault(key, (finding, []))[1]
            if test["nodeid"] not in nodeids:
                nodeids.append(test["nodeid"])
    rules = sorted({finding.rule for finding, _ in found.values()})
    results = [_result(rules, finding, nodeids) for finding, nodeids in found.values()]
    driver = {
        "name": "pytest_concurrency",
        "version": version,
        "rules": [{"id": rule, "name": _pascal(rule), "shortDescription": {"text": _about(rule)}} for rule in rules],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, ensure_ascii=False) + "\n"


class _Finding(NamedTuple):
    rule: str
    level: str
    text: str
    subject: str
    """What stays the same of it from run to run."""
    file: str
    line: int


def _findings(test: Mapping[str, Any]) -> Iterator[_Finding]:
    here = (test["location"]["file"], test["location"]["line"])
    for block in test["blocks"]:
        text = f"{block['call']} blocks the event loop, in {block['function']}."
        subject = f"{block['call']} in {block['function']}"
        yield _Finding(f"blocking-{block['kind']}", "warning", text, subject, *_at(block, here))
    for leak in test["leaks"]:
        text = f"The {leak['kind']} {leak['name']} is left behind."
        # Not its name, which may be a number.
        yield _Finding(f"leak-{leak['kind']}", "warning", text, "", *_at(leak, here))
    for expectation in test["expectations"]:
        if not expectation["held"]:
            text = expectation["message"] or f"{_about(expectation['marker'])}."
            yield _Finding(expectation["marker"].replace("_", "-"), "error", text, test["nodeid"], *here)


def _at(finding: Mapping[str, Any], otherwise: tuple[str, int]) -> tuple[str, int]:
    file = finding["file"]
    # There is no file called `<string>` to show it beside.
    return otherwise if file is None or file.startswith("<") else (file, finding["line"])


def _result(rules: list[str], finding: _Finding, nodeids: list[str]) -> dict[str, Any]:
    # Without the line, whose number changes whenever somebody adds an import above it.
    identity = "\0".join((finding.rule, finding.file, finding.subject))
    location = {"artifactLocation": _artifact(finding.file), "region": {"startLine": finding.line}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": finding.level,
        "message": {"text": finding.text},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"finding/v1": hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()},
        "properties": {"tests": nodeids},
    }


def _artifact(file: str) -> dict[str, str]:
    path = quote(file.replace("\\", "/"), errors="replace")
    if path.startswith("/"):
        return {"uri": f"file://{path}"}
    if file[1:2] == ":":
        return {"uri": f"file:///{file[:2]}{path[4:]}"}
    return {"uri": path, "uriBaseId": "%SRCROOT%"}


def _pascal(rule: str) -> str:
    return "".join(word.capitalize() for word in rule.split("-"))


def _about(rule: str) -> str:
    family, _, kind = rule.partition("-")
    if family == "blocking":
        return f"A call of the kind '{kind}' blocks the event loop"
    if family == "leak":
        return f"A {kind} is left behind by a test"
    return _MARKERS.get(rule.replace("-", "_"), f"{rule.replace('-', '_')} does not hold")
