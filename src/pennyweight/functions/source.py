"""Which function it is: its name, and a text that changes when its code does and not when its comments do."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import types
from pathlib import Path

__all__ = ["named", "source_of"]


def named(thing: type | types.FunctionType) -> str:
    """Its module and name. What a script defines is told by the script's file, since all are called __main__."""
    module = thing.__module__
    if module == "__main__":
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        module = f"__main__[{Path(file).resolve()}]" if file else module
    return f"{module}.{thing.__qualname__}"


def source_of(function: types.FunctionType) -> str:
    """Its code without comments, layout, docstring and decorators; its bytecode where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # a prompt, an exec, a lambda within an expression
        return _bytecode(function.__code__)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function.__name__:
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            return ast.unparse(node)
    return _bytecode(function.__code__)


def _bytecode(code: types.CodeType) -> str:
    constants = [_constant(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants} {sys.version_info[:2]}"


def _constant(value: object) -> str:
    if isinstance(value, types.CodeType):
        return _bytecode(value)
    if isinstance(value, frozenset):  # in an order of its own in every process
        return f"frozenset({sorted(map(_constant, value))})"
    return repr(value)
