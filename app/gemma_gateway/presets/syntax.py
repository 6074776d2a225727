"""The syntax that a preset's texts may use, and what becomes of it before Jinja compiles it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from gemma_gateway.presets.filters import COMPARE, FILTERS, JOIN, LOOP, TESTS

_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.Keyword),
    *(nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr),
    *(nodes.Concat, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow),
)
# Names that mean something to Jinja.
_TAKEN = frozenset({("range", "store"), ("loop", "store"), ("self", "load"), ("self", "store")})
_WORDS: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter blocks",
    nodes.AssignBlock: "set blocks",
    nodes.NSRef: "namespaces",
    nodes.Slice: "slices",
}


class TemplateFault(ValueError):
    """A template that can't be used.

    Args:
        line: of the template, from 1.
        why: what is wrong there.
    """

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line} of the text: {why}")
        self.line = line
        self.why = why


class Counting(NodeTransformer):
    """Rewrites what Jinja compiles to plain Python, and would be free of charge."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        weight = sum(1 for child in (*node.body, node.test) if child for _ in _all(child))
        self.generic_visit(node)
        node.iter = _filter(node.iter, LOOP, nodes.Const(1 + weight))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), JOIN)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        (how,) = node.ops
        return _filter(node.expr, COMPARE, nodes.Const(how.op), how.expr)


def _filter(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, [*args], [], None, None, lineno=node.lineno)


def _all(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _all(child)


def check(tree: nodes.Node) -> None:
    """Raise TemplateFault unless a template holds only what is allowed."""
    for node in _all(tree):
        if not isinstance(node, _ALLOWED):
            name = _WORDS.get(type(node), type(node).__name__)
            _refuse(node, f"{name}: not allowed in a preset")
        elif isinstance(node, nodes.Filter | nodes.Test):
            known = FILTERS if isinstance(node, nodes.Filter) else TESTS
            if node.name not in known or node.name.startswith("_"):
                kind = type(node).__name__.lower()
                _refuse(node, f"no {kind} named {node.name!r} is allowed in a preset")
            _check_arguments(node)
        elif isinstance(node, nodes.Call):
            if not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
                _refuse(node, "nothing can be called but range; filters do the rest")
            _check_arguments(node)
        elif isinstance(node, nodes.For) and node.recursive:
            _refuse(node, "recursive loops: not allowed in a preset")
        elif isinstance(node, nodes.Compare) and len(node.ops) > 1:
            _refuse(node, "compare two values at a time, and join comparisons with and")
        elif isinstance(node, nodes.Name) and (node.name, node.ctx) in _TAKEN:
            _refuse(node, f"{node.name} can't be used as a name")


def _check_arguments(node: nodes.Filter | nodes.Test | nodes.Call) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        _refuse(node, "* and ** before arguments: not allowed in a preset")


def _refuse(node: nodes.Node, why: str) -> NoReturn:
    raise TemplateFault(node.lineno or 1, why)
