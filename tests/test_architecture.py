"""Who may import whom: record, then judge, then draw."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pytest_concurrency

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

PACKAGE = Path(pytest_concurrency.__file__).parent
# Room -> what it may import of the rest of the package while the program runs; itself goes without saying.
ROOMS: dict[str, set[str]] = {
    "_trace": set(),
    "_originals": set(),
    "_sequence": {"_originals"},
    "_imports": set(),
    "_patching": set(),
    "_frames": {"_originals"},
    "_folder": set(),
    "_descriptors": set(),
    "_errors": set(),
    "_settings": set(),
    "_markers": set(),
    "_allow": set(),
    "_places": {"_trace", "_frames"},
    "_hang": {"_trace"},
    "_judge": {"_trace", "_hang", "_allow"},
    "_show": {"_trace", "_hang", "_judge"},
    "_record": {
        *("_trace", "_places", "_originals", "_sequence", "_imports", "_patching", "_frames", "_folder"),
        "_descriptors",
    },
    "_autopsy": {"_trace", "_hang", "_places", "_originals", "_patching", "_frames", "_folder", "_record"},
    "_blocking": {
        *("_trace", "_places", "_originals", "_sequence", "_imports", "_patching", "_frames"),
        *("_errors", "_settings", "_allow", "_descriptors"),
    },
    "_leaks": {"_trace", "_places", "_originals", "_imports", "_patching", "_frames", "_record"},
    "_virtual_time": {"_imports", "_patching", "_frames"},
    "_inheritance": {"_trace", "_places", "_imports", "_patching"},
}
# What has to do with the run that pytest does; everything else can be used and tested without it.
MEETS_PYTEST = {
    *("plugin", "_settings", "_errors", "_timing", "_reporting", "_warning"),
    *("_start_methods", "_hang_run", "_phases", "_item"),
}
LOOPS = {"asyncio", "trio", "anyio", "uvloop", "gevent", "tornado"}
RUNS_ON = {"tornado": "asyncio"}
# Imports the loops' libraries in functions that run when the program under test has imported them.
MEETS_SEVERAL_LOOPS = {"_blocking.turns", "_record.thread_strands"}
# A table of words, which everybody may read: it imports nothing.
TABLES = {"_blocking.kinds"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__") or "__init__", path


def imports(path: Path, name: str) -> Iterator[tuple[str, bool]]:
    """Yield each module that is imported while the program runs, and whether that is at the top of the file."""

    def visit(nodes: list[ast.stmt], *, at_top: bool) -> Iterator[tuple[str, bool]]:
        for node in nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from visit(node.orelse, at_top=at_top)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, at_top) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                for each in _absolute(node, name, is_package=path.stem == "__init__"):
                    yield each, at_top
            else:
                inside = not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                children = [
                    child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, ast.excepthandler))
                ]
                yield from visit(children, at_top=at_top and inside)  # type: ignore[arg-type]

    yield from visit(ast.parse(path.read_text(encoding="utf-8")).body, at_top=True)


def _absolute(node: ast.ImportFrom, name: str, *, is_package: bool) -> list[str]:
    if not node.level:
        return [node.module or ""]
    package = name.split(".") if is_package else name.split(".")[:-1]
    base = ["pytest_concurrency", *package[: len(package) - (node.level - 1)]]
    if node.module:
        return [".".join([*base, node.module])]
    return [".".join([*base, alias.name]) for alias in node.names]


def room_of(module: str) -> str:
    return module.removeprefix("pytest_concurrency.").partition(".")[0]


MODULES = [pytest.param(name, path, id=name) for name, path in modules()]


@pytest.mark.parametrize(("name", "path"), MODULES)
def test_a_room_imports_only_what_lies_before_it(name: str, path: Path) -> None:
    room = room_of(name)
    if room not in ROOMS:
        return
    ours = {
        room_of(module)
        for module, _ in imports(path, name)
        if module.startswith("pytest_concurrency.") and module.removeprefix("pytest_concurrency.") not in TABLES
    }

    assert ours - {room} <= ROOMS[room]


@pytest.mark.parametrize(("name", "path"), MODULES)
def test_only_what_has_to_do_with_the_run_imports_pytest(name: str, path: Path) -> None:
    uses_pytest = any(module.partition(".")[0] in ("pytest", "_pytest", "pluggy") for module, _ in imports(path, name))

    assert (
        not uses_pytest
        or name in MEETS_PYTEST
        or name.startswith(("_leaks_run", "_blocking_run", "_blocking_baseline", "_blocking_rules"))
    )


@pytest.mark.parametrize(("name", "path"), MODULES)
def test_an_event_loops_library_is_imported_in_its_own_modules_only(name: str, path: Path) -> None:
    own = name.rpartition(".")[2].partition("_")[0]
    for module, at_top in imports(path, name):
        library = module.partition(".")[0]
        if library in LOOPS and library not in (own, RUNS_ON.get(own)):
            # uvloop and anyio run on asyncio, and are looked at from there once they have been imported.
            assert not at_top
            assert own == "asyncio" or name in MEETS_SEVERAL_LOOPS


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_imports_nothing_of_ours(name: str) -> None:
    path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")

    assert not any(module.startswith("pytest_concurrency") for module, _ in imports(path, name))


def test_every_room_is_there() -> None:
    assert {name.partition(".")[0] for name, _ in modules()} >= ROOMS.keys()


@pytest.mark.parametrize("module", ["pytest_concurrency", "pytest_concurrency.plugin"])
def test_importing_the_plugin_loads_no_event_loop(
    module: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(f"import sys, {module}; print(sorted({LOOPS!r} & set(sys.modules)))")

    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_suite_that_needs_no_event_loop_gets_none(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        f"""
        import sys

        def test_it(request):
            if request.config.pluginmanager.has_plugin("pytest_concurrency"):
                request.getfixturevalue("concurrency")
            print("LOADED", sorted({LOOPS!r} & set(sys.modules)))
        """,
        # The fixture is asked for late, and a marker makes the test a recorded one.
        conftest="""
        import pytest

        def pytest_collection_modifyitems(config, items):
            if config.pluginmanager.has_plugin("pytest_concurrency"):
                items[0].fixturenames.append("concurrency")
        """,
    )
    # These plugins import their loops.
    others = ("asyncio", "anyio", "trio", "xdist", "aiohttp")
    args = ["-s", *(arg for name in others for arg in ("-p", f"no:{name}"))]

    def loaded(*more: str) -> list[str]:
        result = inner(*args, *more)
        result.assert_outcomes(passed=1)
        return [line.partition("LOADED")[2] for line in result.outlines if "LOADED" in line]

    # From 3.14 on the standard library's debugger, which pytest imports, brings asyncio along.
    assert loaded() == loaded("-p", "no:pytest_concurrency")


def test_every_public_name_is_there() -> None:
    for name in pytest_concurrency.__all__:
        assert getattr(pytest_concurrency, name) is not None
    with pytest.raises(AttributeError, match="module 'pytest_concurrency' has no attribute 'no_such_name'"):
        _ = pytest_concurrency.no_such_name


def test_public_classes_say_that_they_are() -> None:
    for name in pytest_concurrency.__all__:
        public = getattr(pytest_concurrency, name)
        if isinstance(public, type) and issubclass(public, (BaseException, Warning)):
            assert public.__module__ == "pytest_concurrency"
