"""Arithmetic over named numbers, and nothing else: a formula from a request is read, never run as code."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: float.__add__,
    ast.Sub: float.__sub__,
    ast.Mult: float.__mul__,
    ast.Div: float.__truediv__,
    ast.Pow: math.pow,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: float.__pos__, ast.USub: float.__neg__}
_OF_ONE: Mapping[str, Callable[[float], float]] = {
    "abs": float.__abs__,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
_OF_SEVERAL: Mapping[str, Callable[[list[float]], float]] = {"min": min, "max": max}
_FUNCTIONS = (*_OF_SEVERAL, *_OF_ONE)
_MOST_NODES = 300


class FormulaError(ValueError):
    """A formula that cannot be read."""


class UnknownNumber(FormulaError):
    """A formula that names a number which nobody gave."""


def check_formula(text: str, names: frozenset[str]) -> ast.expr:
    """The formula, read. Powers are written ^ or **. Raises FormulaError, UnknownNumber."""
    try:
        tree = ast.parse(text.replace("^", "**").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FormulaError("The formula cannot be read.") from error
    # Counted without recursion, before anything walks down into it.
    nodes = list(ast.walk(tree))
    if len(nodes) > _MOST_NODES:
        raise FormulaError("The formula is too long.")
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        _check(node, names, is_function=id(node) in functions)
    return tree


def value_of(tree: ast.expr, numbers: Mapping[str, float]) -> float:
    """What a checked formula comes to. Raises ArithmeticError or ValueError where that is no finite number."""
    value = _value(tree, numbers)
    if not math.isfinite(value):
        raise ArithmeticError("The formula comes to no finite number.")
    return value


def _check(node: ast.AST, names: frozenset[str], *, is_function: bool) -> None:
    match node:
        case ast.Name(id=name) if is_function:
            if name not in _FUNCTIONS:
                raise FormulaError(f"There is no function '{name}'; there are {', '.join(_FUNCTIONS)}.")
        case ast.Name(id=name):
            if name not in names:
                raise UnknownNumber(f"The formula names '{name}', which is none of the graders.")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if not arguments or (name in _OF_ONE and len(arguments) != 1):
                raise FormulaError(f"'{name}' has not the right number of arguments.")
        case _ if not _is_arithmetic(node):
            raise FormulaError("The formula may hold numbers, names of graders, + - * / ^ ( ) and functions only.")
        case _:
            pass


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.BinOp(op=operation):
            return type(operation) in _OPERATORS
        case ast.UnaryOp(op=sign):
            return type(sign) in _SIGNS
        case _:
            return isinstance(node, ast.operator | ast.unaryop | ast.Load)


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return numbers[name]
        case ast.UnaryOp(op=sign, operand=operand):
            return _SIGNS[type(sign)](_value(operand, numbers))
        case ast.BinOp(left=left, op=operation, right=right):
            return _OPERATORS[type(operation)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            values = [_value(argument, numbers) for argument in arguments]
            return float(_OF_SEVERAL[name](values) if name in _OF_SEVERAL else _OF_ONE[name](values[0]))
        case _:
            raise FormulaError("The formula was not checked.")
