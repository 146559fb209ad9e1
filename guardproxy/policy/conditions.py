"""Conditions in CEL. The one place that knows the CEL library.

Names are checked when a pack is loaded, so that a typing error is a fault at the start and not a block at night.
CEL has no cost limit: comprehensions nest twice at most, and the lists handed in are capped.
"""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from guardproxy.policy.regex import pattern
from guardproxy.submodules import import_alone

if TYPE_CHECKING:
    import cel

MAX_LIST = 256
MAX_NESTED_COMPREHENSIONS = 2

CelValue: TypeAlias = bool | int | float | str | Sequence["CelValue"] | Mapping[str, "CelValue"] | None

FIELDS: Mapping[str, frozenset[str]] = {
    "call": frozenset("name target kind arguments text strings commands".split()),
    "tool": frozenset("declared name description".split()),
    "turn": frozenset("calls text".split()),
    "history": frozenset("calls results tainted".split()),
    "request": frozenset("model surface stream user".split()),
    "provenance": frozenset({"args"}),
}
_MACRO = re.compile(r"\.(all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_STRING = re.compile(r"""[rR]?("{3}[\s\S]*?"{3}|'{3}[\s\S]*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""")
_FUNCTIONS = frozenset(
    "regex size contains startsWith endsWith int uint double string bool type timestamp duration has min max dyn "
    "bytes".split()
)


class ConditionError(Exception):
    """The condition met a value that it does not fit; the message names no value."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition. `lists` are the capped lists that it reads."""

    program: "cel.Program"
    lists: frozenset[str]
    asks_for_target: bool
    asks_for_provenance: bool = False

    def holds(self, context: "cel.Context") -> bool:
        """Raises ConditionError: a missing field, a wrong type, a result that is no boolean."""
        try:
            value = self.program.execute(context)
        except (
            Exception
        ) as error:  # the library raises KeyError, TypeError, RuntimeError, OverflowError and its own panics
            raise ConditionError(type(error).__name__) from None
        if not isinstance(value, bool):
            raise ConditionError("not a boolean")
        return value


@cache
def _library() -> Any:
    """The package's `__init__` would import a command line for CEL, too: 100 ms."""
    return import_alone("cel", "cel")


def make_context(variables: Mapping[str, CelValue]) -> "cel.Context":
    """Costs about 50 microseconds: make one a call, and only when a condition is to be evaluated."""
    context: cel.Context = _library().Context(dict(variables), {"regex": _regex})
    return context


def _regex(text: object, source: str) -> bool:
    return isinstance(text, str) and pattern(source).search(text)


def compile_condition(source: str) -> Condition:
    """Raises ValueError that lists everything wrong with the expression."""
    try:
        program = _library().compile(source)
    except ValueError as error:
        raise ValueError(_syntax_error(str(error))) from None
    if faults := list(_faults(program, source)):
        raise ValueError("; ".join(faults))
    bare = _STRING.sub('""', source)
    lists = frozenset(re.findall(r"\.(strings|commands|calls|results)\b", bare))
    asks_for_target = re.search(r"\bcall\s*\.\s*target\b", bare) is not None
    return Condition(program, lists, asks_for_target, "provenance" in program.variables())


def _faults(program: "cel.Program", source: str) -> Iterator[str]:
    bare = _STRING.sub('""', source)
    bound = {m[2] for m in _MACRO.finditer(bare)}
    for name in program.variables():
        if name not in FIELDS and name not in bound:
            yield f"unknown name {name!r}; there are {', '.join(FIELDS)}"
    if shadowed := bound & FIELDS.keys():
        yield f"{', '.join(sorted(shadowed))} cannot be used as a loop variable"
    for owner, name in re.findall(r"(?<![\w.])([a-z]+)\s*\.\s*([A-Za-z_]\w*)", bare):
        if owner in FIELDS and name not in FIELDS[owner]:
            yield f"{owner} has no field {name!r}; there are {', '.join(sorted(FIELDS[owner]))}"
    yield from _function_faults(program, source)
    if _nesting(bare) > MAX_NESTED_COMPREHENSIONS:
        yield f"comprehensions are nested more than {MAX_NESTED_COMPREHENSIONS} deep"


def _function_faults(program: "cel.Program", source: str) -> Iterator[str]:
    for name in program.functions():
        if name == "matches":
            yield 'use regex(text, "pattern") instead of matches(): it is compiled once'
        elif name[0].isalpha() and name not in _FUNCTIONS:
            yield f"unknown function {name!r}; there are {', '.join(sorted(_FUNCTIONS))}"
    if "regex" not in program.functions():
        return
    literals = re.findall(
        r"""\bregex\s*\([^()]*(?:\([^()]*\)[^()]*)*,\s*[rR]?("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')\s*\)""", source
    )
    if len(literals) != len(re.findall(r"\bregex\s*\(", _STRING.sub('""', source))):
        yield "the pattern of regex() must be a string literal"
    for literal in literals:
        try:
            pattern(ast.literal_eval(("r" if source[source.index(literal) - 1] in "rR" else "") + literal))
        except (ValueError, SyntaxError) as error:
            yield f"regex(): {error}"


def _nesting(bare: str) -> int:
    """How deep macros are nested, by the brackets around them."""
    starts = {m.end(1) for m in _MACRO.finditer(bare)}
    opened: list[bool] = []
    deepest = 0
    macro_next = False
    for at, letter in enumerate(bare):
        macro_next |= at in starts
        if letter == "(":
            opened.append(macro_next)
            macro_next = False
            deepest = max(deepest, sum(opened))
        elif letter == ")" and opened:
            opened.pop()
    return deepest


def _syntax_error(message: str) -> str:
    found = re.search(r"<input>:(\d+):(\d+): (.*)", message)
    return f"CEL: line {found[1]}, column {found[2]}: {found[3][:160]}" if found else "CEL: cannot be parsed"
