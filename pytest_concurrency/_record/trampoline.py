"""Code that runs in a function's name and leads into a hook.

Replacing a function's `__code__` is seen through every reference to it: names imported earlier, bound methods,
closures, partials. The replacement takes the same parameters, so that `inspect.signature` and wrong-argument errors
stay as they were, and is of the same kind, so that `iscoroutinefunction` does.
"""

from __future__ import annotations

import ast
import inspect
from types import CodeType
from typing import TYPE_CHECKING

from .._places import TRAMPOLINE_MARK as HOOK

if TYPE_CHECKING:
    from types import FunctionType

_PREFIX = "_pytest_concurrency_"

_PLAIN = "return {hook}({arguments})"
_COROUTINE = "return await {hook}({arguments})"
_GENERATOR = "return (yield from {hook}({arguments}))"
# An async generator has no `yield from`: the values and exceptions are passed through by hand.
_ASYNC_GENERATOR = """
{p}call = {hook}({arguments})
try:
    {p}value = await {p}call.generator.asend(None)
    while True:
        try:
            {p}sent = yield {p}value
        except GeneratorExit:
            await {p}call.generator.aclose()
            raise
        except BaseException as {p}error:
            {p}value = await {p}call.generator.athrow({p}error)
        else:
            {p}value = await {p}call.generator.asend({p}sent)
except StopAsyncIteration:
    await {p}call.returned()
except BaseException as {p}error:
    await {p}call.failed({p}error)
    raise
finally:
    {p}call.end()
"""


def kind_of(function: FunctionType) -> str:
    """Return `coroutine`, `async generator`, `generator` or `plain`."""
    flags = function.__code__.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async generator"
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    return "generator" if flags & inspect.CO_GENERATOR else "plain"


def trampoline(function: FunctionType, hook: object) -> CodeType:
    """Return code for *function* that calls *hook* with the arguments of the call."""
    kind, original = kind_of(function), function.__code__
    parameters, arguments = _signature(original)
    body = {"plain": _PLAIN, "coroutine": _COROUTINE, "generator": _GENERATOR, "async generator": _ASYNC_GENERATOR}[
        kind
    ]
    lines = [
        "__tracebackhide__ = True",
        f"{HOOK} = {HOOK!r}",
        *body.format(hook=HOOK, arguments=arguments, p=_PREFIX).strip().splitlines(),
    ]
    # The same number of cells, or Python refuses the code; they are never read here.
    cells = [f"{_PREFIX}cell{number}" for number in range(len(original.co_freevars))]
    if cells:
        lines.insert(0, f"if 0: {', '.join(cells)}")
    source = (
        f"def factory({', '.join(cells)}):\n"
        f"  {'async ' if kind in ('coroutine', 'async generator') else ''}def call({parameters}):\n"
        + "".join(f"    {line}\n" for line in lines)
    )
    tree = ast.parse(source)
    for node in ast.walk(tree):
        # All of it stands on the line of the function's own `def`: that is what a traceback or a coverage tool sees.
        for attribute in ("lineno", "end_lineno"):
            if hasattr(node, attribute):
                setattr(node, attribute, original.co_firstlineno)
        for attribute in ("col_offset", "end_col_offset"):
            if hasattr(node, attribute):
                setattr(node, attribute, 0)
    factory = _inner_code(compile(tree, original.co_filename, "exec", dont_inherit=True))
    code = _inner_code(factory)
    return code.replace(
        co_name=original.co_name,
        co_qualname=original.co_qualname,
        co_firstlineno=original.co_firstlineno,
        co_freevars=original.co_freevars,
        co_flags=code.co_flags | (original.co_flags & inspect.CO_ITERABLE_COROUTINE),
        co_consts=tuple(hook if const == HOOK else const for const in code.co_consts),
    )


def _inner_code(code: CodeType) -> CodeType:
    return next(const for const in code.co_consts if isinstance(const, CodeType))


def _signature(code: CodeType) -> tuple[str, str]:
    """Return the parameters of *code* and the arguments that pass them on, as source."""
    names = code.co_varnames
    positional = code.co_argcount
    keyword_only = names[positional : positional + code.co_kwonlyargcount]
    rest = positional + len(keyword_only)
    parameters = list(names[:positional])
    arguments = list(parameters)
    if code.co_posonlyargcount:
        parameters.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        parameters.append(f"*{names[rest]}")
        arguments.append(f"*{names[rest]}")
        rest += 1
    elif keyword_only:
        parameters.append("*")
    parameters += keyword_only
    arguments += [f"{name}={name}" for name in keyword_only]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        parameters.append(f"**{names[rest]}")
        arguments.append(f"**{names[rest]}")
    return ", ".join(parameters), ", ".join(arguments)
