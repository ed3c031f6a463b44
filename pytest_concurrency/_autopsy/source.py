"""What does a line wait for, and which locks does a frame hold? Read from the source and from what is on the stack.

Nothing of the user's is called for it: names are looked up as a debugger would, properties are left alone.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import gc
import linecache
import types
from inspect import CO_OPTIMIZED
from typing import TYPE_CHECKING, Any, NamedTuple

from .._frames import locals_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_MISSING = object()
_CALLABLES = (
    types.MethodType, types.BuiltinMethodType, types.FunctionType, types.MethodDescriptorType,
    types.WrapperDescriptorType,
)  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Taken(NamedTuple):
    """A lock that a frame has taken."""

    value: Any
    line: int
    sure: bool


def code_at(frame: FrameType) -> str:
    """Return the line that *frame* executes."""
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0).strip()


def called_at(frame: FrameType) -> tuple[Any, str, str]:
    """Return whose method the line calls, the method's name, and the call as it is written; None and `` where unknown.

    A `with` statement that is about to be entered calls `__enter__`.
    """
    node = _node_at(frame)
    if isinstance(node, ast.Await):
        node = node.value
    if isinstance(node, ast.Call):
        text = ast.unparse(node)
        if isinstance(node.func, ast.Attribute):
            return evaluate(node.func.value, frame), node.func.attr, text
        return evaluate(node.func, frame), "", text
    if isinstance(node, ast.With):
        entered = _entered(frame)
        if 0 < entered <= len(node.items):
            node = node.items[entered - 1].context_expr
    if isinstance(node, ast.expr):
        return evaluate(node, frame), "__enter__", ast.unparse(node)
    return None, "", ""


def held_in(frame: FrameType) -> list[Taken]:
    """Return what the `with` statements around the line hold, and what `acquire()` took without a `release()` since."""
    function = _function(frame.f_code.co_filename, frame.f_code.co_name, frame.f_code.co_firstlineno)
    if function is None:
        return []
    at, node = _position(frame), _node_at(frame)
    found = []
    for statement in _inside(function):
        if isinstance(statement, ast.With | ast.AsyncWith):
            entering = _entered(frame) if statement is node else 0
            for number, item in enumerate(statement.items):
                if item.context_expr is node or number + 1 == entering:
                    # Those before it have been entered.
                    before = (each.context_expr for each in statement.items[:number])
                    found += [Taken(evaluate(each, frame), each.lineno, True) for each in before]
            first, last = statement.body[0], statement.body[-1]
            if (first.lineno, first.col_offset) <= at <= (last.end_lineno or 0, last.end_col_offset or 0):
                for item in statement.items:
                    value = evaluate(item.context_expr, frame)
                    found.append(Taken(value, item.context_expr.lineno, True))
    return [taken for taken in [*found, *_acquired(function, at, frame)] if taken.value is not None]


def _acquired(function: ast.AST, at: tuple[int, int], frame: FrameType) -> list[Taken]:
    """Return what an `acquire()` above the line took, where no `release()` stands between."""
    last: dict[str, ast.Call | None] = {}
    calls = [node for node in _inside(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    for call in sorted(calls, key=lambda node: (node.end_lineno or 0, node.end_col_offset or 0)):
        assert isinstance(call.func, ast.Attribute)
        if (call.end_lineno or 0, call.end_col_offset or 0) > at or _contains(call, at):
            continue
        if call.func.attr in ("acquire", "release"):
            last[ast.unparse(call.func.value)] = call if call.func.attr == "acquire" else None
    return [
        Taken(evaluate(call.func.value, frame), call.lineno, False)
        for call in last.values()
        if call is not None and isinstance(call.func, ast.Attribute)
    ]


def _contains(node: ast.expr, at: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) <= at <= (node.end_lineno or 0, node.end_col_offset or 0)


def entered_by(coroutine: Any) -> list[Any]:
    """Return what a suspended coroutine or generator has entered, or is entering, by `with` and `async with`.

    The interpreter keeps the way out of each such block on the frame's own stack, and shows that to the garbage
    collector: a bound `__exit__` up to Python 3.13, the function and what it is to be called with since 3.14.
    """
    found = []
    referents = gc.get_referents(coroutine)
    for number, value in enumerate(referents):
        # Whatever else is there is not to be asked for an attribute: it may be anything of the user's.
        if type(value) not in _CALLABLES or value.__name__ not in ("__exit__", "__aexit__"):
            continue
        if type(value) in (types.MethodType, types.BuiltinMethodType):
            found.append(value.__self__)
        elif number + 1 < len(referents):
            found.append(referents[number + 1])
    return found


def name_of(value: Any, frames: list[FrameType]) -> str:
    """Return what *value* is called in the first of *frames* that knows it, `` where none does."""
    for frame in frames:
        local = dict(locals_of(frame))
        for name, candidate in local.items():
            if candidate is value and name.isidentifier():
                return name
        for name, candidate in sorted(local.items(), key=lambda item: item[0] not in ("self", "cls")):
            inner = _called_in(value, candidate)
            if inner:
                return name + inner
        for name, candidate in tuple(frame.f_globals.items()):
            if candidate is value:
                return name
    return ""


def _called_in(value: Any, owner: Any) -> str:
    if type(owner) is dict:
        for key, candidate in tuple(owner.items()):
            if candidate is value and type(key) in (str, int):
                return f"[{key!r}]"
    if type(owner) in (list, tuple):
        for number, candidate in enumerate(owner):
            if candidate is value:
                return f"[{number}]"
    if type(owner) is types.ModuleType:
        return ""
    for name, candidate in _attributes(owner):
        if candidate is value:
            return f".{name}"
        if type(candidate) in (dict, list, tuple):
            item = _called_in(value, candidate)
            if item:
                return f".{name}{item}"
    return ""


def _attributes(owner: Any) -> Iterator[tuple[str, Any]]:
    with contextlib.suppress(AttributeError, TypeError):
        yield from tuple(object.__getattribute__(owner, "__dict__").items())
    if not issubclass(type(owner), type):
        for cls in type(owner).__mro__[:-1]:
            for name, member in tuple(vars(cls).items()):
                if type(member) is types.MemberDescriptorType:
                    try:
                        yield name, member.__get__(owner)
                    except AttributeError:
                        continue
                elif not hasattr(type(member), "__get__"):
                    yield name, member


def evaluate(node: ast.expr, frame: FrameType) -> Any:
    """Return what a name, an attribute or an item of a plain container stands for in *frame*, None for others."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if frame.f_code.co_flags & CO_OPTIMIZED:
            value = locals_of(frame).get(node.id, _MISSING)
            return frame.f_globals.get(node.id) if value is _MISSING else value
        return frame.f_globals.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = evaluate(node.value, frame)
        if owner is None:
            return None
        return next((value for name, value in _attributes(owner) if name == node.attr), None)
    if isinstance(node, ast.Subscript):
        owner, key = evaluate(node.value, frame), evaluate(node.slice, frame)
        if type(owner) in (dict, list, tuple) and type(key) in (str, int):
            try:
                return owner[key]
            except (KeyError, IndexError):
                return None
    return None


@functools.lru_cache(maxsize=64)
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def _function(file: str, name: str, line: int) -> ast.AST | None:
    tree = _tree(file)
    if tree is None:
        return None
    if name == "<module>":
        return tree
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS) and getattr(node, "name", "<lambda>") == name:
            decorators = [each.lineno for each in getattr(node, "decorator_list", ())]
            if line in (node.lineno, *decorators):
                return node
    return None


def _inside(function: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in *function*, without the functions and classes that are defined in it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield child
            yield from _inside(child)


def _position(frame: FrameType) -> tuple[int, int]:
    line, _, column, _ = _positions(frame)
    return line or frame.f_lineno or 0, column or 0


def _positions(frame: FrameType) -> tuple[int | None, int | None, int | None, int | None]:
    for number, positions in enumerate(frame.f_code.co_positions()):
        if number == frame.f_lasti // 2:
            return positions
    return (None, None, None, None)


def _node_at(frame: FrameType) -> ast.AST | None:
    """Return the expression or statement that *frame* is in the middle of."""
    code = frame.f_code
    function = _function(code.co_filename, code.co_name, code.co_firstlineno)
    line, end_line, column, end_column = _positions(frame)
    if function is None or line is None:
        return None
    if column is None or end_column is None:
        return None
    # Source positions count bytes, in the compiler as in the tree.
    wanted = (line, column, end_line, end_column)
    for node in _inside(function):
        # A statement that is an expression only is looked at as the expression.
        if not isinstance(node, ast.expr | ast.stmt) or isinstance(node, ast.Expr):
            continue
        if wanted == (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset):
            return node
    return None


def _entered(frame: FrameType) -> int:
    """Return which of a statement's managers is being entered, counted from 1 (up to 3.12 all have one position)."""
    position = _positions(frame)
    return sum(
        instruction.opname in ("BEFORE_WITH", "BEFORE_ASYNC_WITH")
        and instruction.offset <= frame.f_lasti
        and instruction.positions is not None
        and tuple(instruction.positions) == position
        for instruction in dis.get_instructions(frame.f_code)
    )
