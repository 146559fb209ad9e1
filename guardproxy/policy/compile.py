"""From the models of a pack to rules that can be evaluated. Pure; every fault of a rule is reported, none raised."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from guardproxy.decision import Mode, OnError, Verdict
from guardproxy.policy.conditions import Condition, compile_condition
from guardproxy.policy.match import ArgumentTest, CommandTest, TextTest, compile_argument, compile_command, compile_text
from guardproxy.policy.names import NameGlobs, compile_globs
from guardproxy.policy.schema import RuleModel
from guardproxy.strict_json import Json

_T = TypeVar("_T")
_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to run. `commands` and `arguments` are alternatives, None where the rule does not ask."""

    id: str
    code: str
    advice: str
    verdict: Verdict
    mode: Mode
    on_error: OnError
    on_result: bool
    tools: NameGlobs
    except_tools: NameGlobs | None
    commands: tuple[CommandTest, ...] | None
    arguments: tuple[ArgumentTest, ...] | None
    text: TextTest | None
    condition: Condition | None
    rewrite: tuple[tuple[str, Json], ...]

    def names(self, tool: str) -> bool:
        """Whether the rule is about this tool."""
        return self.tools.match(tool) and not (self.except_tools is not None and self.except_tools.match(tool))


@dataclass(frozen=True, slots=True)
class RuleFault:
    """`place` is the way to the faulty key inside the rule."""

    place: tuple[str | int, ...]
    problem: str


def compile_rule(model: RuleModel, mode: Mode | None = None) -> CompiledRule | list[RuleFault]:
    """The compiled rule, or everything that is wrong with it."""
    faults: list[RuleFault] = []
    tools = _tried(faults, ("tools",), compile_globs, model.tools)
    except_tools = _tried(faults, ("except_tools",), compile_globs, model.except_tools) if model.except_tools else None
    commands = list(_each(faults, "command", compile_command, model.command)) if model.command else None
    arguments = list(_each(faults, "arguments", compile_argument, model.arguments)) if model.arguments else None
    text = _tried(faults, ("text",), compile_text, model.text) if model.text else None
    condition = _tried(faults, ("when",), compile_condition, model.when) if model.when else None
    if faults or tools is None:
        return faults
    return CompiledRule(
        id=model.id,
        code=model.code,
        advice=model.advice,
        verdict=model.verdict,
        mode=mode or model.mode,
        on_error=model.on_error,
        on_result=model.on == "tool_result",
        tools=tools,
        except_tools=except_tools,
        commands=tuple(commands) if commands is not None else None,
        arguments=tuple(arguments) if arguments is not None else None,
        text=text,
        condition=condition,
        rewrite=tuple((model.rewrite or {}).items()),
    )


def _each(faults: list[RuleFault], key: str, build: Callable[[_S], _T], models: tuple[_S, ...]) -> Iterator[_T]:
    for place, model in enumerate(models):
        built = _tried(faults, (key, place), build, model)
        if built is not None:
            yield built


def _tried(faults: list[RuleFault], place: tuple[str | int, ...], build: Callable[[_S], _T], model: _S) -> _T | None:
    try:
        return build(model)
    except ValueError as error:
        faults.append(RuleFault(place, str(error)))
        return None
