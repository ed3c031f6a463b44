"""Watch the calls of a target: a span for each, held at the door where a verdict needs it."""

from __future__ import annotations

import functools
import inspect
import sys
from contextlib import ExitStack, contextmanager
from types import CoroutineType, FunctionType
from typing import TYPE_CHECKING, Any

from .._trace import Outcome, Place
from .targets import Resolved, TargetError
from .trampoline import kind_of, trampoline

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
    from types import FrameType

    from .door import Doors
    from .recorder import LiveSpan, Recorder


@contextmanager
def watch(target: Resolved, recorder: Recorder, doors: Doors) -> Iterator[None]:
    """Record every call of *target* as a span that carries its name.

    Raises:
        TargetError: Nothing can be hung on the target.
    """
    calls = Calls(target.name, recorder, doors)
    with ExitStack() as undo:
        if target.function is not None:
            _swap_code(target.function, calls, undo)
        else:
            _replace_attribute(target, calls, undo)
        yield


def _place_of(function: Callable[..., Any]) -> Place:
    code = function.__code__
    return Place(code.co_filename, code.co_firstlineno, code.co_qualname)


def _swap_code(function: FunctionType, calls: Calls, undo: ExitStack) -> None:
    code = function.__code__
    calls.place = _place_of(function)
    calls.original = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    calls.original.__kwdefaults__ = function.__kwdefaults__
    kind = kind_of(function)
    if kind == "plain" and getattr(function, "__tornado_coroutine__", False):
        kind, calls.place = "tornado", _place_of(inspect.unwrap(function))
    function.__code__ = trampoline(function, calls.hook(kind))
    undo.callback(setattr, function, "__code__", code)


def _replace_attribute(target: Resolved, calls: Calls, undo: ExitStack) -> None:
    original = inspect.getattr_static(target.owner, target.attribute)
    calls.original = original
    run = calls.hook("coroutine" if inspect.iscoroutinefunction(original) else "plain")

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    if inspect.iscoroutinefunction(original):
        inspect_mark = getattr(inspect, "markcoroutinefunction", None)  # from 3.12 on
        if inspect_mark is not None:
            inspect_mark(wrapper)
    # Code that took the function by name before (`from shop import fetch`) holds the same object.
    owners = [(target.owner, target.attribute)]
    for module in tuple(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict) and names is not getattr(target.owner, "__dict__", None):
            owners += [(module, name) for name, value in tuple(names.items()) if value is original]
    for owner, name in owners:
        try:
            setattr(owner, name, wrapper)
        except (AttributeError, TypeError) as error:
            raise TargetError(
                f"target {target.name!r} is written in C and cannot be watched ({error}):"
                " watch a Python function that calls it"
            ) from None
        undo.callback(setattr, owner, name, original)


class Calls:
    """What happens around each call of one target."""

    def __init__(self, name: str, recorder: Recorder, doors: Doors) -> None:
        self.name = name
        self.place: Place | None = None
        self.original: Callable[..., Any]
        self._recorder = recorder
        self._doors = doors

    def hook(self, kind: str) -> Callable[..., Any]:
        return {
            "plain": self._plain,
            "coroutine": self._coroutine,
            "generator": self._generator,
            "async generator": self._async_generator,
            "tornado": self._tornado,
        }[kind]

    def begin(self, frame: FrameType | None) -> LiveSpan:
        live = self._recorder.begin(self.name, caller=frame, place=self.place)
        if self._doors.doors:
            self._doors.entered(live)
        return live

    def end(self, live: LiveSpan) -> None:
        self._recorder.end(live)
        if self._doors.doors:
            self._doors.left(live)

    def may_be_held(self, live: LiveSpan) -> bool:
        """Tell whether a verdict is open that this call could settle."""
        return any(not door.settled and live.name in door.rule.targets for door in self._doors.doors)

    async def hold(self, live: LiveSpan, outcome: Outcome, pending: BaseException | None = None) -> None:
        """Say that the work is done, and wait at the door as long as a verdict needs it."""
        self._recorder.done(live, outcome)
        await self._doors.hold(live, pending)

    def _plain(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        recorder = self._recorder
        if not recorder.is_here:
            return self.original(*args, **kwargs)
        try:
            caller = sys._getframe(2)
        except ValueError:
            caller = None
        live = recorder.begin(self.name, caller, self.place)
        doors = self._doors if self._doors.doors else None
        try:
            if doors is not None:
                doors.entered(live)
                doors.hold_at_start(live)
            result = self.original(*args, **kwargs)
        except BaseException as error:
            self._leave(live, outcome_of(error), error)
            raise
        if type(result) is CoroutineType:
            # A decorator's plain wrapper around a coroutine function: the call lasts until it has been awaited.
            return self.awaited(live, result)
        if doors is None:
            recorder.returned(live)
        else:
            self._leave(live, "returned")
        return result

    def _tornado(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        from . import tornado

        return tornado.call(self, self._recorder, args, kwargs, _caller())

    def _leave(self, live: LiveSpan, outcome: Outcome, error: BaseException | None = None) -> None:
        """End a call that nobody awaits."""
        self._recorder.done(live, outcome)
        try:
            # Ctrl-C and the like want out.
            if self._doors.doors and (error is None or isinstance(error, Exception)):
                self._doors.hold_plain(live)
        finally:
            self.end(live)

    async def _coroutine(self, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return await self.awaited(self.begin(_caller()), self.original(*args, **kwargs))

    async def awaited(self, live: LiveSpan, coroutine: Awaitable[Any]) -> Any:
        """Wait for the rest of a call, and at the door."""
        __tracebackhide__ = True
        try:
            result = await coroutine
            await self.hold(live, "returned")
        except GeneratorExit:
            if live.done is None:
                self._recorder.done(live, "closed")
            raise
        except BaseException as error:
            if live.done is None:
                await self.hold(live, outcome_of(error), error)
            raise
        finally:
            self.end(live)
        return result

    def _generator(self, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        __tracebackhide__ = True
        live = self.begin(_caller())
        outcome: Outcome = "closed"
        try:
            result = yield from self.original(*args, **kwargs)
            outcome = "returned"
        except GeneratorExit:
            raise
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            self._recorder.done(live, outcome)
            self.end(live)
        return result

    def _async_generator(self, *args: Any, **kwargs: Any) -> AsyncGeneratorCall:
        return AsyncGeneratorCall(self, self.original(*args, **kwargs), self.begin(_caller()))


class AsyncGeneratorCall:
    """One run of a watched async generator, from its first step to its end (see the template in `trampoline`)."""

    def __init__(self, calls: Calls, generator: AsyncGenerator[Any, Any], live: LiveSpan) -> None:
        self.generator = generator
        self._calls = calls
        self._live = live

    async def returned(self) -> None:
        await self._calls.hold(self._live, "returned")

    async def failed(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            self._calls._recorder.done(self._live, "closed")
        else:
            await self._calls.hold(self._live, outcome_of(error), error)

    def end(self) -> None:
        self._calls.end(self._live)


def _caller() -> FrameType | None:
    """Return the frame that called the watched function: above this one stand the hook and the trampoline."""
    # It may be none: a greenlet or a thread can begin with the function itself.
    return sys._getframe(2).f_back


def outcome_of(error: BaseException) -> Outcome:
    """Return how a call that ended with *error* ended; no event loop is imported to find out."""
    libraries = ("asyncio", "trio", "concurrent", "greenlet")
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__.partition(".")[0] in libraries}
    return "cancelled" if names & {"CancelledError", "Cancelled", "GreenletExit"} else "raised"
