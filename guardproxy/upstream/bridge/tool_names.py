"""The names under which a chat model knows tools. Chat completions have no namespaces, and allow but few characters."""

import re
from dataclasses import dataclass, field
from hashlib import blake2b

from guardproxy.upstream.bridge.fields import untranslatable

_MAX_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class ToolName:
    """`namespace` is empty for most tools. `custom`: the tool takes free text, see `custom_tools`."""

    name: str
    namespace: str = ""
    custom: bool = False


@dataclass(slots=True)
class ToolNames:
    """Both ways, for one request: what was declared under a flat name is found again in the answer."""

    _declared: dict[str, ToolName] = field(default_factory=dict)

    def declare(self, tool: ToolName, at: str) -> str:
        """Raises MalformedRequest where two tools would have one name: the answer would have two readings."""
        flat = flat_name(tool)
        if flat in self._declared:
            raise untranslatable(at, "two of the tools would have the same name there")
        self._declared[flat] = tool
        return flat

    def original(self, flat: str) -> ToolName:
        """A name that nobody declared stays as the model said it, for the guard to refuse."""
        return self._declared.get(flat) or ToolName(flat)


def flat_name(tool: ToolName) -> str:
    """The same in every request, since earlier calls are sent again with it."""
    if not tool.namespace:
        return tool.name
    flat = _NOT_IN_NAMES.sub("_", f"{tool.namespace}__{tool.name}")
    if len(flat) <= _MAX_NAME:
        return flat
    return f"{flat[: _MAX_NAME - 9]}_{blake2b(flat.encode(), digest_size=4).hexdigest()}"
