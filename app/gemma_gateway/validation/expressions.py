"""The weight of regular expressions and grammars: the pieces that an engine has to follow.

Nothing is compiled here. A counted repeat weighs as often as it repeats, with all that it repeats,
so repeats inside repeats multiply; a rule weighs anew wherever it is used. A rule that refers back
to itself is refused: where a text can be read in more ways than one (``x ::= x x``), each token
costs an engine seconds, and nothing short of compiling tells which recursion is harmless. JSON
schemas may be recursive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

MAX_WEIGHT = 1000
MAX_RULES_DEEP = 64  # rules that use rules
AGAIN = 4  # a counted repeat of something that repeats costs that much more, as measured

_COUNT = re.compile(r"\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?\}")
_RULE = re.compile(r"^[ \t]*([A-Za-z_][\w.-]*)[ \t]*::=", re.MULTILINE)
_IN_RULE = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)
      | (?P<fixed>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|\[(?:[^]\\\n]|\\.)*\]|\.)
      | (?P<name>[A-Za-z_][\w.-]*)
      | (?P<mark>[()|*+?]|\{[^}\n]*\})""",
    re.VERBOSE,
)
_IN_REGEX = re.compile(
    r"(?P<mark>\(\?(?:P?<\w+>|[a-z]*:)|[()|*+?]|\{\s*\d*\s*(?:,\s*\d*\s*)?\})"
    r"|(?P<fixed>\[\^?\]?(?:[^]\\]|\\.)*\]|\\.|.)",
    re.DOTALL,
)

Tokens = Iterable[tuple[str, str]]


class Refused(ValueError):
    """Why an expression is refused, in words for the client."""


def weigh_regex(pattern: str) -> int:
    """The weight of a regular expression.

    Raises:
        Refused: it is over ``MAX_WEIGHT``, or its brackets don't match.
    """
    tokens = ((found.lastgroup or "", found[0]) for found in _IN_REGEX.finditer(pattern))
    return _weigh(tokens, lambda name: 1)


def weigh_grammar(text: str) -> int:
    """The weight of the heaviest rule of a grammar in EBNF (``root ::= "a" | [0-9]{1,3}``).

    Raises:
        Refused: it is over ``MAX_WEIGHT``, recursive, or no EBNF.
    """
    heads = list(_RULE.finditer(text))
    if not heads:
        raise Refused('must be EBNF, with rules such as root ::= "a" | [0-9]+')
    ends = [head.start() for head in heads[1:]] + [len(text)]
    rules = {head[1]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}
    weights: dict[str, int] = {}
    open_rules: list[str] = []

    def weight(name: str) -> int:
        if name in open_rules:
            raise Refused(f"must not be recursive, and {name[:64]} refers back to itself")
        if len(open_rules) == MAX_RULES_DEEP:
            raise Refused(f"has rules that use rules more than {MAX_RULES_DEEP} deep")
        if name not in weights:
            open_rules.append(name)
            weights[name] = _weigh(_rule_tokens(rules.get(name, "")), weight)
            open_rules.pop()
        return weights[name]

    return max(weight(name) for name in rules)


def _rule_tokens(text: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(text):
        found = _IN_RULE.match(text, place)
        if found is None:
            raise Refused(f"can't be read at {text[place : place + 20]!r}")
        if found.lastgroup != "skip":
            yield found.lastgroup or "", found[0]
        place = found.end()


def _weigh(tokens: Tokens, of_rule: Callable[[str], int]) -> int:
    """The sum of the pieces, alternatives included."""
    groups: list[list[int]] = [[]]  # weights of the pieces of each open group
    repeats = [False]  # whether the group holds a repeat
    again = False  # whether the last piece does
    for kind, piece in tokens:
        if kind == "mark" and piece[0] == "(":
            groups.append([])
            repeats.append(False)
        elif kind == "mark" and piece == ")":
            if len(groups) == 1:
                raise Refused("has a ) without its (")
            weight, again = max(1, sum(groups.pop())), repeats.pop()
            groups[-1].append(weight)
            repeats[-1] |= again
        elif kind == "mark" and piece != "|":
            if groups[-1]:
                times = _times(piece)
                groups[-1][-1] *= times * (AGAIN if again and times > 1 else 1)
                _bound(groups[-1][-1])
            repeats[-1] = again = True
        elif kind != "mark":
            groups[-1].append(of_rule(piece) if kind == "name" else 1)
            again = False
    if len(groups) > 1:
        raise Refused("has a ( without its )")
    return _bound(sum(groups[0]))


def _times(mark: str) -> int:
    count = _COUNT.fullmatch(mark)
    if count is None:
        return 1
    # six digits are past every bound, and int() takes its time with thousands
    return max([1, *(int(digits[:6]) for digits in count.groups() if digits)])


def _bound(weight: int) -> int:
    if weight > MAX_WEIGHT:
        raise Refused(f"has {weight:,} pieces with its repeats unrolled, {MAX_WEIGHT:,} at most")
    return weight
