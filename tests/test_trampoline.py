"""A watched function is still itself: to its callers, to `inspect`, and when the watching is over."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import traceback
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_concurrency._record.door import Doors
from pytest_concurrency._record.recorder import Recorder
from pytest_concurrency._record.targets import resolve
from pytest_concurrency._record.watch import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pytest_concurrency._trace import Span


class Watching:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    def spans(self) -> tuple[Span, ...]:
        return self._recorder.trace().spans

    @property
    def outcomes(self) -> list[str]:
        return [span.outcome for span in self.spans]


@contextmanager
def watched(*targets: object) -> Iterator[Watching]:
    recorder = Recorder()
    with ExitStack() as undo:
        for target in targets:
            undo.enter_context(watch(resolve(target), recorder, Doors(recorder)))
        yield Watching(recorder)


def every_parameter(a: int, b: int = 2, /, c: int = 3, *args: int, d: int, e: int = 5, **kwargs: int) -> Any:
    """Its words."""
    return a, b, c, args, d, e, kwargs


async def every_parameter_async(
    a: int, b: int = 2, /, c: int = 3, *args: int, d: int, e: int = 5, **kwargs: int
) -> Any:
    return a, b, c, args, d, e, kwargs


def keywords_only(*, a: int, b: int = 2) -> tuple[int, int]:
    return a, b


def positional_only(a: int, b: int = 2, /) -> tuple[int, int]:
    return a, b


def nothing() -> None:
    pass


def generate(count: int) -> Any:
    try:
        for number in range(count):
            received = yield number
            if received:
                yield received
        return "done"
    finally:
        cleaned.append("generate")


async def stream(count: int) -> AsyncIterator[Any]:
    try:
        for number in range(count):
            received = yield number
            if received:
                yield received
    finally:
        await asyncio.sleep(0)
        cleaned.append("stream")


async def failing() -> None:
    raise LookupError("lost")


async def forever() -> None:
    await asyncio.Event().wait()


cleaned: list[str] = []


@pytest.fixture(autouse=True)
def nothing_cleaned() -> None:
    cleaned.clear()


class Base:
    def greet(self, name: str) -> str:
        return f"hello {name}"

    async def greet_async(self, name: str) -> str:
        return f"hello {name}"


class Child(Base):
    def greet(self, name: str) -> str:
        return super().greet(name) + "!"

    async def greet_async(self, name: str) -> str:
        return await super().greet_async(name) + f" from {__class__.__name__}"  # type: ignore[name-defined]

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    @staticmethod
    def lone(number: int) -> int:
        return number

    def __private(self) -> int:
        return 7

    def call_private(self) -> int:
        return self.__private()


ALL: tuple[Callable[..., Any], ...] = (
    every_parameter,
    every_parameter_async,
    keywords_only,
    positional_only,
    nothing,
    generate,
    stream,
    failing,
    Child.greet,
    Child.greet_async,
)


@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__qualname__)
def test_a_watched_function_looks_as_before(function: Any) -> None:
    def looks() -> list[object]:
        return [
            inspect.signature(function),
            inspect.iscoroutinefunction(function),
            inspect.isasyncgenfunction(function),
            inspect.isgeneratorfunction(function),
            function.__name__,
            function.__qualname__,
            function.__module__,
            function.__doc__,
            function.__defaults__,
            function.__kwdefaults__,
            function.__annotations__,
            function.__closure__,
            inspect.getsource(function),
            function.__code__.co_filename,
            function.__code__.co_firstlineno,
            function.__code__.co_name,
            function.__code__.co_qualname,
            pickle.loads(pickle.dumps(function)) is function,
        ]

    before = looks()

    with watched(function):
        assert looks() == before


@pytest.mark.parametrize("function", ALL, ids=lambda function: function.__qualname__)
def test_the_same_code_object_is_back_afterwards(function: Any) -> None:
    code = function.__code__

    with watched(function):
        assert function.__code__ is not code

    assert function.__code__ is code


def test_the_same_code_object_is_back_after_an_error() -> None:
    code = nothing.__code__

    with pytest.raises(LookupError), watched(nothing):
        raise LookupError

    assert nothing.__code__ is code


def test_two_watchers_are_undone_from_the_inside_out() -> None:
    code = nothing.__code__

    with watched(nothing) as outer, watched(nothing) as inner:
        nothing()

    assert nothing.__code__ is code
    assert (outer.outcomes, inner.outcomes) == (["returned"], ["returned"])


CALLS: list[tuple[tuple[int, ...], dict[str, int]]] = [
    ((1,), {"d": 4}),
    ((1, 8, 9), {"d": 4, "e": 6}),
    ((1, 8, 9, 10, 11), {"d": 4, "f": 12}),
    ((1,), {"c": 9, "d": 4, "a": 13, "b": 14}),
]


@pytest.mark.parametrize(("args", "kwargs"), CALLS, ids=str)
def test_arguments_arrive_as_they_were_given(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    expected = every_parameter(*args, **kwargs)

    with watched(every_parameter, every_parameter_async):
        assert every_parameter(*args, **kwargs) == expected
        assert asyncio.run(every_parameter_async(*args, **kwargs)) == expected


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1,), {}), ((), {"a": 1, "d": 4}), ((1,), {"d": 4, "c": 1, "e": 1}), ((1, 2, 3), {})],
)
def test_wrong_arguments_are_refused_as_before(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    def error() -> str | None:
        try:
            every_parameter(*args, **kwargs)
        except TypeError as caught:
            return str(caught)
        return None

    before = error()

    with watched(every_parameter):
        assert error() == before


def test_defaults_that_are_changed_while_watched_are_taken() -> None:
    def greet(name: str = "you") -> str:
        return name

    with watched(greet):
        greet.__defaults__ = ("me",)

        assert greet() == "me"


def test_keyword_only_parameters_and_their_defaults() -> None:
    with watched(keywords_only):
        assert keywords_only(a=1) == (1, 2)
        assert keywords_only(b=3, a=1) == (1, 3)
        with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'a'"):
            keywords_only(b=1)  # type: ignore[call-arg]


def test_a_closure_keeps_its_cells() -> None:
    count = 0

    def count_up() -> int:
        nonlocal count
        count += 1
        return count

    with watched(count_up):
        assert [count_up(), count_up()] == [1, 2]
    assert count_up() == 3
    assert count == 3


def test_an_async_closure_keeps_its_cells() -> None:
    seen = []

    async def note(number: int) -> int:
        seen.append(number)
        return len(seen)

    with watched(note):
        assert asyncio.run(note(7)) == 1
    assert seen == [7]


def test_super_works_inside() -> None:
    with watched(Child.greet, Child.greet_async, Base.greet):
        assert Child().greet("you") == "hello you!"
        assert asyncio.run(Child().greet_async("you")) == "hello you from Child"


def test_class_methods_static_methods_and_private_names() -> None:
    with watched(Child.made, Child.lone, Child._Child__private) as watching:  # type: ignore[attr-defined]
        assert (Child.made(), Child.lone(3), Child().call_private()) == ("Child", 3, 7)
    assert len(watching.spans) == 3


def test_every_way_to_the_function_is_seen() -> None:
    bound, early, partial = Child().greet, nothing, functools.partial(nothing)

    with watched(Child.greet, nothing) as watching:
        bound("you")
        early()
        partial()
        copy.copy(nothing)()
    assert len(watching.spans) == 4


def test_a_span_says_who_called() -> None:
    with watched(nothing) as watching:
        nothing()
    span = watching.spans[0]

    assert span.caller[0].function == "test_a_span_says_who_called"
    assert span.caller[0].file == __file__
    assert span.place is not None
    assert (span.place.function, span.place.line) == ("nothing", nothing.__code__.co_firstlineno)


def test_an_exception_passes_and_ends_the_span() -> None:
    with watched(failing) as watching, pytest.raises(LookupError, match="lost") as caught:
        asyncio.run(failing())
    assert watching.outcomes == ["raised"]
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_traceback_shows_the_functions_own_line() -> None:
    with watched(failing), pytest.raises(LookupError) as caught:
        asyncio.run(failing())
    last = traceback.extract_tb(caught.value.__traceback__)[-1]

    assert (last.name, last.line) == ("failing", 'raise LookupError("lost")')


def test_a_cancellation_passes_and_ends_the_span() -> None:
    async def main() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with watched(forever) as watching:
        asyncio.run(main())
    assert watching.outcomes == ["cancelled"]


def test_a_coroutine_that_is_closed_ends_its_span() -> None:
    async def main() -> None:
        coroutine = forever()
        coroutine.send(None)
        coroutine.close()

    with watched(forever) as watching:
        asyncio.run(main())
    assert watching.outcomes == ["closed"]


def test_a_coroutine_that_is_never_awaited_is_no_call() -> None:
    with watched(forever) as watching:
        forever().close()
    assert watching.spans == ()


# Generators


def test_a_generator_yields_receives_and_returns() -> None:
    def delegate() -> Any:
        result = yield from generate(2)
        return result

    with watched(generate) as watching:
        running = delegate()
        assert [next(running), running.send("sent"), next(running)] == [0, "sent", 1]
        with pytest.raises(StopIteration) as stop:
            next(running)
    assert stop.value.value == "done"
    assert watching.outcomes == ["returned"]


def test_an_exception_is_thrown_into_a_generator() -> None:
    with watched(generate) as watching:
        running = generate(2)
        next(running)
        with pytest.raises(LookupError):
            running.throw(LookupError("in"))
    assert watching.outcomes == ["raised"]
    assert cleaned == ["generate"]


def test_a_generator_is_closed() -> None:
    with watched(generate) as watching:
        running = generate(2)
        next(running)
        running.close()
    assert watching.outcomes == ["closed"]
    assert cleaned == ["generate"]


def test_a_generators_span_lasts_from_its_first_step_to_its_end() -> None:
    with watched(generate) as watching:
        running = generate(1)
        assert watching.spans == ()
        next(running)
        assert watching.outcomes == ["open"]
        list(running)
    assert watching.outcomes == ["returned"]


# Async generators


def test_an_async_generator_yields_and_receives() -> None:
    async def main() -> None:
        running = stream(2)
        assert await anext(running) == 0
        assert await running.asend("sent") == "sent"  # type: ignore[attr-defined]
        assert [value async for value in running] == [1]

    with watched(stream) as watching:
        asyncio.run(main())
    assert watching.outcomes == ["returned"]
    assert cleaned == ["stream"]


def test_an_exception_is_thrown_into_an_async_generator() -> None:
    async def main() -> None:
        running = stream(2)
        await anext(running)
        with pytest.raises(LookupError):
            await running.athrow(LookupError("in"))  # type: ignore[attr-defined]

    with watched(stream) as watching:
        asyncio.run(main())
    assert watching.outcomes == ["raised"]
    assert cleaned == ["stream"]


def test_an_async_generator_is_closed() -> None:
    async def main() -> None:
        running = stream(2)
        await anext(running)
        await running.aclose()  # type: ignore[attr-defined]
        assert [value async for value in running] == []

    with watched(stream) as watching:
        asyncio.run(main())
    assert watching.outcomes == ["closed"]
    assert cleaned == ["stream"]


def test_an_async_generator_that_swallows_what_is_thrown_goes_on() -> None:
    async def tough() -> AsyncIterator[str]:
        while True:
            try:
                yield "next"
            except LookupError:
                yield "caught"

    async def main() -> None:
        running = tough()
        await anext(running)
        assert await running.athrow(LookupError()) == "caught"  # type: ignore[attr-defined]
        assert await anext(running) == "next"
        await running.aclose()  # type: ignore[attr-defined]

    with watched(tough):
        asyncio.run(main())


@pytest.mark.parametrize("turns", [0, 3], ids=["by the end of the loop", "by the loop"])
def test_an_async_generator_that_is_left_open_is_cleaned_up_as_before(turns: int) -> None:
    async def main() -> None:
        async for _ in stream(3):
            break
        for _ in range(turns):
            await asyncio.sleep(0)

    asyncio.run(main())
    before, cleaned[:] = cleaned.copy(), []

    with watched(stream) as watching:
        asyncio.run(main())
    assert cleaned == before
    assert watching.outcomes[0] in ("closed", "cancelled")


# Decorators


def test_the_plain_wrapper_of_a_coroutine_function_is_a_call_until_it_has_been_awaited() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @logged
    async def late() -> int:
        await asyncio.sleep(0)
        return 7

    async def main() -> int:
        with watched(late) as watching:
            result: int = await late()
            assert watching.outcomes == ["returned"]
        return result

    assert asyncio.run(main()) == 7


def test_a_function_written_in_c_is_watched_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import math

    original = math.sqrt

    with watched("math.sqrt") as watching:
        assert math.sqrt(4) == 2
    assert watching.outcomes == ["returned"]
    assert math.sqrt is original
