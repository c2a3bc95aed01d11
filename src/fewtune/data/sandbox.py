"""Jinja for templates that nobody has vouched for: they reach nothing, end soon and stay small.

jinja's immutable sandbox hides Python's inner attributes, and nothing is left to be called that templates do not
need. What takes time or memory is charged to a meter: before it is compiled a template is rewritten, so that
rounds of loops, calls of macros, and whatever makes or compares large values, pay first.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, cast

from jinja2 import Template, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateRuntimeError
from jinja2.ext import Extension
from jinja2.filters import FILTERS
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from fewtune.data import metering
from fewtune.data.metering import STEP, Meter, TooMuch, length, meter, metered, paid, spread

TODAY = datetime.datetime(2024, 7, 26)
"""What `strftime_now` tells, so that a row has the same tokens every day; Llama's templates name this day where they
are given no clock."""
LONGEST_SOURCE = 2**16
_DEEPEST, _MOST_NODES = 60, 10_000
"""Nodes of a template within each other, and in all."""
_NODE = 10
"""What each node of a loop's body costs in each round."""
_LARGEST_RANGE = 100_000
_LONGEST_DATE = 100
_MOST_BITS = 4096


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_FILTERS = _words(
    "abs capitalize count d default dictsort escape e first float int items last length list lower map max min reject "
    "rejectattr reverse safe select selectattr sort string title trim unique upper"
)
_OWN_FILTERS = {
    "tojson": metering.tojson,
    "join": metering.join,
    "replace": metering.replace,
    "indent": metering.indent,
}
_PAID, _PAID_BEFORE, _EACH, _CONCATENATED = "fewtune:paid", "fewtune:before", "fewtune:each", "fewtune:concatenated"
"""Filters that only the rewriting uses: a template cannot spell such a name."""
_AT_ONCE = _words(
    "count d default first items last length map reject rejectattr select selectattr defined undefined none mapping "
    "iterable sequence number boolean true false integer float callable"
)
"""Filters and tests that take no longer for a large value, or that look at one element after the other later."""
_METHODS = {
    str: _words(
        "strip lstrip rstrip split rsplit splitlines startswith endswith replace lower upper title capitalize find "
        "rfind index rindex count join isdigit isalpha isalnum isspace isupper islower partition rpartition "
        "removeprefix removesuffix"
    ),
    dict: _words("items keys values get"),
    list: _words("index count"),
    tuple: _words("index count"),
    LoopContext: _words("cycle changed"),
}
_NODES = _words(
    "Template Output TemplateData For If Macro CallBlock FilterBlock Assign AssignBlock With Scope Break Continue "
    "Name NSRef Const Tuple List Dict Pair Keyword CondExpr Filter Test Call Getitem Getattr Slice Concat Compare "
    "Operand Add Sub Mul Div FloorDiv Mod Pow And Or Not Neg Pos"
)


class Refused(TemplateError):
    """The template's own `raise_exception`: it does not take these messages."""


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _LARGEST_RANGE:
        raise TooMuch(f"it asks for a range of more than {_LARGEST_RANGE:,} numbers")
    return found


def _raise_exception(message: object) -> None:
    raise Refused(str(message))


def _strftime_now(form: str) -> str:
    if len(form) > _LONGEST_DATE:
        raise TooMuch(f"it writes the date in a form of more than {_LONGEST_DATE} characters")
    return TODAY.strftime(form)


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


class _Namespace(Namespace):
    """Stores none of Python's inner names, and prints nothing of what it holds."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # The first is `self`, so that a template may name its own value so.
        values = dict(*args[1:], **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"the name {name!r} is not to be stored")


_GLOBALS: dict[str, Callable[..., Any]] = {
    "range": _range,
    "dict": _dict,
    "namespace": _Namespace,
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
}


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says; it changes nothing of the text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Metering(NodeTransformer):
    """Puts a payment before everything that could take long or grow."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise TooMuch("it uses a recursive loop")
        self.generic_visit(node)
        node.iter = _filtered(cast(nodes.Expr, node.iter), _EACH, nodes.Const(STEP + _NODE * _count(node)))
        return node

    def _body(self, node: Any) -> nodes.Node:
        cost = nodes.Const(STEP + _NODE * _count(node))
        self.generic_visit(node)
        yes = _filtered(nodes.Const(True, lineno=node.lineno), _PAID_BEFORE, cost)
        node.body = [nodes.If(yes, node.body, [], [], lineno=node.lineno)]
        return node

    visit_Macro = visit_CallBlock = _body

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        first, *others = node.nodes
        return _filtered(first, _CONCATENATED, *others)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, _PAID) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _PAID)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _PAID)
        return node

    def _literal(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _filtered(node, _PAID)

    visit_List = visit_Dict = visit_Tuple = _literal


def _filtered(node: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _count(node: nodes.Node) -> int:
    return 1 + sum(map(_count, node.iter_child_nodes()))


def _check(node: nodes.Node, depth: int = 0) -> None:
    kind = type(node).__name__
    if kind not in _NODES:
        raise SecurityError(f"{kind.lower()} is not allowed in a chat template (line {node.lineno})")
    if depth > _DEEPEST:
        raise TooMuch("it is nested too deeply")
    for child in node.iter_child_nodes():
        _check(child, depth + 1)


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja as transformers sets it up for chat templates, with a meter; to be used within `metered` only."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
            finalize=paid,
            optimized=False,
            cache_size=0,
        )
        self.concat = metering.joined
        self.filters = {
            **{name: _charged(name, FILTERS[name]) for name in _FILTERS},
            **_OWN_FILTERS,
            _PAID: paid,
            _PAID_BEFORE: metering.paid_before,
            _EACH: metering.each,
            _CONCATENATED: metering.concatenated,
        }
        self.tests = {name: _charged(name, test) for name, test in TESTS.items()}
        self.globals = dict(_GLOBALS)

    def compiled(self, source: str) -> Template:
        """Raises TemplateError for what is not allowed, and whatever Python raises for bad syntax."""
        if len(source) > LONGEST_SOURCE:
            raise TooMuch(f"it has more than {LONGEST_SOURCE:,} characters")
        tree = self.parse(source)
        _check(tree)
        if _count(tree) > _MOST_NODES:
            raise TooMuch(f"it has more than {_MOST_NODES:,} parts")
        return Template.from_code(self, self.compile(_Metering().visit(tree)), self.globals)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        meter().use(STEP)
        meter().pay(_grown(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name in ("join", "replace"):
            return metering.join(args[0], owner) if name == "join" else metering.replace(owner, *args)
        if not (isinstance(obj, Macro | Undefined) or _is_method(owner, name) or _is_global(obj)):
            raise SecurityError(f"{name or type(obj).__name__} is not to be called from a chat template")
        meter().use(STEP + length(owner) + sum(map(length, args)))
        return paid(super().call(context, obj, *args, **kwargs))


def _is_method(owner: Any, name: str) -> bool:
    return any(isinstance(owner, kind) and name in names for kind, names in _METHODS.items())


def _is_global(obj: Any) -> bool:
    return any(obj is known for known in _GLOBALS.values())


def _grown(operator: str, left: Any, right: Any) -> int:
    """Size of what an operation makes; raises TooMuch or SecurityError for what no template needs."""
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        made = {"*": bits + right.bit_length(), "**": bits * max(right, 0)}.get(operator, 0)
        if made > _MOST_BITS:
            raise TooMuch("it computes with numbers of more than a thousand digits")
        return 0
    if operator == "%" and isinstance(left, str):
        raise SecurityError("formatting with % is not allowed in a chat template")
    times = [side for side in (left, right) if isinstance(side, int)] if operator == "*" else []
    return max(0, *times, not times) * sum(spread(side) for side in (left, right) if not isinstance(side, int))


def _charged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter or test, which pays for what it reads."""
    # Some are given the context or the environment first.
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        meter().use(STEP + (0 if name in _AT_ONCE else sum(map(_reading, args[first:]))))
        found: Any = function(*args, **kwargs)
        return metering.each(cast(Iterator[Any], found), STEP) if isinstance(found, Iterator) else found

    return run


def _reading(value: Any) -> int:
    return spread(value) if isinstance(value, str) else spread(value) + STEP * length(value)


def rendered(template: Template, variables: Mapping[str, Any], allowance: Meter) -> str:
    """Raises TemplateError for all that goes wrong in a template."""
    with metered(allowance):
        try:
            pieces = template.root_render_func(template.new_context(dict(variables)))
            return metering.joined(pieces)
        except TemplateError:
            raise
        except Exception as error:  # A template is a program: whatever Python raises can come of one.
            raise TemplateRuntimeError(f"{type(error).__name__}: {error}") from error
