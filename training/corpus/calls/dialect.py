"""How a row's tools are called and declared: one dialect for both rows of a pair."""

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from training.corpus.calls.draw import Scope
from training.corpus.calls.tables import Param, Tool

STYLES = ("snake", "snake", "vendor_snake", "camel", "title", "mcp", "mcp", "kebab")
TYPES = {
    "string": "string",
    "int": "integer",
    "number": "number",
    "bool": "boolean",
    "list": "array",
    "object": "object",
}


class Dialect:
    def __init__(self, rng: random.Random):
        self.style = rng.choice(STYLES)
        self._salt = rng.random()
        self._names: dict[tuple[str, str], str] = {}
        self._bare = rng.random() < 0.25  # parameters without descriptions
        self._strict = rng.random() < 0.3

    def _choice(self, tool: Tool, what: str, options: Sequence[str]) -> str:
        """The same choice for one tool throughout the pair."""
        return options[self._number(f"{tool.domain}/{tool.names[0]}/{what}") % len(options)]

    def _number(self, what: str) -> int:
        return zlib.crc32(f"{self._salt}/{what}".encode())

    def name(self, tool: Tool) -> str:
        """Two tools of different domains may be called alike: the second is named after its domain, too."""
        key = (tool.domain, tool.names[0])
        if key not in self._names:
            name = self._written(tool)
            self._names[key] = f"{tool.domain}_{name}" if name in self._names.values() else name
        return self._names[key]

    def _written(self, tool: Tool) -> str:
        words = self._choice(tool, "name", tool.names).split("_")
        vendor = tool.vendors[self._number(tool.domain) % len(tool.vendors)]
        match self.style:
            case "camel":
                return words[0] + "".join(map(_capital, words[1:]))
            case "title":
                return "".join(map(_capital, [*vendor.split("_"), *words]))
            case "mcp":
                return f"mcp__{vendor}__{'_'.join(words)}"
            case "kebab":
                return "-".join(words)
            case "vendor_snake":
                return "_".join([vendor, *words])
        return "_".join(words)

    def _param(self, tool: Tool, param: Param) -> str:
        words = self._choice(tool, param.names[0], param.names).split("_")
        return words[0] + "".join(map(_capital, words[1:])) if self.style == "camel" else "_".join(words)

    def arguments(self, tool: Tool, args: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
        """An argument named "name~" is optional: there in both rows of a pair, or in none."""
        names = {param.names[0]: self._param(tool, param) for param in tool.params}
        wanted = {
            key.rstrip("~"): value for key, value in args.items() if not key.endswith("~") or self._given(tool, key)
        }
        return {names[key]: scope.tree(value) for key, value in wanted.items()}

    def _given(self, tool: Tool, key: str) -> bool:
        return self._choice(tool, key, ("", "given")) == "given"

    def schema(self, tool: Tool) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": {self._param(tool, param): self._property(param) for param in tool.params},
            "required": [self._param(tool, param) for param in tool.params if param.required],
        }
        if self._strict:
            parameters["additionalProperties"] = False
        about = self._choice(tool, "about", tool.about)
        return {
            "type": "function",
            "function": {"name": self.name(tool), "description": about, "parameters": parameters},
        }

    def _property(self, param: Param) -> dict[str, Any]:
        found: dict[str, Any] = {"type": TYPES[param.type]}
        if param.type == "list":
            found["items"] = {"type": "string"}
        if param.choices:
            found["enum"] = list(param.choices)
        return found if self._bare else {**found, "description": param.about}


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
