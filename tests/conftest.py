"""How a test runs pytest in a process of its own, with this plugin in it as a user has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
IS_INSTALLED = any(entry.name == "pytest_concurrency" for entry in entry_points(group="pytest11"))
# A run that hangs is a failure with its output, not a build that never ends.
TIME_OUT = 240.0

if not IS_INSTALLED and str(ROOT) not in sys.path:
    # `pytest` in a bare checkout, where `python -m pytest` would have put it there.
    sys.path.insert(0, str(ROOT))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What a shell runs in the background ignores Ctrl-C, and so would every process that is started here to be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Inner(Protocol):
    """Runs pytest in a process of its own, in pytester's folder."""

    def __call__(self, *args: str | os.PathLike[str]) -> pytest.RunResult: ...


@pytest.fixture(scope="session")
def inner_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment variables with which a Python of its own has the plugin.

    In a bare checkout the plugin's metadata is written to a folder on PYTHONPATH: pytest then loads it by its entry
    point, as it does where it is installed, and `-p no:pytest_concurrency` and xdist work the same.
    """
    # The outer run's own affairs: its options, its worker's name, its wish for colours.
    private = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_", "PYTEST_CURRENT", "FORCE_COLOR", "COLUMNS", "CI")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    if not IS_INSTALLED:
        site = tmp_path_factory.mktemp("site")
        metadata = site / "pytest_concurrency_check-0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-concurrency-check\nVersion: 0\n")
        (metadata / "entry_points.txt").write_text("[pytest11]\npytest_concurrency = pytest_concurrency.plugin\n")
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(site), *([before] if before else [])])
    return environment


@pytest.fixture
def inner(
    pytester: pytest.Pytester, inner_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pytest.RunResult]:
    """Return a function that runs pytest in pytester's folder, in a process of its own, with the plugin loaded."""
    pytesters_own = {"HOME", "USERPROFILE", "PYTEST_DEBUG_TEMPROOT", "PY_COLORS"}
    for name in set(os.environ) - set(inner_environment) - pytesters_own:
        monkeypatch.delenv(name)
    if "PYTHONPATH" in inner_environment:
        monkeypatch.setenv("PYTHONPATH", inner_environment["PYTHONPATH"])

    def run(*args: str | os.PathLike[str]) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *args, timeout=TIME_OUT)

    return run


@pytest.fixture
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the detector of the outer run rest: two of them would keep each other from looking in time."""
    plugin = request.config.pluginmanager.get_plugin("pytest_concurrency")
    run = request.config.stash[plugin._blocking_key] if plugin is not None else None
    guard = run._guard if run is not None else None
    if guard is not None:
        guard.remove()
    yield
    if guard is not None:
        guard.install()


@pytest.fixture(scope="session")
def run_pytest(inner_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs pytest in a folder: for fixtures that live longer than one test."""

    def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={folder}/.tmp", *args]
        return subprocess.run(
            command,
            cwd=folder,
            env={**inner_environment, "PY_COLORS": "0", "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=TIME_OUT,
            check=False,
        )

    return run


@pytest.fixture
def run_python(inner_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a piece of Python in a process of its own, with the plugin at hand."""

    def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args, "-c", code],
            env=inner_environment,
            capture_output=True,
            text=True,
            timeout=TIME_OUT,
            check=False,
        )

    return run
