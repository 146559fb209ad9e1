"""What the constant expressions of Python code are worth, over its whole text: every value that a name could have."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice, product

from tree_sitter import Node

from guardproxy.policy.decode import unescaped
from guardproxy.policy.shell.python_values import (
    Value,
    as_text,
    character,
    combined,
    environment_value,
    function_value,
    method_value,
)
from guardproxy.policy.shell.tree import Stop, TooComplex, text_of

_MAX_VALUES = 512
_MAX_DEPTH = 60
_MAX_LENGTH = 262_144


@dataclass(slots=True)
class Scope:
    """What names stand for, in the whole text: values, and the dotted names of imports."""

    values: dict[str, list[Value]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)

    def bind(self, name: str, values: list[Value]) -> None:
        known = dict.fromkeys(self.values.get(name, ()))
        known.update(dict.fromkeys(values))
        self.values[name] = []
        room = _MAX_LENGTH
        for value in islice(known, _MAX_VALUES):
            room -= 1 if isinstance(value, int) else len(value)
            if room < 0:
                break
            self.values[name].append(value)


@dataclass(slots=True)
class Folder:
    """Folds expressions, two passes over: `bind` every statement twice, as functions come before their calls."""

    scope: Scope
    stop: Stop
    depth: int = 0
    folds: int = 0

    # -- names --

    def bind(self, node: Node, parameters: Mapping[str, list[str]]) -> None:
        match node.type:
            case "import_statement" | "import_from_statement":
                self._bind_import(node)
            case "assignment" | "augmented_assignment" | "named_expression" | "for_statement":
                self._bind_assignment(node)
            case "call":
                function = node.child_by_field_name("function")
                names = parameters.get(text_of(function), []) if function is not None else []
                for place, argument in enumerate(argument_nodes(node) if names else ()):
                    keyword = argument.child_by_field_name("name") if argument.type == "keyword_argument" else None
                    if keyword is not None or place < len(names):
                        name = text_of(keyword) if keyword is not None else names[place]
                        self.scope.bind(name, self.fold(_value_of(argument)))

    def _bind_import(self, node: Node) -> None:
        module = node.child_by_field_name("module_name")
        prefix = text_of(module) + "." if module is not None else ""
        for item in node.children_by_field_name("name"):
            name, alias = item.child_by_field_name("name"), item.child_by_field_name("alias")
            if name is not None and alias is not None:
                self.scope.imports[text_of(alias)] = prefix + text_of(name)
            else:
                self.scope.imports[text_of(item)] = prefix + text_of(item)

    def _bind_assignment(self, node: Node) -> None:
        left = node.child_by_field_name("left") or node.child_by_field_name("name")
        right = node.child_by_field_name("right") or node.child_by_field_name("value")
        if left is None or right is None or left.type != "identifier":
            return
        name, values = text_of(left), self.fold(right)
        if node.type == "for_statement":
            values = [item for v in values if isinstance(v, tuple) for item in v]
        elif node.type == "augmented_assignment":
            values = [
                a + b
                for a in self.scope.values.get(name, [])[:2]
                for b in values
                if isinstance(a, str) and isinstance(b, str)
            ]
        self.scope.bind(name, values)
        if not values and right.type in ("attribute", "identifier", "call"):
            self.scope.imports.setdefault(name, self.dotted(right))

    def dotted(self, node: Node | None) -> str:
        """The dotted name of what is called, imports and `getattr` followed."""
        if node is None or self.depth > _MAX_DEPTH:
            return ""
        self.depth += 1
        try:
            return self._dotted(node)
        finally:
            self.depth -= 1

    def _dotted(self, node: Node) -> str:
        match node.type:
            case "identifier":
                return self.scope.imports.get(text_of(node), text_of(node))
            case "attribute":
                attribute = node.child_by_field_name("attribute") or node
                return f"{self.dotted(node.child_by_field_name('object'))}.{text_of(attribute)}"
            case "call":
                return self._dotted_call(node)
            case "subscript":
                names = [
                    v for s in node.children_by_field_name("subscript") for v in self.fold(s) if isinstance(v, str)
                ]
                return ".".join((self.dotted(node.child_by_field_name("value")), *names[:1]))
            case _:
                return text_of(node) if len(text_of(node)) < 80 else ""

    def _dotted_call(self, node: Node) -> str:
        function = self.dotted(node.child_by_field_name("function"))
        arguments = self.arguments(node)
        texts = [next((v for v in values if isinstance(v, str)), "") for values in arguments]
        last = function.rpartition(".")[2]
        if last == "getattr" and len(texts) > 1:
            nodes = argument_nodes(node)
            return f"{self.dotted(nodes[0])}.{texts[1]}"
        if last in ("__import__", "import_module") and texts:
            return texts[0]
        return function

    # -- values --

    def fold(self, node: Node) -> list[Value]:
        """Every value that a constant expression could have; none when it is not constant."""
        if self.depth > _MAX_DEPTH:
            return []
        self.folds += 1
        if self.folds % 64 == 0 and self.stop():
            raise TooComplex
        self.depth += 1
        try:
            return self._fold(node)[:_MAX_VALUES]
        finally:
            self.depth -= 1

    def _fold(self, node: Node) -> list[Value]:
        match node.type:
            case "string":
                return self._string(node)
            case "concatenated_string":
                return self._join("", [self.fold(c) for c in node.named_children])
            case "integer":
                return (
                    [int(text_of(node), 0)] if re.fullmatch(r"0[xob][0-9a-f]+|[1-9]\d{0,15}|0", text_of(node)) else []
                )
            case "identifier":
                return list(self.scope.values.get(text_of(node), []))
            case "parenthesized_expression" | "await" | "expression_statement" | "type":
                return [v for c in node.named_children for v in self.fold(c)]
            case "conditional_expression":
                return [v for c in node.named_children for v in self.fold(c)]
            case "list" | "tuple" | "set" | "expression_list" | "pattern_list":
                return [tuple(as_text(self.fold(c)) for c in node.named_children[:512])]
            case "binary_operator":
                return self._binary(node)
            case "subscript":
                return self._subscript(node)
            case "call":
                return self._folded_call(node)
            case "list_comprehension" | "generator_expression":
                return self._comprehension(node)
            case _:
                return []

    def _string(self, node: Node) -> list[Value]:
        start = text_of(node.children[0]).lower() if node.children else ""
        parts: list[list[Value]] = []
        for part in node.named_children:
            if part.type == "string_content":
                text = text_of(part)
                parts.append([text if "r" in start else unescaped(text.replace("\\\n", ""))])
            elif part.type == "interpolation":
                inner = part.child_by_field_name("expression")
                parts.append((self.fold(inner) if inner is not None else []) or [""])
        return self._join("", parts) if parts else [""]

    def _join(self, glue: str, parts: list[list[Value]]) -> list[Value]:
        texts = [[as_text([v]) for v in values] or [""] for values in parts]
        return [glue.join(p) for p in islice(product(*texts), _MAX_VALUES)]

    def _binary(self, node: Node) -> list[Value]:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        if left is None or right is None:
            return []
        operator = text_of(node.child_by_field_name("operator") or node)
        pairs = list(islice(product(self.fold(left) or [""], self.fold(right) or [""]), _MAX_VALUES))
        found = (combined(operator, a, b) for a, b in pairs)
        return [v for v in found if v is not None]

    def _subscript(self, node: Node) -> list[Value]:
        value = node.child_by_field_name("value")
        inner = node.children_by_field_name("subscript")
        if value is None or not inner:
            return []
        if text_of(value).endswith("environ"):
            return [environment_value(as_text(self.fold(inner[0])))]
        base, index = self.fold(value), text_of(inner[0]).replace(" ", "")
        if index == "::-1":
            return [v[::-1] for v in base if not isinstance(v, int)]
        numbers = (
            [int(i) if i else None for i in index.split(":")]
            if re.fullmatch(r"-?\d{0,6}(:-?\d{0,6}){0,2}", index)
            else []
        )
        if len(numbers) in (2, 3):
            return [
                v[slice(*numbers)]
                for v in base
                if (not isinstance(v, int) and numbers[-1] != 0) or (len(numbers) == 2 and not isinstance(v, int))
            ]
        if len(numbers) == 1 and numbers[0] is not None:
            return [v[numbers[0]] for v in base if not isinstance(v, int) and -len(v) <= numbers[0] < len(v)]
        return []

    def _comprehension(self, node: Node) -> list[Value]:
        """`[chr(c) for c in [114, 109]]`, or the same of strings."""
        body, clause = (
            node.child_by_field_name("body"),
            next((c for c in node.named_children if c.type == "for_in_clause"), None),
        )
        source = clause.child_by_field_name("right") if clause is not None else None
        if body is None or source is None:
            return []
        items = [i for v in self.fold(source) for i in (v if not isinstance(v, int) else ())]
        if text_of(body).startswith(("chr(", "chr (")):
            shift = re.search(r"([-+^])\s*(\d+)\s*\)$", text_of(body))
            return [tuple(character(i, shift) for i in items[:4096])]
        return [tuple(items)]

    def _folded_call(self, node: Node) -> list[Value]:
        function = node.child_by_field_name("function")
        if function is None:
            return []
        name, arguments = self.dotted(function).rpartition(".")[2], self.arguments(node)
        receiver = function.child_by_field_name("object")
        if function.type == "attribute" and receiver is not None and (base := self.fold(receiver)):
            return self._method(name, base, arguments)
        flat = [as_text(values) for values in arguments]
        return function_value(name, flat, arguments)

    def _method(self, name: str, base: list[Value], arguments: list[list[Value]]) -> list[Value]:
        flat = [as_text(values) for values in arguments]
        if name == "join" and arguments:
            return [as_text(base).join(v) for v in arguments[0] if not isinstance(v, int)]
        found = (method_value(name, v, flat) for v in base)
        return [v for v in found if v is not None]

    def arguments(self, node: Node) -> list[list[Value]]:
        return [self.fold(_value_of(a)) for a in argument_nodes(node)]


def signature(node: Node) -> tuple[str, list[str]]:
    name, parameters = node.child_by_field_name("name"), node.child_by_field_name("parameters")
    names = [
        text_of(p).partition(":")[0].partition("=")[0].strip(" *")
        for p in (parameters.named_children if parameters is not None else [])
    ]
    return (text_of(name) if name is not None else ""), [n for n in names if n not in ("self", "cls")]


def argument_nodes(call: Node) -> list[Node]:
    arguments = call.child_by_field_name("arguments")
    if arguments is None:
        return []
    if arguments.type == "generator_expression":  # the only argument, without brackets of its own
        return [arguments]
    return [a for a in arguments.named_children if a.type != "comment"][:4_096]


def _value_of(argument: Node) -> Node:
    if argument.type == "keyword_argument":
        return argument.child_by_field_name("value") or argument
    return (
        argument.named_children[0]
        if argument.type in ("list_splat", "dictionary_splat") and argument.named_children
        else argument
    )
