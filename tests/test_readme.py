"""The README shows what really comes out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (file|output): (.+?) -->\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def without_figures(text: str) -> list[str]:
    """Take out what differs from run to run: times, the bars drawn from them, and the line breaks that follow both."""
    text = re.sub(r"\|[^|\n]*\|", "|", text)
    text = re.sub(r"\d+\.\d+ m?s|\d+\.\d+-|\d+\.\d+s", "0", text)
    # The signs that are explained are those that were drawn.
    text = re.sub(r"^  \S running.*$", "", text, flags=re.MULTILINE)
    return text.split()


@pytest.mark.parametrize(
    ("command", "expected"),
    [pytest.param(what, text, id=what) for kind, what, text in BLOCK.findall(README) if kind == "output"],
)
def test_the_output_in_the_readme_is_what_comes_out(
    command: str,
    expected: str,
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for kind, name, text in BLOCK.findall(README):
        if kind == "file":
            (pytester.path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")

    # Plugins that happen to be installed print lines of their own.
    result = inner("-p", "no:asyncio", "-p", "no:anyio", *shlex.split(command)[1:])

    assert without_figures(result.stdout.str()) == without_figures(expected)


def test_the_example_about_virtual_time_runs(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    guide = Path(__file__).parent.parent / "docs" / "virtual_time.md"
    files = [(name, text) for _, name, text in BLOCK.findall(guide.read_text(encoding="utf-8"))]
    for name, text in files:
        (pytester.path / name).write_text(text, encoding="utf-8")

    assert files
    inner("-p", "no:asyncio", "-p", "no:anyio").assert_outcomes(passed=len(files))
