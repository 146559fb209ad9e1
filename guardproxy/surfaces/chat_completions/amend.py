"""Taking blocked calls out of held frames, and putting rewritten arguments in.

Frames are rebuilt from known fields instead of edited: log-probabilities, token ids, reasoning and fields that this
version does not know may all quote the call, so of such a turn none of them leaves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, assert_never

from guardproxy.decision import Allow, Block, Decision, Permit, Reask, Rewrite
from guardproxy.model import CallKey, CallKind, ToolCall
from guardproxy.stream.frame import Frame
from guardproxy.surfaces.chat_completions.answer import LEGACY_INDEX, TEXT_PARTS
from guardproxy.surfaces.surface import OnBlock, Refusal

Tree: TypeAlias = dict[str, Any]
"""A piece of a frame that was read before, so that its shape is known to be right."""

_ENVELOPE = ("id", "object", "created", "model", "service_tier", "system_fingerprint")
_CALL_REASONS = ("tool_calls", "function_call")


def amend_chunks(held: Sequence[Frame], permit: Permit, refusal: Refusal) -> list[Frame]:
    """The held frames of a streamed turn."""
    plan = _Plan.of(permit, refusal)
    frames: list[Frame] = []
    for frame in held:
        frames += [frame] if frame.tree is None else _amend_chunk(frame.tree, plan)
    return frames


def amend_completion(held: Sequence[Frame], permit: Permit, refusal: Refusal) -> list[Frame]:
    """The one frame of a whole answer."""
    plan = _Plan.of(permit, refusal)
    return [Frame(_amend_body(frame.tree, plan)) for frame in held if frame.tree is not None]


@dataclass(slots=True)
class _Plan:
    """What becomes of each call. `written` remembers which of the rewritten or streamed calls have begun."""

    kept: Mapping[CallKey, ToolCall]
    rewritten: Mapping[CallKey, str]
    positions: Mapping[CallKey, int]
    choices_with_calls: frozenset[int]
    choices_with_text: frozenset[int]
    refusal: Refusal
    room: dict[int, int]  # characters of text that may still leave, for choices whose text is cut
    written: set[CallKey] = field(default_factory=set)

    @classmethod
    def of(cls, permit: Permit, refusal: Refusal) -> "_Plan":
        kept = {
            call.key: call
            for call in permit.turn.calls
            if call.kind is not CallKind.TEXT and _leaves(permit.decision, call.key)
        }
        outcomes = permit.decision.outcomes
        return cls(
            kept=kept,
            rewritten={key: out.arguments for key in kept if isinstance(out := outcomes[key], Rewrite)},
            positions=_positions(kept),
            choices_with_calls=frozenset(key.choice for key in kept),
            choices_with_text=frozenset(choice for choice, text in permit.turn.texts.items() if text),
            refusal=refusal,
            room=dict(refusal.text_room),
        )

    def cut(self, choice: int, text: str) -> str:
        """What of a held text may leave."""
        if choice not in self.room:
            return text
        kept = text[: self.room[choice]]
        self.room[choice] -= len(kept)
        return kept

    def finish_reason(self, choice: int, reason: str | None) -> str | None:
        if choice in self.choices_with_calls or choice not in self.refusal.texts:
            return reason
        if self.refusal.style is OnBlock.CONTENT_FILTER:
            return "content_filter"
        return "stop" if reason in _CALL_REASONS else reason

    def refusal_delta(self, choice: int) -> Tree:
        """What a streamed choice says about its blocked calls, after whatever text it began with."""
        text = self.refusal.texts[choice]
        if self.refusal.style is OnBlock.REFUSAL:
            return {"refusal": text}
        return {"content": f"\n\n{text}" if choice in self.choices_with_text else text}

    def refusal_message(self, choice: int, content: str, own_refusal: object) -> Tree:
        """The text fields of a whole message whose own texts are `content` and `own_refusal`."""
        text = self.refusal.texts.get(choice)
        refusal = own_refusal if isinstance(own_refusal, str) else None
        if text is None:
            return {"content": content or None, "refusal": refusal}
        if self.refusal.style is OnBlock.REFUSAL:
            return {"content": content or None, "refusal": text}
        return {"content": f"{content}\n\n{text}" if content else text, "refusal": refusal}


def _leaves(decision: Decision, key: CallKey) -> bool:
    match outcome := decision.outcomes[key]:
        case Allow() | Rewrite():
            return True
        case Block() | Reask():
            return False
        case _:
            assert_never(outcome)


def _positions(kept: Mapping[CallKey, ToolCall]) -> dict[CallKey, int]:
    """New indexes without gaps: clients use a call's index as its place in a list."""
    positions: dict[CallKey, int] = {}
    counts: dict[int, int] = {}
    for key in sorted(kept):
        if key.position != LEGACY_INDEX:
            positions[key] = counts.get(key.choice, 0)
            counts[key.choice] = positions[key] + 1
    return positions


def _envelope(tree: Tree) -> Tree:
    kept = {name: tree[name] for name in _ENVELOPE if name in tree and not isinstance(tree[name], (dict, list))}
    if isinstance(tree.get("usage"), dict):
        kept["usage"] = _numbers(tree["usage"])
    return kept


def _numbers(tree: Any) -> Any:
    """Usage is counts; anything else in it stays behind."""
    if isinstance(tree, dict):
        return {k: _numbers(v) for k, v in tree.items() if v is None or isinstance(v, (int, float, dict))}
    return tree


# --- streamed ----------------------------------------------------------------------------------------------------


def _amend_chunk(tree: Tree, plan: _Plan) -> Iterable[Frame]:
    envelope = _envelope(tree)
    choices = [amended for choice in tree.get("choices") or [] for amended in _amend_chunk_choice(choice, plan)]
    for choice in choices[:-1]:  # a refusal goes out on its own, before the finish that it precedes
        yield Frame({k: v for k, v in envelope.items() if k != "usage"} | {"choices": [choice]})
    if choices or "usage" in envelope:
        yield Frame(envelope | {"choices": choices[-1:]})


def _amend_chunk_choice(choice: Tree, plan: _Plan) -> Iterable[Tree]:
    index, reason = choice["index"], choice.get("finish_reason")
    delta = _amend_delta(choice.get("delta") or {}, index, plan)
    if reason is None:
        if delta:
            yield {"index": index, "delta": delta, "finish_reason": None}
        return
    if delta and index in plan.refusal.texts:
        yield {"index": index, "delta": delta, "finish_reason": None}
        delta = {}
    if index in plan.refusal.texts:
        yield {"index": index, "delta": plan.refusal_delta(index), "finish_reason": None}
    yield {"index": index, "delta": delta, "finish_reason": plan.finish_reason(index, reason)}


def _amend_delta(delta: Tree, choice: int, plan: _Plan) -> Tree:
    kept: Tree = {name: delta[name] for name in ("role", "refusal") if isinstance(delta.get(name), str)}
    if delta.get("content") is not None:
        kept["content"] = plan.cut(choice, _plain_text(delta["content"]))
    calls = [
        amended
        for call in delta.get("tool_calls") or []
        if (amended := _amend_call_delta(call, choice, plan)) is not None
    ]
    if calls:
        kept["tool_calls"] = calls
    legacy = CallKey(choice, LEGACY_INDEX)
    if delta.get("function_call") is not None and legacy in plan.kept:
        kept["function_call"] = _body_piece(delta["function_call"], plan, legacy)
    return kept


def _amend_call_delta(call: Tree, choice: int, plan: _Plan) -> Tree | None:
    key = CallKey(choice, call["index"])
    if key not in plan.kept:
        return None
    kind = plan.kept[key].kind
    if kind is CallKind.OPAQUE:  # let pass by a policy that names it; its shape is not ours to rebuild
        return call | {"index": plan.positions[key]}
    amended = {"index": plan.positions[key]} | {name: call[name] for name in ("id", "type") if call.get(name)}
    if call.get(kind.value) is not None:
        amended[kind.value] = _body_piece(call[kind.value], plan, key)
    return amended


def _body_piece(body: Tree, plan: _Plan, key: CallKey) -> Tree:
    """The known fields of a piece of a call's body. Rewritten arguments go out whole with the first piece."""
    field_name = "input" if plan.kept[key].kind is CallKind.CUSTOM else "arguments"
    piece = {name: body[name] for name in ("name", field_name) if body.get(name) is not None}
    if key in plan.rewritten:
        piece[field_name] = "" if key in plan.written else plan.rewritten[key]
        plan.written.add(key)
    return piece


# --- whole -------------------------------------------------------------------------------------------------------


def _amend_body(tree: Tree, plan: _Plan) -> Tree:
    return _envelope(tree) | {"choices": [_amend_choice(choice, plan) for choice in tree.get("choices") or []]}


def _amend_choice(choice: Tree, plan: _Plan) -> Tree:
    index, message = choice["index"], choice.get("message") or {}
    amended: Tree = {"role": "assistant"}
    content = plan.cut(index, _plain_text(message.get("content")))
    amended |= plan.refusal_message(index, content, message.get("refusal"))
    calls = [
        _amend_call(call, key, plan)
        for position, call in enumerate(message.get("tool_calls") or [])
        if (key := CallKey(index, position)) in plan.kept
    ]
    if calls:
        amended["tool_calls"] = calls
    legacy = CallKey(index, LEGACY_INDEX)
    if legacy in plan.kept:
        amended["function_call"] = _whole_body(plan.kept[legacy], plan, "arguments")
    reason = plan.finish_reason(index, choice.get("finish_reason"))
    return {"index": index, "message": amended, "logprobs": None, "finish_reason": reason}


def _amend_call(call: Tree, key: CallKey, plan: _Plan) -> Tree:
    kept = plan.kept[key]
    if kept.kind is CallKind.OPAQUE:
        return call
    field_name = "input" if kept.kind is CallKind.CUSTOM else "arguments"
    return {"id": kept.id, "type": kept.kind.value, kept.kind.value: _whole_body(kept, plan, field_name)}


def _whole_body(call: ToolCall, plan: _Plan, field_name: str) -> Tree:
    return {"name": call.name, field_name: plan.rewritten.get(call.key, call.arguments)}


def _plain_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part["type"] in TEXT_PARTS)
    return content or ""
