"""What both rows of a pair share: scope, dialect, declared tools, the reading that brings the text of others."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.corpus.calls.dialect import Dialect
from training.corpus.calls.draw import SLOT, Scope
from training.corpus.calls.inject import injection, place, plain
from training.corpus.calls.reformat import reformatted
from training.corpus.calls.tables import Action, Call, Corpus, Domain, Reading, Tool
from training.corpus.calls.talk import Message, Talk

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    task: str
    history: Sequence[Message]
    call: tuple[str, Arguments]
    category: str  # "benign", or what is wrong with it
    how: str
    system: str | None = None


class Pair:
    def __init__(self, corpus: Corpus, domain: Domain, rng: random.Random):
        self.corpus, self.domain, self.rng = corpus, domain, rng
        self.dialect = Dialect(rng)
        # Who the assistant works for is the same in all texts.
        self.own = Scope(rng, domain.pools)
        self.owner = {name: self.own[name] for name in ("person6", "firm6", "mail6")}
        self.other = self.scope()
        self.language = "en"
        self.flat = rng.random() < 0.07
        self.reformats = rng.random() < 0.3
        self.used: dict[tuple[str, str], Tool] = {}
        self.role = self.own.fill(rng.choice(domain.roles)) if rng.random() < 0.6 else None
        self.case = "-"

    def scope(self, known: Mapping[str, str] | None = None) -> Scope:
        return Scope(self.rng, self.domain.pools, known or self.owner)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def worded(self, text: str, scope: Scope | None = None) -> str:
        """A text with its slots filled, the values sometimes in another writing."""
        text = (scope or self.own).fill(text)
        return reformatted(self.rng, text) if self.reformats else text

    def pick(self, texts: Sequence[str]) -> str:
        return self.rng.choice(texts)

    # what is talked about

    def action(self, *needed: str) -> Action | None:
        """An action of the domain, sometimes in another language, that has all the texts `needed`."""
        found = [action for action in self.domain.actions if all(getattr(action, name) for name in needed)]
        foreign = [each for action in found for each in self.translations(action)]
        foreign = [action for action in foreign if all(getattr(action, name) for name in needed)]
        if not found:
            return None
        action = self.rng.choice(foreign if foreign and self.chance(0.3) else found)
        self.language, self.case = action.language, action.id
        return action

    def translations(self, action: Action) -> tuple[Action, ...]:
        return self.corpus.translated.get(f"{action.domain}/{action.id}", ())

    def reading(self, action: Action | None = None, task: str = "") -> Reading:
        """A reading of the domain: the one that `task` speaks of, if there is a task."""
        if action is not None and action.cover:
            task = task or action.cover[0]
        slots = set(SLOT.findall(task))
        shared = [len(slots & set(SLOT.findall(str(each.call.args)))) for each in self.domain.readings]
        most = max(shared) if task else 0
        found = [each for each, number in zip(self.domain.readings, shared, strict=True) if number == most or not task]
        reading = self.domain.readings[0] if task and not most else self.rng.choice(found)
        if not task and self.chance(0.2):
            reading = self.rng.choice([each for domain in self.corpus.domains for each in domain.readings])
        if action is not None and action.cover and self.language != "en":
            reading = replace(reading, cover=action.cover, bodies=action.bodies or reading.bodies)
        return reading

    # calls and results

    def made(self, call: Call, scope: Scope, args: Mapping[str, Any] | None = None) -> tuple[str, Arguments]:
        self.used[call.tool.domain, call.tool.names[0]] = call.tool
        return self.dialect.name(call.tool), self.dialect.arguments(
            call.tool, call.args if args is None else args, scope
        )

    def result(self, reading: Reading, scope: Scope, *extra: str) -> str:
        body = scope.fill(self.pick(reading.bodies))
        if self.chance(0.06):
            body = place(self.rng, body, scope.fill(self.pick(self.corpus.common["quotes"])))
        for text in extra:
            body = place(self.rng, body, text)
        return _shaped(self.rng, self.rng.choice(reading.shapes), body, scope)

    def ordered(self, action: Action, scope: Scope) -> tuple[str, str]:
        """The order as an injection, now and then in another language than the task; and its style."""
        same = [each for each in self.translations(action) if each.call.args == action.call.args]
        if self.language == "en" and same and self.chance(0.15):
            foreign = self.rng.choice(same)
            return self._injected(self.pick(foreign.order), foreign, scope, foreign.language, action.call.args)
        return self.put(self.pick(action.order), action, scope)

    def put(self, order: str, action: Action, scope: Scope, args: Mapping[str, Any] | None = None) -> tuple[str, str]:
        """`order` as an injection that wants the action, with other arguments if there are `args`; and its style."""
        language = self.language if self.chance(0.7) else "en"
        return self._injected(order, action, scope, language, action.call.args if args is None else args)

    def _injected(
        self, order: str, action: Action, scope: Scope, language: str, args: Mapping[str, Any]
    ) -> tuple[str, str]:
        name, arguments = self.made(action.call, scope, args)
        call = {"name": name, "arguments": arguments}
        return injection(self.corpus, language, scope, self.worded(order, scope), call)

    def requested(self, order: str, scope: Scope) -> str:
        """The order as a plain request, which may as well be the user's own note."""
        return plain(self.corpus, self.language, scope, self.worded(order, scope))

    # conversations

    def talk(self) -> Talk:
        talk = Talk(self.rng, self.flat)
        if self.chance(0.12):
            asked, answered = self.pick(self.corpus.common["chat"]).split(" => ")
            talk.user(self.own.fill(asked))
            talk.says(self.own.fill(answered))
        return talk

    def read(self, talk: Talk, reading: Reading, scope: Scope, result: str) -> None:
        """The reading in the conversation, sometimes with others beside or before it."""
        name, arguments = self.made(reading.call, scope)
        steps = [(name, arguments, result)]
        while self.chance(0.22) and len(steps) < 4:
            steps.append(self._aside())
        self.rng.shuffle(steps)
        thought = self.pick(self.corpus.common["thoughts"]) if self.chance(0.35) else None
        if self.chance(0.5):
            talk.called(thought, *steps)
        else:
            for step in steps:
                talk.called(thought, step)
                thought = None

    def _aside(self) -> tuple[str, Arguments, str]:
        reading, scope = self.rng.choice(self.domain.readings), self.scope()
        return *self.made(reading.call, scope), self.result(reading, scope)

    def tools(self) -> list[dict[str, Any]]:
        """The tools in use, and others of the domain; now and then of another domain."""
        near = (*self.domain.tools, *(quiet.tool for quiet in self.domain.quiet))
        others = [tool for tool in near if (tool.domain, tool.names[0]) not in self.used]
        if self.chance(0.3):
            others += self.rng.choice(self.corpus.domains).tools
        self.rng.shuffle(others)
        wanted = self.rng.randint(max(3, len(self.used)), max(10, len(self.used)))
        schemas: dict[str, dict[str, Any]] = {}
        for tool in (*self.used.values(), *others):
            if len(schemas) < wanted:
                schemas[self.dialect.name(tool)] = self.dialect.schema(tool)
        found = list(schemas.values())
        self.rng.shuffle(found)
        return found


def _shaped(rng: random.Random, shape: Any, body: str, scope: Scope) -> str:
    if isinstance(shape, str):
        return "«BODY»".join(scope.fill(part) for part in shape.split("«BODY»")).replace("«BODY»", body)
    tree = _with_body(scope, shape, body)
    match rng.randrange(4):
        case 0:
            return json.dumps(tree, ensure_ascii=False, indent=2)
        case 1:
            return str(tree)
        case 2:
            return json.dumps(tree, ensure_ascii=True)
    return json.dumps(tree, ensure_ascii=False)


def _with_body(scope: Scope, node: Any, body: str) -> Any:
    if isinstance(node, str):
        return body if node == "«BODY»" else scope.tree(node)
    if isinstance(node, list):
        return [_with_body(scope, element, body) for element in node]
    if isinstance(node, dict):
        return {key: _with_body(scope, value, body) for key, value in node.items()}
    return node
