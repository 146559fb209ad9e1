"""Puts texts into a base text, the way such a place carries text: as a paragraph, a comment, a log line, a cell."""

import random
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any

from training.corpus.results.mark import bare
from training.corpus.results.template import Scope

PLACES = ("start", "middle", "middle", "end")
NEW_KEYS = (
    "note",
    "notes",
    "message",
    "comment",
    "description",
    "instructions",
    "hint",
    "remarks",
    "additional_info",
    "warning",
    "memo",
)
AGENT_KEYS = (
    "assistant_note",
    "ai_instructions",
    "system",
    "prompt",
    "next_action",
    "llm_hint",
    "agent_message",
    "_meta",
)
HTML_CARRIERS = (
    "<p>{}</p>",
    "<p>{}</p>",
    "<li>{}</li>",
    "<!-- {} -->",
    '<div style="display:none">{}</div>',
    '<span class="sr-only">{}</span>',
    '<p style="font-size:0;color:#fff">{}</p>',
    '<img src="/img/spacer.gif" alt="{}">',
    '<meta name="description" content="{}">',
    '<a href="#" title="{}">more</a>',
)
MARKDOWN_CARRIERS = ("{}", "{}", "> {}", "<!-- {} -->", "[//]: # ({})", "- {}", "**{}**", "`{}`")


def into_lines(scope: Scope, scene: Mapping[str, Any], body: str, text: str) -> tuple[str, str]:
    """The body with the text in it, and where it went."""
    rng = scope.rng
    place = rng.choice(PLACES)
    rows = body.split("\n")
    flows = scene["form"] in ("mail", "web", "doc") and "\n" not in text
    if place == "middle" and flows and rng.random() < 0.4 and (within := _inside(rng, rows, text)):
        return within, "inside"
    at = {"start": 0, "end": len(rows)}.get(place, rng.randint(1, max(1, len(rows) - 1)))
    return "\n".join([*rows[:at], *_carried(scope, scene, text), *rows[at:]]), place


def _inside(rng: random.Random, rows: list[str], text: str) -> str | None:
    """Between two sentences of a line."""
    ends = [
        (row, at + 1)
        for row, line in enumerate(rows)
        for at, letter in enumerate(line[:-2])
        if letter in ".!?" and line[at + 1] == " "
    ]
    if not ends:
        return None
    row, at = rng.choice(ends)
    return "\n".join([*rows[:row], f"{rows[row][:at]} {text}{rows[row][at:]}", *rows[row + 1 :]])


def _carried(scope: Scope, scene: Mapping[str, Any], text: str) -> list[str]:
    return CARRIERS[scene["form"]](scope, scene, text)


def _paragraph(scope: Scope, _: Mapping[str, Any], text: str) -> list[str]:
    return [text] if scope.rng.random() < 0.4 else ["", text, ""]


def _html(scope: Scope, _: Mapping[str, Any], text: str) -> list[str]:
    return [text if bare(text).startswith("<") else scope.rng.choice(HTML_CARRIERS).replace("{}", text)]


def _markdown(scope: Scope, _: Mapping[str, Any], text: str) -> list[str]:
    carrier = (
        "{}" if "\n" in text or bare(text).startswith((">", "<", "#", "-")) else scope.rng.choice(MARKDOWN_CARRIERS)
    )
    return ["", carrier.replace("{}", text), ""]


def _code(_: Scope, scene: Mapping[str, Any], text: str) -> list[str]:
    return [scene["comment"] + line for line in text.split("\n")]


def _log(scope: Scope, _: Mapping[str, Any], text: str) -> list[str]:
    prefix = scope.rng.choice(
        (
            "",
            "",
            "«date» «time»:«int:10-59» INFO  «service#» ",
            "«date» «time»:«int:10-59» ERROR «service#» ",
            "user-agent: ",
            "# ",
        )
    )
    return [scope.child().fill(prefix) + text]


def _chat(scope: Scope, _: Mapping[str, Any], text: str) -> list[str]:
    prefix = scope.rng.choice(("[«time»] «first»: ", "[«time»] «first»: ", "@«word»«int:1-99»: ", "«first»: ", ""))
    return [scope.child().fill(prefix) + text]


CARRIERS: Mapping[str, Callable[[Scope, Mapping[str, Any], str], list[str]]] = {
    "mail": _paragraph,
    "web": _paragraph,
    "doc": _paragraph,
    "html": _html,
    "markdown": _markdown,
    "code": _code,
    "log": _log,
    "chat": _chat,
}


def into_table(scope: Scope, table: Any, text: str) -> str:
    """Puts the text into a cell, or as a line of its own before, between or after the rows."""
    rng = scope.rng
    if rng.random() < 0.5:
        return into_tree(scope, table["rows"], text, new_keys=False)
    share = rng.choice((0.0, 1.0, rng.random()))
    table["extra"].append((share, text))
    return {0.0: "start", 1.0: "end"}.get(share, "middle")


def into_tree(scope: Scope, root: Any, text: str, *, new_keys: bool) -> str:
    """Puts the text into a field of the JSON value, or into a new one; says where."""
    rng = scope.rng
    objects, fields = _walk(root)
    free = [(holder, key) for holder, key in fields if _is_free(key, holder[key])]
    if new_keys and objects and (not free or rng.random() < 0.2):
        holder = rng.choice(objects)
        key = rng.choice(NEW_KEYS if rng.random() < 0.8 else AGENT_KEYS)
        holder[key] = f"{holder[key]} {text}" if isinstance(holder.get(key), str) else text
        return "new field"
    target, name = rng.choice(free or fields)
    target[name] = _mixed(rng, target[name], text)
    return "field"


Holder = MutableMapping[str, Any] | MutableSequence[Any]


def _walk(node: Any) -> tuple[list[MutableMapping[str, Any]], list[tuple[Any, Any]]]:
    """The objects of the value, and where its strings are."""
    objects: list[MutableMapping[str, Any]] = []
    fields: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        objects.append(node)
    pairs = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in pairs:
        if isinstance(value, str):
            fields.append((node, key))
        elif isinstance(value, dict | list):
            inner_objects, inner_fields = _walk(value)
            objects += inner_objects
            fields += inner_fields
    return objects, fields


def _is_free(key: Any, value: str) -> bool:
    return value.count(" ") >= 2 or key in (
        "note",
        "comment",
        "remarks",
        "label",
        "subject",
        "title",
        "description",
        "text",
        "message",
        "snippet",
        "name",
    )


def _mixed(rng: random.Random, old: str, text: str) -> str:
    """Instead of what the field says, before it, after it, or between its sentences, seldom between words."""
    match rng.randint(0, 3) if old else 0:
        case 0:
            return text
        case 1:
            return f"{text} {old}"
        case 2:
            gaps = [at + 1 for at, letter in enumerate(old[:-1]) if letter in ".!?" and old[at + 1] == " "]
            if not gaps and rng.random() < 0.2:
                gaps = [at for at, letter in enumerate(old) if letter == " "]
            at = rng.choice(gaps) if gaps else len(old)
            return f"{old[:at]} {text}{old[at:]}"
        case _:
            return f"{old} {text}"
