"""Options and ini values, read once into frozen objects. Every error names the option, the value and its place."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Named tuples: what is made at every start of pytest has to be made fast.
BLOCKING_MODES = ("off", "warn", "fail", "raise")
LEAKS_MODES = ("off", "warn", "fail")
KINDS = (
    *("sleep", "lock", "queue", "join", "socket", "dns", "subprocess", "file"),
    *("database", "input", "import", "cpu", "wait"),
)
# Opening a small file takes microseconds and every program does it: these count from the threshold on.
KINDS_PAST_THRESHOLD = frozenset({"file", "import"})
# The longest first: `.trace.json` is no `.json`.
REPORT_SUFFIXES = (".trace.json", ".json", ".html", ".sarif")


class Blocking(NamedTuple):
    """What counts as a block, and what happens then."""

    mode: str = "warn"
    threshold: float = 0.1
    """Seconds from which on CPU work and unnamed waits count."""
    kinds: frozenset[str] = frozenset(KINDS)
    past_threshold: frozenset[str] = KINDS_PAST_THRESHOLD
    """Those of *kinds* that count only past the threshold, though they have a name."""
    allow: tuple[str, ...] = ()
    baseline: Path | None = None
    """The file of places that are known to block."""
    baseline_update: bool = False


class Leaks(NamedTuple):
    """What happens about what tests leave behind."""

    mode: str = "off"
    allow: tuple[str, ...] = ()


class Settings(NamedTuple):
    """What one run was asked for."""

    blocking: Blocking = Blocking()
    leaks: Leaks = Leaks()
    reports: tuple[Path, ...] = ()
    timeline: bool = False
    junit: bool = False
    """Pytest writes JUnit XML."""
    html: bool = False
    """The plugin pytest-html writes its report."""

    @property
    def watches_all(self) -> bool:
        """Whether every test has something done for it, whatever it is."""
        blocking = self.blocking
        fails = blocking.mode in ("fail", "raise") or blocking.baseline is not None
        return fails or self.leaks.mode != "off" or self.records_all

    @property
    def records_all(self) -> bool:
        """Whether every test is recorded."""
        return bool(self.reports) or self.timeline


def add_options(parser: pytest.Parser) -> None:
    """Declare the command line options and ini values."""
    group = parser.getgroup("concurrency", "concurrency (pytest_concurrency)")
    group.addoption(
        "--blocking",
        dest="concurrency_blocking",
        metavar="MODE",
        default=None,
        help="What to do about calls that block an event loop: off, warn, fail or raise (default: warn)",
    )
    group.addoption(
        "--blocking-baseline",
        dest="concurrency_blocking_baseline",
        metavar="FILE",
        default=None,
        help="Forgive the blocking calls that FILE lists and fail on new ones",
    )
    group.addoption(
        "--blocking-baseline-update",
        dest="concurrency_blocking_baseline_update",
        action="store_true",
        default=False,
        help="Write the file of --blocking-baseline anew with what this run finds",
    )
    group.addoption(
        "--leaks",
        dest="concurrency_leaks",
        metavar="MODE",
        default=None,
        help="What to do about what a test starts and leaves behind: off, warn or fail (default: off)",
    )
    group.addoption(
        "--concurrency-report",
        dest="concurrency_report",
        metavar="PATH",
        action="append",
        default=[],
        help="Write what was recorded to PATH, which ends in .html, .json, .trace.json or .sarif (may be given more"
        " than once)",
    )
    group.addoption(
        "--concurrency-timeline",
        dest="concurrency_timeline",
        action="store_true",
        default=False,
        help="Draw the timeline of passing tests too",
    )
    parser.addini("concurrency_blocking", "Default of --blocking", default="warn")
    # Taken as strings: pytest's own conversion error does not name the option.
    parser.addini(
        "concurrency_block_threshold",
        "Seconds from which on CPU work and unnamed waits count as a block",
        default="0.1",
    )
    parser.addini(
        "concurrency_blocking_kinds",
        f"Which kinds of block count: {' '.join(KINDS)}",
        type="args",
        default=[],
    )
    parser.addini(
        "concurrency_allow_blocking",
        "Code that may block: package.module, package.module:function, a path glob, or call@place",
        type="linelist",
        default=[],
    )
    parser.addini("concurrency_leaks", "Default of --leaks", default="off")
    parser.addini(
        "concurrency_allow_leaks",
        "What may be left behind: a name such as Thread-*, package.module:function, or a path glob",
        type="linelist",
        default=[],
    )


def read(config: pytest.Config) -> Settings:
    """Return the settings of this run.

    Raises:
        pytest.UsageError: A value is malformed.
    """
    return Settings(
        blocking=_read_blocking(config),
        leaks=_read_leaks(config),
        reports=tuple(_report_path(config, path) for path in config.getoption("concurrency_report")),
        timeline=config.getoption("concurrency_timeline"),
        junit=bool(config.getoption("xmlpath", None)),
        html=bool(config.pluginmanager.has_plugin("html") and config.getoption("htmlpath", None)),
    )


def _read_blocking(config: pytest.Config) -> Blocking:
    option = config.getoption("concurrency_blocking")
    where_mode, mode = ("--blocking", option) if option is not None else _ini(config, "concurrency_blocking")
    if mode not in BLOCKING_MODES:
        raise pytest.UsageError(f"{where_mode} = {mode!r}: expected one of {', '.join(BLOCKING_MODES)}")
    where, threshold = _ini(config, "concurrency_block_threshold")
    where_kinds, kinds = _ini(config, "concurrency_blocking_kinds")
    try:
        seconds = parse_seconds(threshold)
    except ValueError as error:
        raise pytest.UsageError(f"{where} = {threshold!r}: {error}") from None
    try:
        chosen, past = parse_kinds(kinds)
    except ValueError as error:
        raise pytest.UsageError(f"{where_kinds}: {error}") from None
    baseline = config.getoption("concurrency_blocking_baseline")
    update = config.getoption("concurrency_blocking_baseline_update")
    if update and baseline is None:
        raise pytest.UsageError("--blocking-baseline-update: say which file, with --blocking-baseline=FILE")
    if baseline is not None and mode == "off":
        raise pytest.UsageError(f"--blocking-baseline={baseline}: nothing is looked for, since {where_mode} = 'off'")
    return Blocking(
        mode=mode,
        threshold=seconds,
        kinds=chosen,
        past_threshold=past,
        allow=tuple(config.getini("concurrency_allow_blocking")),
        baseline=config.invocation_params.dir / baseline if baseline is not None else None,
        baseline_update=update,
    )


def _read_leaks(config: pytest.Config) -> Leaks:
    option = config.getoption("concurrency_leaks")
    where, mode = ("--leaks", option) if option is not None else _ini(config, "concurrency_leaks")
    if mode not in LEAKS_MODES:
        raise pytest.UsageError(f"{where} = {mode!r}: expected one of {', '.join(LEAKS_MODES)}")
    return Leaks(mode, tuple(config.getini("concurrency_allow_leaks")))


def parse_seconds(value: object) -> float:
    """Return *value* as a positive number of seconds.

    Raises:
        ValueError: It is none.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]  # whatever float() refuses is refused here
    except (TypeError, ValueError):
        seconds = math.nan
    if isinstance(value, bool) or not 0 < seconds < math.inf:
        raise ValueError("expected seconds, such as 0.1")
    return seconds


def parse_kinds(value: object) -> tuple[frozenset[str], frozenset[str]]:
    """Return the kinds that count, and those of them that count only past the threshold.

    An empty *value* means the default. A kind that is asked for by name counts from its first call on.

    Raises:
        ValueError: A kind is unknown.
    """
    words = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
    names = [name for word in words for name in str(word).replace(",", " ").split()]
    for name in names:
        if name not in KINDS:
            raise ValueError(f"{name!r} is not a kind of block: expected some of {' '.join(KINDS)}")
    if not names:
        return frozenset(KINDS), KINDS_PAST_THRESHOLD
    return frozenset(names), frozenset()


def _ini(config: pytest.Config, name: str) -> tuple[str, Any]:
    place = f" in {config.inipath.name}" if config.inipath is not None else ""
    return f"{name}{place}", config.getini(name)


def _report_path(config: pytest.Config, given: str) -> Path:
    path = config.invocation_params.dir / given
    if report_suffix(path) is None:
        expected = f"{', '.join(REPORT_SUFFIXES[:-1])} or {REPORT_SUFFIXES[-1]}"
        raise pytest.UsageError(f"--concurrency-report={given}: expected a path that ends in {expected}")
    if not path.parent.is_dir():
        raise pytest.UsageError(f"--concurrency-report={given}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise pytest.UsageError(f"--concurrency-report={given}: that is a folder")
    try:
        # Now, and not when all tests have run.
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise pytest.UsageError(f"--concurrency-report={given}: cannot be written: {error.strerror}") from None
    return path


def report_suffix(path: Path) -> str | None:
    """Return which of `REPORT_SUFFIXES` *path* has; None for any other."""
    # A file that is called `.json` has none.
    name = path.name[1:]
    return next((suffix for suffix in REPORT_SUFFIXES if name.endswith(suffix)), None)
