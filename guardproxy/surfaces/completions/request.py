"""Reading a completions request, and the ways in which the proxy edits one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from guardproxy.errors import MalformedRequest
from guardproxy.model import CallKey, CallKind, Injection, Message, Position, Request, Turn
from guardproxy.strict_json import JsonObject
from guardproxy.surfaces.completions.contract import CONTRACT, HIDDEN_FIELDS, SAMPLER_FIELDS
from guardproxy.surfaces.surface import RequestRules

MAX_CHOICES = 2048
_SHAPING_FIELDS = ("response_format", "structured_outputs", "guided_json", "guided_choice", "guided_regex", "grammar")


def parse(tree: JsonObject, rules: RequestRules) -> Request:
    """Raises MalformedRequest, naming the field. The prompts are messages of the user."""
    _check_fields(tree, rules)
    prompts = list(_prompts(tree.get("prompt")))
    echoes = _bool(tree, "echo")
    return Request(
        surface="completions",
        model=_model(tree),
        stream=_bool(tree, "stream"),
        tree=tree,
        messages=tuple(Message("user", prompt or "") for prompt in prompts),
        tools=(),
        choices=_choices(tree, len(prompts)),
        structured_output=any(tree.get(field) for field in _SHAPING_FIELDS),
        uninspected=tuple(sorted({*_uninspected(tree, prompts, rules)})),
        stop=_stop(tree),
        echoes=echoes,
        unprefixed="echo" if echoes else _unprefixed(tree, prompts),
    )


# --- reading -----------------------------------------------------------------------------------------------------


def _check_fields(tree: JsonObject, rules: RequestRules) -> None:
    known = CONTRACT["request fields"].keys() | SAMPLER_FIELDS | HIDDEN_FIELDS | rules.allow_fields
    for field, value in tree.items():
        if field not in known and isinstance(value, (dict, list)):
            why = "this proxy does not know it; the operator can name it in request.allow_fields"
            raise MalformedRequest(f"The field is refused: {why}.", param=field[:64], code="field_refused")


def _fault(param: str, wanted: str) -> MalformedRequest:
    return MalformedRequest(f"'{param}' must be {wanted}.", param=param)


def _prompts(prompt: object) -> Iterator[str | None]:
    """Each prompt's text; None for one of token ids, which nobody here can read."""
    match prompt:
        case None:
            yield ""
        case str():
            yield prompt
        case [int(), *_] if _is_tokens(prompt):
            yield None
        case [_, *_]:
            for i, each in enumerate(prompt):
                if not isinstance(each, str) and not _is_tokens(each):
                    raise _fault(f"prompt[{i}]", "a string or a list of token ids")
                yield each if isinstance(each, str) else None
        case _:
            raise _fault("prompt", "a string, a list of strings, a list of token ids or a list of such lists")


def _is_tokens(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _uninspected(tree: Mapping[str, Any], prompts: list[str | None], rules: RequestRules) -> Iterator[str]:
    hidden = [field for field in HIDDEN_FIELDS if tree.get(field) is not None]
    if rules.refuse_hidden_content and (hidden or None in prompts):
        message = "The prompt is refused: the guard can read no token ids and no embeddings."
        raise MalformedRequest(message, param=(hidden or ["prompt"])[0], code="hidden_content_refused")
    if None in prompts:
        yield "tokens"
    if hidden:
        yield "embeddings"


def _model(tree: Mapping[str, Any]) -> str:
    model = tree.get("model")
    if not isinstance(model, str) or not model:
        raise _fault("model", "a non-empty string")
    return model


def _unprefixed(tree: Mapping[str, Any], prompts: list[str | None]) -> str:
    """Why there is no place for a learned prefix. A prompt of several is enough: none is answered otherwise."""
    if None in prompts or any(tree.get(field) is not None for field in HIDDEN_FIELDS):
        return "tokens"
    return "suffix" if tree.get("suffix") else ""


def _bool(tree: Mapping[str, Any], field: str) -> bool:
    value = tree.get(field)
    if value is not None and not isinstance(value, bool):
        raise _fault(field, "true or false")
    return bool(value)


def _choices(tree: Mapping[str, Any], prompts: int) -> int:
    each = 1 if tree.get("n") is None else tree["n"]
    if type(each) is not int or each < 1:
        raise _fault("n", "a whole number from 1")
    if each * prompts > MAX_CHOICES:
        raise _fault("n", f"small enough for {MAX_CHOICES} completions of all prompts together")
    return each * prompts


def _stop(tree: Mapping[str, Any]) -> tuple[str, ...]:
    stop = tree.get("stop")
    stops = stop if isinstance(stop, list) else [stop]
    if not all(each is None or isinstance(each, str) for each in stops):
        raise _fault("stop", "a string or a list of strings")
    return tuple(each for each in stops if each)


# --- editing -----------------------------------------------------------------------------------------------------


def with_injection(request: Request, injection: Injection) -> Request:
    """A prompt ends where the model's turn begins, so a prefix of that turn is the end of the prompt."""
    if injection.position is Position.INSTRUCTION:
        return _with_prompts(request, lambda prompt: f"{injection.text}\n\n{prompt}")
    return _with_prompts(request, lambda prompt: prompt + injection.text)


def with_feedback(request: Request, turn: Turn, feedback: Mapping[CallKey, str]) -> Request:
    """The turn as the model said it, and then an observation, as agents that parse text write one."""
    said = turn.texts.get(0, "")
    observed = "".join(f"\nObservation: {feedback[call.key]}" for call in turn.calls if call.kind is CallKind.TEXT)
    return _with_prompts(request, lambda prompt: f"{prompt}{said}{observed}\n")


def _with_prompts(request: Request, edit: Callable[[str], str]) -> Request:
    prompt = request.tree.get("prompt")
    edited: Any = prompt
    if prompt is None or isinstance(prompt, str):
        edited = edit(prompt or "")
    elif isinstance(prompt, list):
        edited = [edit(each) if isinstance(each, str) else each for each in prompt]
    return replace(request, tree={**request.tree, "prompt": edited})
