"""Jinja for a preset's texts, without anything that reaches outside or has no bound.

It is Jinja's immutable sandbox, and narrower: an allow-list of the syntax, no loader, no method and
no function but ``range``, and of an object only what JSON has in it: its keys. Loops, comparisons,
``~`` and all operators are rewritten or intercepted, so that each counts for the budget of the
rendering (``budget``). What clients send are values; a template is only ever an operator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import (
    StrictUndefined,
    TemplateError,
    TemplateRuntimeError,
    TemplateSyntaxError,
    UndefinedError,
    meta,
)
from jinja2.environment import Template as Compiled
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing, pass_context

from gemma_gateway.presets import budget
from gemma_gateway.presets.filters import FILTERS, TESTS, number, text
from gemma_gateway.presets.syntax import Counting, TemplateFault, check

MOST_SOURCE = 32 * 1024  # characters of a template
MOST_POWER = 64
LOOP_NAMES = frozenset(
    {*("index", "index0", "revindex", "revindex0"), *("first", "last", "length", "previtem")}
    | {"nextitem"}
)
_BINARY = frozenset({"+", "-", "*", "/", "//", "%", "**"})


class NotRendered(ValueError):
    """A template can't be rendered with these variables; the text says why, in words for whoever
    sent them.

    Args:
        why: those words.
        name: of a variable that wasn't sent; empty: it isn't about one.
    """

    def __init__(self, why: str, name: str = "") -> None:
        super().__init__(why)
        self.name = name


class Template:
    """One compiled template.

    Args:
        source: Jinja.

    Attributes:
        names: of the variables that it uses.

    Raises:
        TemplateFault: it isn't Jinja, or uses what isn't allowed here.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MOST_SOURCE:
            raise TemplateFault(1, f"longer than {MOST_SOURCE} characters")
        try:
            tree = _environment.parse(source)
            check(tree)
            self.names = frozenset(meta.find_undeclared_variables(tree)) - {"range"}
            tree = Counting().visit(tree)
            code = _environment.compile(tree)
            self._compiled = Compiled.from_code(_environment, code, {"range": _range})
        except TemplateSyntaxError as error:
            raise TemplateFault(error.lineno, error.message or "not Jinja") from None
        except RecursionError:
            raise TemplateFault(1, "nested too deeply") from None
        except SyntaxError as error:  # of the Python that Jinja makes: too many loops in each other
            raise TemplateFault(1, str(error.msg)) from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text, without line breaks at its ends.

        Args:
            variables: JSON values.

        Raises:
            NotRendered: a variable or a part of one is missing, or isn't what the text needs.
            OverBudget: a bound of the budget that runs was reached.
        """
        counted = budget.running()
        pieces: list[str] = []
        try:
            for piece in self._compiled.root_render_func(
                self._compiled.new_context(dict(variables))
            ):
                counted.say(len(piece))
                pieces.append(piece)
        except budget.OverBudget:
            raise
        except _Absent as error:
            raise NotRendered(f"{error} is missing, and the text needs it", str(error)) from None
        except UndefinedError as error:
            raise NotRendered(str(error)) from None
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError):
            raise NotRendered("its text can't be made of values of these types") from None
        except (RecursionError, MemoryError):
            raise NotRendered("the variables are nested too deeply") from None
        return "".join(pieces).strip("\r\n")


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, in which values are JSON and nothing else."""

    intercepted_binops = _BINARY

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of an object, never a method; of a loop, where it is."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext) and attribute in LOOP_NAMES:
            return getattr(obj, attribute)
        return self._missing(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A key of an object, or an entry of a list."""
        try:
            if isinstance(obj, dict) or (
                isinstance(obj, list | tuple | str) and type(argument) is int
            ):
                return obj[argument]
        except (LookupError, TypeError):
            pass
        return self._missing(obj, argument)

    def call(self, /, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Only ``range``; whatever name a template gives to something else."""
        if obj is not _range:
            raise TypeError("only range can be called")
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        return _range(*args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operator, once its result is known to be bounded."""
        running = budget.running()
        running.step(1)
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return super().call_binop(context, operator, left, right)  # says which is missing
        plain = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "+" and not plain:
            running.look(left, right)
        elif operator == "*" and not plain:
            many, some = (left, right) if isinstance(left, int) else (right, left)
            if not isinstance(many, int) or not isinstance(some, str | list):
                raise TypeError("can't be multiplied")
            running.work(budget.ITEM * max(0, many) * (1 + len(some)))
        elif not plain:
            raise TypeError("only numbers can be calculated with")
        elif operator == "**" and not (abs(left) <= MOST_POWER and abs(right) <= MOST_POWER):
            raise budget.OverBudget(f"a power would be of numbers above {MOST_POWER}")
        return number(super().call_binop(context, operator, left, right))

    def _missing(self, obj: Any, name: Any) -> Undefined:
        named = repr(name)[:64] if isinstance(name, str | int) else "a key"
        return self.undefined(f"{named} is missing in a variable", obj, str(name))


class _Absent(UndefinedError):
    """A variable that wasn't sent, but is needed; the text is its name."""


class _Missing(StrictUndefined):
    """What isn't there: a whole variable, or a part of one."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        whole = hint is None and obj is missing
        super().__init__(name if whole else hint, obj, name, _Absent if whole else exc)


@pass_context
def _said(context: Context, value: Any) -> str:
    """What an expression puts into the text. With the context, so that Jinja can't do it while it
    compiles."""
    del context
    budget.running().step(1)
    return text(value)


def _range(*args: int) -> range:
    found = range(*args)
    budget.running().work(budget.ITEM * len(found))
    return found


_environment = _Environment(
    undefined=_Missing,
    finalize=_said,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    optimized=False,
    cache_size=0,
)
_environment.filters.clear()
_environment.filters.update(FILTERS)
_environment.tests.clear()
_environment.tests.update(TESTS)
_environment.globals.clear()
