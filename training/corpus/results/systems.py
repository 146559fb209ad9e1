"""What stands around a result: the agent's instructions, its tools, and what happened before."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from training.corpus.results.tables import tools
from training.corpus.results.template import Scope, tree

SYSTEMS = (
    "You are a helpful assistant with access to tools.",
    "You are {user}'s personal assistant. Use the tools to get things done and keep answers short.",
    "You work for {firm}. Follow the policies of the company and ask when you are unsure.",
    "You are an agent. Think step by step, call one tool at a time.",
    "Today is {date}. The user is {user} ({mail}).",
    "You are a support agent of {firm}. Only act on requests of the authenticated customer.",
    "You are a coding agent. You may read and change files in the working directory.",
    "Answer in the language of the user. Never make up data.",
)
TOOL = re.compile(r"^(\w+)\(([^)]*)\) (.*)$")
TYPES: Mapping[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
}


def system_prompt(scope: Scope) -> str | None:
    if scope.rng.random() < 0.6:
        return None
    inner = scope.child("user")
    return scope.rng.choice(SYSTEMS).format(
        user=inner.slot("user"), firm=inner.slot("firm"), date=inner.slot("date"), mail=inner.slot("mail:user")
    )


def renamed(rng: random.Random, name: str, style: str, domain: str) -> str:
    """The same tool as another toolkit would call it."""
    parts = name.split("_")
    match style:
        case "camel":
            return parts[0] + "".join(part.capitalize() for part in parts[1:])
        case "pascal":
            return "".join(part.capitalize() for part in parts)
        case "mcp":
            return f"mcp__{domain}__{name}"
        case "kebab":
            return f"{domain}-{name}"
        case _:
            return name


def tool_schemas(
    rng: random.Random, scene: Mapping[str, Any], call: str, arguments: Mapping[str, Any], style: str
) -> list[dict[str, Any]]:
    """The tool that was called among others of its domain, and one or two from elsewhere."""
    domain = scene["domain"]
    own = [_parsed(line) for line in rng.sample(list(tools()[domain]), k=rng.randint(2, min(5, len(tools()[domain]))))]
    elsewhere = rng.choice([other for other in tools() if other != domain])
    far = [_parsed(line) for line in rng.sample(list(tools()[elsewhere]), k=rng.randint(0, 2))]
    types = {name: TYPES[type(value)] for name, value in arguments.items()}
    schemas = [_schema(call, f"{_words(call)}.", types)]
    seen = {call}
    for name, parameters, description in [*own, *far]:
        public = renamed(rng, name, style, domain)
        if public not in seen:
            seen.add(public)
            schemas.append(_schema(public, description, dict.fromkeys(parameters, "string")))
    rng.shuffle(schemas)
    return schemas


def earlier(scope: Scope, scene: Mapping[str, Any], style: str) -> list[dict[str, Any]]:
    """Now and then a turn that is over: another request and a short clean answer."""
    rng = scope.rng
    if rng.random() > 0.2:
        return []
    inner = scope.child("user")
    ask, name, arguments, result, answer = rng.choice(EARLIER)
    filled = tree(inner, dict(arguments))
    call = {
        "id": "call_0",
        "type": "function",
        "function": {
            "name": renamed(rng, name, style, scene["domain"]),
            "arguments": json.dumps(filled, ensure_ascii=False),
        },
    }
    return [
        {"role": "user", "content": inner.fill(ask)},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": inner.fill(result)},
        {"role": "assistant", "content": inner.fill(answer)},
    ]


EARLIER: Sequence[tuple[str, str, Mapping[str, Any], str, str]] = (
    ("What day is it?", "get_current_day", {}, "«date»", "It is «date»."),
    ("What time is it in «city»?", "get_time", {"city": "«city»"}, '{"time": "«time»"}', "It is «time» in «city»."),
    (
        "Remind me to call «person».",
        "create_task",
        {"title": "Call «person»"},
        '{"status": "ok", "id": "«id:6»"}',
        "Done.",
    ),
    (
        "How much is 17 % of «int:20-900»?",
        "calculate",
        {"expression": "0.17 * «int:20-900»"},
        "«amount»",
        "That is «amount».",
    ),
    (
        "Who is «person»?",
        "find_contacts",
        {"name": "«person»"},
        '{"name": "«person»", "title": "«title»", "firm": "«firm»"}',
        "«person» is «title» at «firm».",
    ),
    ("Is «host» up?", "ping", {"host": "«host»"}, "64 bytes from «ip»: time=«int:1-80» ms", "Yes, «host» answers."),
    (
        "Thanks for yesterday. What is the weather in «city»?",
        "get_weather",
        {"city": "«city»"},
        "{'temp': «int:0-30», 'sky': 'cloudy'}",
        "Cloudy.",
    ),
)


def _parsed(line: str) -> tuple[str, list[str], str]:
    match = TOOL.match(line)
    if match is None:
        raise ValueError(f"not a tool: {line}")
    return match[1], [name for name in match[2].split(", ") if name], match[3]


def _words(name: str) -> str:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.split("__")[-1]).replace("_", " ").replace("-", " ")
    return spaced[:1].upper() + spaced[1:]


def _schema(name: str, description: str, types: Mapping[str, str]) -> dict[str, Any]:
    properties = {parameter: {"type": kind} for parameter, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
