"""Act when a library is imported, now or later, without importing it ourselves."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType


_unwatchable: dict[str, dict[str, str]] = {}
"""By module and by part of this plugin: why it cannot be watched, as a version in which what is needed is gone."""
_HAVE_LOOPS = ("asyncio", "trio", "gevent", "uvloop")


def unwatchable_loops() -> str:
    """Return why an event loop may have run that was not seen; empty where each can be watched."""
    found = unwatchable()
    return "; ".join(found[library] for library in _HAVE_LOOPS if library in found)


def unwatchable() -> dict[str, str]:
    """Return the modules that cannot be watched, each with the reason."""
    return {library: next(iter(parts.values())) for library, parts in _unwatchable.items() if parts}


@contextlib.contextmanager
def when_imported(
    name: str,
    callback: Callable[[], object],
    *,
    on_failure: Callable[[Exception], object] | None = None,
    strict: bool = False,
) -> Iterator[None]:
    """Call *callback* once when the module *name* is there: at once, or right after its first import.

    Nothing is left in `sys.meta_path` once the `with` block has ended.

    Args:
        on_failure: Told what the callback raises, which `unwatchable` tells from then on: the program's import goes on.
        strict: What the callback raises is meant for whoever imports the module.
    """
    if not strict:
        callback = _attempt(name, callback, on_failure)
    if name in sys.modules:
        callback()
        yield
        return
    # One for all who wait: each of several would ask the others, and those each other, for what is not installed.
    finder = next((each for each in sys.meta_path if isinstance(each, _Finder) and each.name == name), None)
    if finder is None:
        finder = _Finder(name)
        sys.meta_path.insert(0, finder)
    finder.callbacks.append(callback)
    try:
        yield
    finally:
        finder.forget(callback)


def _attempt(
    name: str, callback: Callable[[], object], on_failure: Callable[[Exception], object] | None
) -> Callable[[], object]:
    part = getattr(getattr(callback, "func", callback), "__module__", "")

    def attempt() -> None:
        try:
            callback()
        except Exception as error:
            version = vars(sys.modules.get(name.partition(".")[0], object)).get("__version__", "")
            what = f"{name} {version}".strip()
            why = f"{what} cannot be watched: {type(error).__name__}: {error}"
            _unwatchable.setdefault(name, {})[part] = why
            if on_failure is not None:
                on_failure(error)
        else:
            if name in _unwatchable:
                _unwatchable[name].pop(part, None)

    return attempt


class _Finder:
    """Finds one module as everybody else would, and calls back when it has been executed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.callbacks: list[Callable[[], object]] = []
        self._is_searching = False

    def forget(self, callback: Callable[[], object]) -> None:
        with contextlib.suppress(ValueError):
            self.callbacks.remove(callback)
        self._leave()

    def _leave(self) -> None:
        if not self.callbacks:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)

    def executed(self) -> None:
        # Not those whose `with` block has ended since, and nobody twice.
        while self.callbacks:
            self.callbacks.pop(0)()
        self._leave()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name or self._is_searching:
            return None
        # The search below must not find this finder again. It stays in place: somebody may only ask where a module is.
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]  # the two methods the import system calls
        return spec


class _Loader:
    """A module's own loader, which says when it is done and then hands the module back to it."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._finder.executed()
