"""The plugin inside a run of pytest: outcomes, texts, other plugins, and the ways in which a run ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SHOP = """
async def fetch(number=0):
    return number
"""
HEAD = """
import asyncio
import pytest
from shop import fetch

async def together():
    await asyncio.gather(fetch(1), fetch(2))

async def in_turn():
    await fetch(1)
    await fetch(2)

"""


@pytest.fixture
def make(pytester: pytest.Pytester) -> Callable[[str], None]:
    """Return a function that writes a test file after a common head."""

    def write(body: str) -> None:
        pytester.makepyfile(shop=SHOP, test_it=HEAD + body)

    return write


def test_a_verdict_is_shown_without_a_traceback(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')

    result = inner()

    result.assert_outcomes(failed=1)
    # Not line by line: how a paragraph is wrapped depends on how long the machine took.
    result.stdout.fnmatch_lines(
        [
            "*_ test_it _*",
            "expected 2 calls of shop:fetch at once, saw at most 1",
            "",
            "  fetch#1 Task-* |*| 0.0*-* *s",
            "  fetch#2 Task-* |*| *-* *s",
            "  * running   * done, held for the proof",
            "",
            "fetch#1: held at the end for * ms, until nothing else in the program*",
            "",
            "Awaited one after the other: test_it.py:10 in in_turn waits for each call to end",
            "before the next one starts.",
            "",
            "Start all of them before waiting for any: asyncio.gather() or an",
            "asyncio.TaskGroup.",
            "*= short test summary info =*",
            "FAILED test_it.py::test_it - expected 2 calls of shop:fetch at once, saw at m*",
        ]
    )
    result.stdout.no_fnmatch_line("*Error*")


def test_an_ascii_terminal_gets_ascii(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    result = inner()

    result.stdout.fnmatch_lines(["  # running   . done, held for the proof"])
    assert result.stdout.str().isascii()


def test_two_verdicts_of_one_test_are_both_told(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make(
        '@pytest.mark.must_overlap("shop:fetch")\n@pytest.mark.must_overlap("shop:fetch", at_least=3)\n'
        "def test_it(): asyncio.run(in_turn())"
    )

    result = inner()

    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("\nexpected ") == 2


def test_the_bodys_own_failure_comes_before_any_verdict(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it():\n    asyncio.run(in_turn())\n    assert 1 == 2')

    result = inner()

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("E*assert 1 == 2")
    result.stdout.no_fnmatch_line("*at once*")


def test_skip_and_xfail_in_the_body_pass(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    make(
        """
pytestmark = pytest.mark.must_overlap("shop:fetch")

def test_skip(): pytest.skip("not today")
def test_xfail(): pytest.xfail("not yet")
def test_importorskip(): pytest.importorskip("no_such_module")
"""
    )

    inner().assert_outcomes(skipped=2, xfailed=1)


def test_a_verdict_may_be_expected_to_fail(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    make(
        """
@pytest.mark.xfail(strict=True)
@pytest.mark.must_overlap("shop:fetch")
def test_broken(): asyncio.run(in_turn())

@pytest.mark.xfail(raises=AssertionError, strict=True)
@pytest.mark.must_overlap("shop:fetch")
def test_broken_in_its_own_way(): asyncio.run(in_turn())

@pytest.mark.xfail(strict=True)
@pytest.mark.must_overlap("shop:fetch")
def test_held(): asyncio.run(together())
"""
    )

    inner().assert_outcomes(xfailed=2, failed=1)


def test_a_skipped_test_is_not_judged(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    make('@pytest.mark.skip\n@pytest.mark.must_overlap("shop:no_such")\ndef test_it(): pass')

    inner().assert_outcomes(skipped=1)


def test_each_parameter_is_judged_by_itself(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make(
        """
@pytest.mark.must_overlap("shop:fetch")
@pytest.mark.parametrize("run", [together, in_turn])
def test_it(run): asyncio.run(run())
"""
    )

    inner().assert_outcomes(passed=1, failed=1)


def test_a_target_may_come_from_a_fixture(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    make(
        """
import sys, types

@pytest.fixture
def module():
    made = types.ModuleType("made_by_a_fixture")
    made.fetch = fetch
    sys.modules["made_by_a_fixture"] = made
    yield
    del sys.modules["made_by_a_fixture"]

@pytest.mark.must_overlap("made_by_a_fixture:fetch")
def test_it(module): asyncio.run(together())
"""
    )

    inner().assert_outcomes(passed=1)


def test_errors_on_every_warning_change_nothing(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make(
        """
@pytest.mark.must_overlap("shop:fetch")
def test_held(): asyncio.run(together())

@pytest.mark.must_overlap("shop:fetch")
def test_broken(): asyncio.run(in_turn())
"""
    )

    inner("-W", "error", "-p", "no:asyncio").assert_outcomes(passed=1, failed=1)


def test_plain_assertions_change_nothing(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')

    result = inner("--assert=plain")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("expected 2 calls of shop:fetch at once, saw at most 1")


def test_verdicts_are_the_same_in_workers(make: Callable[[str], None], inner: Callable[..., pytest.RunResult]) -> None:
    pytest.importorskip("xdist")
    make(
        """
@pytest.mark.must_overlap("shop:fetch")
@pytest.mark.parametrize("number", range(5))
def test_held(number): asyncio.run(together())

@pytest.mark.must_overlap("shop:fetch")
@pytest.mark.parametrize("number", range(5))
def test_broken(number): asyncio.run(in_turn())
"""
    )

    result = inner("-n2")

    result.assert_outcomes(passed=5, failed=5)
    assert result.stdout.str().count("Awaited one after the other: test_it.py:10 in in_turn") == 5
    result.stdout.fnmatch_lines("FAILED test_it.py::test_broken* - expected 2 calls of shop:fetch*")


def test_the_debugger_is_entered_at_a_verdict(
    make: Callable[[str], None], pytester: pytest.Pytester, inner_environment: dict[str, str]
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')

    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--pdb", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        env=inner_environment,
        input="continue\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "expected 2 calls of shop:fetch at once, saw at most 1" in result.stdout
    assert "(Pdb)" in result.stdout
    assert "INTERNALERROR" not in result.stdout + result.stderr


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native", "no"])
def test_every_traceback_style_shows_a_verdict_in_its_way(
    style: str, make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')

    result = inner(f"--tb={style}")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("FAILED test_it.py::test_it - expected 2 calls of shop:fetch*")


def test_junit_xml_has_the_verdict(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(in_turn())')

    inner("--junit-xml=junit.xml")

    assert "expected 2 calls of shop:fetch at once, saw at most 1" in (pytester.path / "junit.xml").read_text("utf-8")


def test_passing_tests_show_their_timeline_on_demand(
    make: Callable[[str], None], inner: Callable[..., pytest.RunResult]
) -> None:
    make('@pytest.mark.must_overlap("shop:fetch")\ndef test_it(): asyncio.run(together())')

    result = inner("--concurrency-timeline")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  fetch#1 Task-* |*|*s", "  fetch#2 Task-* |*|*s"])


# What runs in the background has Ctrl-C ignored, and so have its children.
INTERRUPTIBLE = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.console_main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send there")
def test_ctrl_c_ends_the_run_and_a_held_call_does_not_stop_it(
    make: Callable[[str], None],
    pytester: pytest.Pytester,
    inner_environment: dict[str, str],
) -> None:
    make(
        """
async def wait_for_it():
    await fetch()

async def run():
    # Pending outside the program's own doing: the call is held, for as long as it is patient.
    loop = asyncio.get_running_loop()
    waiting = loop.run_in_executor(None, input.wait)
    print("RUNNING", flush=True)
    await fetch()

class Input:
    def wait(self):
        import sys
        sys.stdin.readline()

input = Input()

@pytest.mark.must_overlap("shop:fetch", patience=600)
def test_it():
    asyncio.run(run())

def test_after_it():
    raise AssertionError("must not run")
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-s", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        env=inner_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        if "RUNNING" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate("\n", timeout=60)

    assert process.returncode == pytest.ExitCode.INTERRUPTED, rest
    assert "KeyboardInterrupt" in rest
    assert "must not run" not in rest
    assert "INTERNALERROR" not in rest
