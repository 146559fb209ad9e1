"""The hand-written tables as they are read: one file a domain, one of injection styles, one a language group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "scenarios"
Tree = Any
Texts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Param:
    names: Texts
    type: str
    required: bool
    about: str
    choices: Texts = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """`names[0]` is what the tables call it; a row picks one of the names and writes it in its own style."""

    domain: str
    names: Texts
    about: Texts
    params: tuple[Param, ...]
    vendors: Texts


@dataclass(frozen=True, slots=True)
class Call:
    tool: Tool
    args: Mapping[str, Tree]


@dataclass(frozen=True, slots=True)
class Reading:
    """A tool that brings text of others into the conversation, and tasks that want no more than to read it."""

    call: Call
    cover: Texts
    shapes: tuple[Tree, ...]
    bodies: Texts
    both: Texts = ()  # tasks that want two readings, «…» and «…2»
    second: Call | None = None
    pry: Call | None = None  # the same tool, on what the user did not want read
    pry_order: Texts = ()


@dataclass(frozen=True, slots=True)
class Drift:
    """What a careless or overreaching model makes of the user's words."""

    args: Mapping[str, Tree]
    category: str


@dataclass(frozen=True, slots=True)
class Action:
    id: str
    domain: str
    call: Call
    ask: Texts
    order: Texts  # the same wish as somebody else words it, an infinitive clause
    fact: Texts = ()  # the values as plain data
    refer: Texts = ()  # tasks of the user that leave the values to a result
    swap: Texts = ()  # an injected "correction" of some arguments
    swap_args: Mapping[str, Tree] = field(default_factory=dict)
    drift: tuple[Drift, ...] = ()
    cover: Texts = ()  # in another language: tasks and results that go with it
    bodies: Texts = ()
    language: str = "en"


@dataclass(frozen=True, slots=True)
class Wish:
    """A harmful wish of the user himself, and a harmless one with the same tool that looks much like it."""

    id: str
    domain: str
    tool: Tool
    args: Mapping[str, Tree]
    ask: Texts
    category: str
    twin_args: Mapping[str, Tree]
    twin_ask: Texts
    encode: str | None


@dataclass(frozen=True, slots=True)
class Quiet:
    """A tool without arguments: who wanted it called is all there is to judge."""

    tool: Tool
    ask: Texts
    group: str = ""  # tools of one group serve the same tasks


@dataclass(frozen=True, slots=True)
class Chain:
    """A call on a thing that the user describes and a list names: benign, though the name stands in a result only."""

    look: Call
    act: Call
    item: Tree
    by: str  # the slot by which the user tells the things apart
    keep: Texts  # slots that all things of the list have in common
    ask: Texts


@dataclass(frozen=True, slots=True)
class Domain:
    name: str
    roles: Texts
    pools: Mapping[str, Sequence[str]]
    tools: tuple[Tool, ...]
    readings: tuple[Reading, ...]
    actions: tuple[Action, ...]
    wishes: tuple[Wish, ...]
    quiet: tuple[Quiet, ...]
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    domains: tuple[Domain, ...]
    styles: Mapping[str, Mapping[str, Texts]]  # language -> kind -> templates
    common: Mapping[str, Texts]
    translated: Mapping[str, tuple[Action, ...]]  # "domain/action" -> the same in other languages


@cache
def corpus() -> Corpus:
    shared = _read("shared")
    tables = [_read(path.stem) for path in sorted(FOLDER.glob("domain_*.yaml"))]
    pools = _pools(shared, *tables)
    domains = tuple(_domain(table, pools) for table in tables)
    actions = {f"{action.domain}/{action.id}": action for domain in domains for action in domain.actions}
    translated: dict[str, list[Action]] = {}
    styles = {"en": {kind: _texts(texts) for kind, texts in shared["styles"].items()}}
    for path in sorted(FOLDER.glob("language_*.yaml")):
        for language, table in _read(path.stem).items():
            styles[language] = {kind: _texts(texts) for kind, texts in table["styles"].items()}
            for key, overlay in table["actions"].items():
                translated.setdefault(key, []).append(_overlay(actions[key], overlay, language))
    common = {name: _texts(texts) for name, texts in shared["common"].items()}
    return Corpus(domains, styles, common, {key: tuple(found) for key, found in translated.items()})


def _read(stem: str) -> Tree:
    return yaml.safe_load((FOLDER / f"{stem}.yaml").read_text(encoding="utf-8"))


def _texts(node: Tree) -> Texts:
    texts = tuple(node or ())
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"not a text: {text!r}")
    return texts


def _pools(*tables: Tree) -> dict[str, Texts]:
    """All pools together: the texts of one domain may turn up in a conversation about another."""
    found: dict[str, Texts] = {}
    for table in tables:
        for name, values in table.get("pools", {}).items():
            if name in found:
                raise ValueError(f"two pools are named {name}")
            found[name] = _pool(values)
    return found


def _domain(table: Tree, pools: Mapping[str, Texts]) -> Domain:
    name = table["domain"]
    tools = {tool.names[0]: tool for tool in _tools(name, table)}
    return Domain(
        name,
        _texts(table["roles"]),
        pools,
        tuple(tools.values()),
        tuple(_reading(entry, tools) for entry in table.get("readings", ())),
        tuple(_action(name, key, entry, tools) for key, entry in table.get("actions", {}).items()),
        tuple(_wish(name, f"wish{n}", entry, tools) for n, entry in enumerate(table.get("wishes", ()))),
        tuple(_quiet(name, entry, table["vendors"]) for entry in _entries(table)),
        tuple(_chain(entry, tools) for entry in table.get("chains", ())),
    )


def _pool(values: Tree) -> Texts:
    return tuple(part.strip() for part in values.split(";")) if isinstance(values, str) else _texts(values)


def _tools(domain: str, table: Tree) -> Iterator[Tool]:
    for names, entry in table["tools"].items():
        params = tuple(_param(key, text) for key, text in (entry.get("params") or {}).items())
        yield Tool(
            domain,
            tuple(names.split("|")),
            _texts(entry["about"]),
            params,
            _texts(entry.get("vendors", table["vendors"])),
        )


def _param(names: str, text: str) -> Param:
    """`string! What it is`, `string(a,b) What it is`."""
    kind, _, about = text.partition(" ")
    required = kind.endswith("!")
    kind, _, choices = kind.rstrip("!").partition("(")
    return Param(
        tuple(names.split("|")), kind, required, about, tuple(choices.rstrip(")").split(",")) if choices else ()
    )


def _call(entry: Tree, tools: Mapping[str, Tool]) -> Call:
    tool = tools[entry["call"]]
    known = {param.names[0] for param in tool.params}
    if unknown := {key.rstrip("~") for key in entry.get("args") or {}} - known:
        raise ValueError(f"{tool.names[0]} has no {unknown}")
    return Call(tool, entry.get("args") or {})


def _reading(entry: Tree, tools: Mapping[str, Tool]) -> Reading:
    call = _call(entry, tools)
    second = Call(call.tool, {**call.args, **entry["second"]}) if "second" in entry else None
    pry = Call(call.tool, {**call.args, **entry["pry"]}) if "pry" in entry else None
    texts = (_texts(entry.get("both")), second, pry, _texts(entry.get("pry_order")))
    return Reading(call, _texts(entry["cover"]), tuple(entry["shapes"]), _texts(entry["bodies"]), *texts)


def _action(domain: str, key: str, entry: Tree, tools: Mapping[str, Tool]) -> Action:
    drift = tuple(Drift(each["args"], each.get("as", "tool_misuse")) for each in entry.get("drift", ()))
    fact, refer, swap = (_texts(entry.get(name)) for name in ("fact", "refer", "swap"))
    call = _call(entry, tools)
    return Action(
        key,
        domain,
        call,
        _texts(entry["ask"]),
        _texts(entry["order"]),
        fact,
        refer,
        swap,
        entry.get("swap_args", {}),
        drift,
    )


def _overlay(action: Action, entry: Tree, language: str) -> Action:
    names = ("ask", "order", "fact", "refer", "swap", "cover", "bodies")
    texts: dict[str, Any] = {name: _texts(entry.get(name)) for name in names}
    args = {**action.call.args, **entry.get("args", {})}
    drift = () if "args" in entry else action.drift
    return replace(action, language=language, call=replace(action.call, args=args), drift=drift, **texts)


def _wish(domain: str, key: str, entry: Tree, tools: Mapping[str, Tool]) -> Wish:
    call, twin = _call(entry, tools), entry["twin"]
    texts = (_texts(entry["ask"]), entry["as"], twin["args"], _texts(twin["ask"]), entry.get("encode"))
    return Wish(key, domain, call.tool, call.args, *texts)


def _chain(entry: Tree, tools: Mapping[str, Tool]) -> Chain:
    look, act = _call(entry["look"], tools), _call(entry["act"], tools)
    return Chain(look, act, entry["item"], entry["by"], _texts(entry.get("keep")), _texts(entry["ask"]))


def _entries(table: Tree) -> Iterator[Tree]:
    """The quiet tools of a domain, those that come in groups after those that do not."""
    yield from table.get("quiet", ())
    for group in table.get("groups", ()):
        for names, about in group["tools"].items():
            yield {"name": names, "about": about, "ask": group["ask"], "group": group["role"]}


def _quiet(domain: str, entry: Tree, vendors: Tree) -> Quiet:
    names = tuple(entry["name"].split("|"))
    about = entry["about"] if isinstance(entry["about"], list) else [entry["about"]]
    return Quiet(Tool(domain, names, _texts(about), (), _texts(vendors)), _texts(entry["ask"]), entry.get("group", ""))
