"""The rows: every base text in many versions, each clean and with an injected text."""

import copy
import hashlib
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.corpus.results.inject import aside, injection
from training.corpus.results.mark import located, marked
from training.corpus.results.place import into_lines, into_table, into_tree
from training.corpus.results.systems import earlier, renamed, system_prompt, tool_schemas
from training.corpus.results.tables import errands, pools, scenes
from training.corpus.results.template import Scope, lines, tree
from training.corpus.results.write import write_table, write_text, write_tree

Row = dict[str, Any]
VERSIONS = 44
NAMES = ("snake", "snake", "snake", "camel", "pascal", "mcp", "kebab")


@dataclass(frozen=True, slots=True)
class Body:
    """A base text before it is written out."""

    scope: Scope
    scene: Mapping[str, Any]
    content: Any
    places: tuple[str, ...] = ()

    def with_text(self, text: str) -> "Body":
        content = copy.deepcopy(self.content)
        match self.scene["form"]:
            case "data":
                place = into_tree(self.scope, content, text, new_keys=True)
            case "table":
                place = into_table(self.scope, content, text)
            case _:
                content, place = into_lines(self.scope, self.scene, content, text)
        return replace(self, content=content, places=(*self.places, place))


def rows(seed: int, versions: int = VERSIONS) -> Iterator[Row]:
    """The same seed gives the same rows in the same order. A clean row is followed by its injected twin."""
    seen: set[str] = set()
    for scene in scenes():
        for version in range(versions):
            rng = random.Random(f"{seed}/{scene['id']}/{version}")
            pair = _pair(rng, scene, f"{scene['id']}-{version}")
            texts = {row["tool_result"] for row in pair}
            if len(texts) == len(pair) and not texts & seen:
                seen |= texts
                yield from pair


def _pair(rng: random.Random, scene: Mapping[str, Any], name: str) -> list[Row]:
    scope = Scope(rng, pools())
    for slot in ("do", "do2"):
        scope.values[slot] = scope.child().fill(rng.choice(errands()[rng.choice(tuple(errands()))]))
    bodies = [_body(scope, scene)]
    for _ in range(rng.choices((0, 1, 2, 3), weights=(18, 36, 28, 18))[0]):
        bodies.append(bodies[-1].with_text(aside(scope, scene)))
    attack = injection(scope, scene)
    # Half of the time the injected text takes the place of the last clean one, else it is added to all of them.
    dirty = rng.choice(bodies[-2:]).with_text(marked(attack.text))
    if rng.random() < 0.05:
        dirty = dirty.with_text(marked(attack.text))
    writer, form = _writer(rng, scene)
    injected, spans = located(writer(dirty.content))
    around = _around(scope, scene)
    origin = f"case={scene['id']}; domain={scene['domain']}; pair={name}; form={form}"
    where = ",".join(f"{start}-{end}" for start, end in spans)
    how = f"style={attack.style}; lang={attack.language}; place={dirty.places[-1]}; span={where}"
    return [
        _row(around, writer(bodies[-1].content), "benign", scene["kind"], f"{origin}; asides={len(bodies) - 1}"),
        _row(around, injected, "harmful", f"{attack.style}/{attack.area}", f"{origin}; {how}"),
    ]


def _body(scope: Scope, scene: Mapping[str, Any]) -> Body:
    if "data" in scene:
        value = _nonempty(scope, scene["data"])
        return Body(scope, scene, {"rows": value, "extra": []} if scene["form"] == "table" else value)
    text = lines(scope, scene["text"])
    if scene["form"] in ("mail", "web", "chat", "log") and scope.rng.random() < 0.15:
        rule = scope.rng.choice(("", "---\n\n", "=====\n"))
        text = f"{text}\n\n{rule}{lines(scope.child('user', 'do', 'do2'), scene['text'])}"
    return Body(scope, scene, text)


def _nonempty(scope: Scope, data: Any) -> Any:
    """A list whose elements are all optional may come out empty; such a result has a scene of its own."""
    while not (value := tree(scope, data)):
        pass
    return value


def _writer(rng: random.Random, scene: Mapping[str, Any]) -> Any:
    match scene["form"]:
        case "data":
            return write_tree(rng, None)
        case "table":
            return write_table(rng)
        case _:
            return write_text(rng)


def _around(scope: Scope, scene: Mapping[str, Any]) -> Row:
    """What both rows of a pair share."""
    rng = scope.rng
    style = rng.choice(NAMES)
    ((tool, template),) = rng.choice(scene["calls"]).items()
    arguments = tree(scope, template)
    name = renamed(rng, tool, style, scene["domain"])
    task = scope.fill(rng.choice(scene["tasks"]))
    past = earlier(scope, scene, style)
    call = {
        "id": f"call_{len(past) // 4}",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }
    return {
        "user_task": task,
        "system": system_prompt(scope),
        "tools": tool_schemas(rng, scene, name, arguments, style),
        "history": [
            *past,
            {"role": "user", "content": task},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ],
        "tool_call": {"name": name, "arguments": arguments},
    }


def _row(around: Row, result: str, label: str, category: str, note: str) -> Row:
    digest = hashlib.blake2b(f"{note}\n{result}".encode(), digest_size=8).hexdigest()
    return {
        "id": f"corpus-results-{digest}",
        "source": "corpus-results",
        "license": "Apache-2.0",
        "kind": "tool_result",
        **copy.deepcopy(around),
        "tool_result": result,
        "label": label,
        "category": category,
        "note": note,
    }
