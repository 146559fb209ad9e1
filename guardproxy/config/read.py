"""From a file, the environment and the command line to Settings. Everything wrong is told at once, with its place.

No value is ever quoted in a fault: any of them may be a secret.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from guardproxy.config.contradictions import contradictions
from guardproxy.config.expand import expand
from guardproxy.config.settings import Settings, is_pack_file
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.strict_yaml import Document, Place, Plain, dotted, scan

CONFIG_VARIABLE = "GUARDPROXY_CONFIG"
FILE_NAME = "guardproxy.yaml"
MAX_FILE_BYTES = 4 << 20

Tree: TypeAlias = dict[str, Plain]


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says; None and empty leave the file's word."""

    host: str | None = None
    port: int | None = None
    admin_port: int | None = None
    upstream: str | None = None
    policy: tuple[str, ...] = ()


def config_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: `path`, else what GUARDPROXY_CONFIG names, else none. Of a directory it is guardproxy.yaml.

    No file is looked for in the working directory: it is often one that the agent can write to.
    """
    if path is None:
        named = environ.get(CONFIG_VARIABLE)
        if not named:
            return None
        path = Path(named)
    path = Path.cwd() / path.expanduser()
    return path / FILE_NAME if path.is_dir() else path


def read_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Overrides | None = None,
) -> Settings:
    """Raises ConfigurationError with every fault."""
    environ = environ or {}
    file = config_file(path, environ)
    directory = Path.cwd() if file is None else file.parent
    document, faults = (Document("", {}, {}), []) if file is None else scan(_read(file), str(file))
    tree, problems = expand(document.tree, environ, directory)
    draft = _Draft(document, _mapping(document, tree), faults)
    for place, problem in problems.items():
        draft.leave_out(place, problem)
    draft.override(overrides or Overrides())
    draft.add_upstream(environ)
    return draft.validated(directory)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([Fault(str(file), None, "", f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError([Fault(str(file), None, "", f"larger than {MAX_FILE_BYTES} bytes")])
    return data


def _mapping(document: Document, tree: Plain) -> Tree:
    if tree is None:  # nothing but comments: every default holds
        return {}
    if not isinstance(tree, dict):
        raise ConfigurationError([document.fault((), "expected keys and values, such as `policy: [default]`")])
    return tree


@dataclass(slots=True)
class _Draft:
    """The tree to validate, and which of its places come from elsewhere than the file."""

    document: Document
    tree: Tree
    faults: list[Fault]
    unread: set[Place] = field(default_factory=set)
    origins: dict[Place, str] = field(default_factory=dict)

    def leave_out(self, place: Place, problem: str) -> None:
        self.faults.append(self._fault(place, problem))
        self.unread.add(_cut(self.tree, place))

    def override(self, said: Overrides) -> None:
        self._listen("host", said.host, "--host")
        self._listen("port", said.port, "--port")
        self._listen("admin_port", said.admin_port, "--admin-port")
        if said.upstream is not None:
            self._put("upstreams", [{"name": "main", "base_url": said.upstream}], "--upstream")
        if said.policy:
            packs: list[Plain] = [str(Path.cwd() / name) if is_pack_file(name) else name for name in said.policy]
            self._put("policy", packs, "--policy")

    def add_upstream(self, environ: Mapping[str, str]) -> None:
        """Where none is named, the variables that the official SDKs read name one. A key alone names none."""
        base_url, key = environ.get("OPENAI_BASE_URL"), environ.get("OPENAI_API_KEY")
        if "upstreams" not in self.tree and base_url:
            self._put("upstreams", [{"name": "main", "base_url": base_url}], "OPENAI_BASE_URL")
        match self.tree.get("upstreams"):
            case [dict(only)] if key and ("upstreams",) in self.origins:
                only["api_key"] = key

    def _listen(self, name: str, value: Plain, origin: str) -> None:
        listen = self.tree.setdefault("listen", {})
        if value is not None and isinstance(listen, dict):
            listen[name] = value
            self.origins["listen", name] = origin

    def _put(self, section: str, value: Plain, origin: str) -> None:
        self.tree[section] = value
        self.origins[(section,)] = origin

    def validated(self, directory: Path) -> Settings:
        context = {"directory": directory}
        try:
            settings = Settings.model_validate(self.tree, context=context)
        except ValidationError as error:
            for place, problem in map(_reading, _details(error)):
                if place not in self.unread:  # otherwise it is missed only because it was left out
                    self.faults.append(self._fault(place, problem))
            settings = self._without_faults(context)
        for found in contradictions(settings):
            if not any(_touches(place, (found.place, *found.reads)) for place in self.unread):
                self.faults.append(self._fault(found.place, found.problem))
        if self.faults:
            in_order = sorted(dict.fromkeys(self.faults), key=lambda fault: (fault.source, fault.line or 0))
            raise ConfigurationError(in_order)
        return settings

    def _without_faults(self, context: dict[str, Path]) -> Settings:
        """What can be read, so that rules across sections are checked in the same run as the sections."""
        rest = deepcopy(self.tree)
        while True:
            try:
                return Settings.model_validate(rest, context=context)
            except ValidationError as error:
                for detail in _details(error):
                    self.unread.add(_cut(rest, tuple(detail["loc"])))

    def _fault(self, place: Place, problem: str) -> Fault:
        for length in range(len(place), 0, -1):
            origin = self.origins.get(place[:length])
            if origin is not None:
                return Fault(origin, None, "", problem)
        return Fault(self.document.source or "defaults", self.document.line_of(place), dotted(place), problem)


def _cut(tree: Tree, place: Place) -> Place:
    """Takes `place` out of the tree, or what is around it where `place` is an item of a list or is missing."""
    around: list[Plain] = [tree]
    for part in place[:-1]:
        match around[-1], part:
            case dict(mapping), str() if part in mapping:
                around.append(mapping[part])
            case list(items), int() if part < len(items):
                around.append(items[part])
            case _:
                break
    for depth in range(len(around) - 1, -1, -1):
        match around[depth], place[depth]:
            case dict(mapping), str(key) if key in mapping:
                del mapping[key]
                return place[: depth + 1]
    return place  # it went with what was around it


def _touches(unread: Place, looked_at: tuple[Place, ...]) -> bool:
    return any(unread[: len(place)] == place or place[: len(unread)] == unread for place in looked_at)


def _details(error: ValidationError) -> list[ErrorDetails]:
    """pydantic's findings, without the "too short" that it adds for a list whose items were refused."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    inner = {tuple(detail["loc"])[:length] for detail in details for length in range(len(detail["loc"]))}
    return [d for d in details if not (d["type"] == "too_short" and tuple(d["loc"]) in inner)]


def _reading(detail: ErrorDetails) -> tuple[Place, str]:
    """Where pydantic finds fault, and what to tell an operator of it."""
    place: Place = tuple(detail["loc"])
    match detail["type"]:
        case "extra_forbidden":
            return place, f"unknown key{_suggestion(place)}"
        case "missing":
            return place, "is required"
        case _:
            problem = detail["msg"].removeprefix("Value error, ")
            return place, problem[:1].lower() + problem[1:]


def _suggestion(place: Place) -> str:
    """A known key that reads much like the unknown one."""
    from difflib import get_close_matches  # only where there is a fault to tell

    known = known_keys(place[:-1])
    close = get_close_matches(str(place[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


@cache
def _schema() -> dict[str, Any]:
    return Settings.model_json_schema()


def known_keys(place: Place) -> frozenset[str]:
    """The keys that may stand in the section at `place`."""
    schema = _schema()
    node = schema
    for part in place:
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
        node = next((choice for choice in node.get("anyOf", ()) if "$ref" in choice), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return frozenset(node.get("properties", ()))
