"""Chat completions as different servers send them, streamed and whole: one turn, in the shapes that each is known for.

Each is written down after the server's own source or published answers. They differ where proxies break: empty lists
beside text, chunks without choices, text and calls at once, fields of their own, usage in the last chunk or after it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Tree = dict[str, Any]

_CREATED = 1_763_700_000


@dataclass(frozen=True, slots=True)
class SaidCall:
    """`arguments` is JSON text, or free text for a custom tool. `kind` is function, custom or legacy."""

    name: str
    arguments: str
    id: str = "call_Zk3vq0aB7xTn"
    kind: str = "function"


@dataclass(frozen=True, slots=True)
class Said:
    """One choice of a turn."""

    text: str = ""
    calls: tuple[SaidCall, ...] = ()
    reasoning: str = ""
    logprobs: bool = False

    @property
    def finish(self) -> str:
        if not self.calls:
            return "stop"
        return "function_call" if self.calls[0].kind == "legacy" else "tool_calls"


class Dialect(Protocol):
    @property
    def name(self) -> str: ...

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]: ...

    def whole(self, said: Sequence[Said]) -> Tree: ...


def _pieces(text: str) -> list[str]:
    """As a tokenizer cuts it, more or less."""
    return re.findall(r"\s*\w+|\s*[^\w\s]+|\s+$", text)


def _usage(said: Sequence[Said]) -> Tree:
    completion = sum(len(_pieces(s.text)) + sum(len(_pieces(c.arguments)) for c in s.calls) for s in said)
    return {"prompt_tokens": 21, "completion_tokens": completion, "total_tokens": 21 + completion}


def _logprobs(pieces: Sequence[str]) -> Tree:
    content = [{"token": t, "logprob": -0.25, "bytes": list(t.encode()), "top_logprobs": []} for t in pieces]
    return {"content": content, "refusal": None}


def _whole_call(call: SaidCall) -> Tree:
    if call.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


@dataclass(frozen=True, slots=True)
class _OpenAi:
    """api.openai.com: role first, one piece of arguments a chunk, usage in a chunk without choices."""

    name: str = "openai"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        for index, each in enumerate(said):
            yield self._chunk(index, {"role": "assistant", "content": None if each.calls else "", "refusal": None})
        for index, each in enumerate(said):
            yield from self._choice_chunks(index, each)
        yield {**self._envelope(), "choices": [], "usage": self._full_usage(said)}

    def _choice_chunks(self, index: int, said: Said) -> Iterator[Tree]:
        for piece in _pieces(said.text):
            yield self._chunk(index, {"content": piece}, logprobs=_logprobs([piece]) if said.logprobs else None)
        for position, call in enumerate(said.calls):
            for delta, piece in self._call_deltas(position, call):
                yield self._chunk(index, delta, logprobs=_logprobs([piece]) if said.logprobs else None)
        yield self._chunk(index, {}, said.finish)

    def _call_deltas(self, position: int, call: SaidCall) -> Iterator[tuple[Tree, str]]:
        if call.kind == "legacy":
            yield {"function_call": {"name": call.name, "arguments": ""}}, call.name
            for piece in _pieces(call.arguments):
                yield {"function_call": {"arguments": piece}}, piece
            return
        body, field = ("custom", "input") if call.kind == "custom" else ("function", "arguments")
        head = {"index": position, "id": call.id, "type": body, body: {"name": call.name, field: ""}}
        yield {"tool_calls": [head]}, call.name
        for piece in _pieces(call.arguments):
            yield {"tool_calls": [{"index": position, body: {field: piece}}]}, piece

    def _chunk(self, index: int, delta: Tree, finish: str | None = None, logprobs: Tree | None = None) -> Tree:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._envelope(), "choices": [choice], "usage": None, "obfuscation": "x7Qp"}

    def _envelope(self, kind: str = "chat.completion.chunk") -> Tree:
        return {
            "id": "chatcmpl-CezB5w",
            "object": kind,
            "created": _CREATED,
            "model": "gpt-4.1-mini-2025-04-14",
            "service_tier": "default",
            "system_fingerprint": "fp_4c2851f862",
        }

    def _full_usage(self, said: Sequence[Said]) -> Tree:
        details = {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0}
        return {
            **_usage(said),
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {**details, "rejected_prediction_tokens": 0},
        }

    def whole(self, said: Sequence[Said]) -> Tree:
        choices = [self._whole_choice(index, each) for index, each in enumerate(said)]
        return {**self._envelope("chat.completion"), "choices": choices, "usage": self._full_usage(said)}

    def _whole_choice(self, index: int, said: Said) -> Tree:
        message: Tree = {"role": "assistant", "content": said.text or None, "refusal": None, "annotations": []}
        if said.calls and said.calls[0].kind == "legacy":
            message["function_call"] = {"name": said.calls[0].name, "arguments": said.calls[0].arguments}
        elif said.calls:
            message["tool_calls"] = [_whole_call(call) for call in said.calls]
        pieces = _pieces(said.text) + [p for call in said.calls for p in _pieces(call.arguments)]
        logprobs = _logprobs(pieces) if said.logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": said.finish}


@dataclass(frozen=True, slots=True)
class _Azure:
    """Azure OpenAI: a first chunk without choices and model, content filter results beside every choice."""

    name: str = "azure"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        filtered = [
            {"prompt_index": 0, "content_filter_results": {"jailbreak": {"filtered": False, "detected": False}}}
        ]
        nothing = {"id": "", "object": "", "created": 0, "model": ""}
        yield {**nothing, "choices": [], "prompt_filter_results": filtered}
        for tree in OPENAI.chunks(said):
            for choice in tree["choices"]:
                choice["content_filter_results"] = self._results(choice["delta"].get("content"))
            yield tree

    def whole(self, said: Sequence[Said]) -> Tree:
        tree = OPENAI.whole(said)
        for choice in tree["choices"]:
            choice["content_filter_results"] = self._results(choice["message"]["content"])
        return tree | {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": self._results("x")}]}

    def _results(self, text: str | None) -> Tree:
        kinds = ("hate", "self_harm", "sexual", "violence") if text else ()
        return {kind: {"filtered": False, "severity": "safe"} for kind in kinds}


@dataclass(frozen=True, slots=True)
class _Vllm:
    """vLLM: `tool_calls: []` beside text, null fields of its own, a call's name and arguments in separate chunks."""

    name: str = "vllm"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        for index, each in enumerate(said):
            yield self._chunk(index, {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": []})
            for piece in _pieces(each.reasoning):
                yield self._chunk(index, {"reasoning_content": piece, "reasoning": piece, "tool_calls": []})
            for piece in _pieces(each.text):
                yield self._chunk(index, {"content": piece, "reasoning_content": None, "tool_calls": []})
            for position, call in enumerate(each.calls):
                head = {"id": f"chatcmpl-tool-{position}{call.id}", "type": "function", "index": position}
                yield self._chunk(index, {"tool_calls": [{**head, "function": {"name": call.name}}]})
                for piece in _pieces(call.arguments):
                    yield self._chunk(index, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]})
            yield self._chunk(index, {"content": "", "reasoning_content": None, "tool_calls": []}, each.finish)
        yield {**self._envelope("chat.completion.chunk"), "choices": [], "usage": _usage(said)}

    def _chunk(self, index: int, delta: Tree, finish: str | None = None) -> Tree:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}
        if finish:
            choice["stop_reason"] = None
        return {**self._envelope("chat.completion.chunk"), "choices": [choice], "prompt_token_ids": None}

    def _envelope(self, kind: str) -> Tree:
        return {"id": "chatcmpl-a81c", "object": kind, "created": _CREATED, "model": "Qwen/Qwen2.5-7B-Instruct"}

    def whole(self, said: Sequence[Said]) -> Tree:
        choices = [self._whole_choice(index, each) for index, each in enumerate(said)]
        nulls = {"service_tier": None, "system_fingerprint": None, "prompt_logprobs": None, "prompt_token_ids": None}
        usage = {**_usage(said), "prompt_tokens_details": None}
        return {**self._envelope("chat.completion"), "choices": choices, "usage": usage, **nulls}

    def _whole_choice(self, index: int, said: Said) -> Tree:
        message = {
            "role": "assistant",
            "content": said.text or None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": [_whole_call(call) for call in said.calls],
            "reasoning": said.reasoning or None,
            "reasoning_content": said.reasoning or None,
        }
        rest = {"logprobs": None, "finish_reason": said.finish, "stop_reason": None, "token_ids": None}
        return {"index": index, "message": message, **rest}


@dataclass(frozen=True, slots=True)
class _LlamaCpp:
    """llama.cpp's server: content null first, its timings beside the usage."""

    name: str = "llamacpp"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        for index, each in enumerate(said):
            yield self._chunk(index, {"role": "assistant", "content": None})
            for piece in _pieces(each.reasoning):
                yield self._chunk(index, {"reasoning_content": piece})
            for piece in _pieces(each.text):
                yield self._chunk(index, {"content": piece})
            for position, call in enumerate(each.calls):
                body = {"name": call.name, "arguments": ""}
                yield self._chunk(
                    index, {"tool_calls": [{"index": position, "id": call.id, "type": "function", "function": body}]}
                )
                for piece in _pieces(call.arguments):
                    yield self._chunk(index, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]})
            yield self._chunk(index, {}, each.finish)
        yield {
            **self._envelope("chat.completion.chunk"),
            "choices": [],
            "usage": _usage(said),
            "timings": self._timings(),
        }

    def _chunk(self, index: int, delta: Tree, finish: str | None = None) -> Tree:
        choice = {"finish_reason": finish, "index": index, "delta": delta}
        return {"choices": [choice], **self._envelope("chat.completion.chunk")}

    def _envelope(self, kind: str) -> Tree:
        names = {"id": "chatcmpl-Xq1", "model": "model.gguf", "system_fingerprint": "b6999-8f8d0a1"}
        return {"created": _CREATED, "object": kind, **names}

    def _timings(self) -> Tree:
        return {"prompt_n": 21, "prompt_ms": 12.5, "predicted_n": 9, "predicted_ms": 31.25, "cache_n": 0}

    def whole(self, said: Sequence[Said]) -> Tree:
        choices = [self._whole_choice(index, each) for index, each in enumerate(said)]
        return {
            "choices": choices,
            **self._envelope("chat.completion"),
            "usage": _usage(said),
            "timings": self._timings(),
        }

    def _whole_choice(self, index: int, said: Said) -> Tree:
        message: Tree = {"role": "assistant", "content": said.text}
        if said.reasoning:
            message["reasoning_content"] = said.reasoning
        if said.calls:
            message["tool_calls"] = [_whole_call(call) for call in said.calls]
        return {"finish_reason": said.finish, "index": index, "message": message}


@dataclass(frozen=True, slots=True)
class _Mistral:
    """api.mistral.ai: calls whole and without a type, in the one chunk that also ends the choice and has the usage."""

    name: str = "mistral"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        for index, each in enumerate(said):
            yield self._chunk(index, {"role": "assistant", "content": ""})
            for piece in _pieces(each.text):
                yield self._chunk(index, {"content": piece})
            last: Tree = {"content": ""}
            if each.calls:
                last["tool_calls"] = [self._call(position, call) for position, call in enumerate(each.calls)]
            yield self._chunk(index, last, each.finish) | {"usage": _usage(said)}

    def _chunk(self, index: int, delta: Tree, finish: str | None = None) -> Tree:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return {**self._envelope("chat.completion.chunk"), "choices": [choice], "p": "abcd"}

    def _envelope(self, kind: str) -> Tree:
        return {"id": "b7a04", "object": kind, "created": _CREATED, "model": "mistral-small-latest"}

    def _call(self, position: int, call: SaidCall) -> Tree:
        return {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}, "index": position}

    def whole(self, said: Sequence[Said]) -> Tree:
        choices = []
        for index, each in enumerate(said):
            calls = [self._call(position, call) for position, call in enumerate(each.calls)] or None
            message = {"role": "assistant", "tool_calls": calls, "content": each.text}
            choices.append({"index": index, "finish_reason": each.finish, "message": message})
        return {**self._envelope("chat.completion"), "usage": _usage(said), "choices": choices}


@dataclass(frozen=True, slots=True)
class _DeepSeek:
    """api.deepseek.com: reasoning beside the content, usage in the chunk that ends the choice."""

    name: str = "deepseek"

    def chunks(self, said: Sequence[Said]) -> Iterator[Tree]:
        for index, each in enumerate(said):
            yield self._chunk(index, {"role": "assistant", "content": None, "reasoning_content": ""})
            for piece in _pieces(each.reasoning):
                yield self._chunk(index, {"content": None, "reasoning_content": piece})
            for piece in _pieces(each.text):
                yield self._chunk(index, {"content": piece, "reasoning_content": None})
            for position, call in enumerate(each.calls):
                body = {"name": call.name, "arguments": ""}
                head = {"index": position, "id": call.id, "type": "function", "function": body}
                yield self._chunk(index, {"tool_calls": [head]})
                for piece in _pieces(call.arguments):
                    yield self._chunk(index, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]})
            end = self._chunk(index, {"content": "", "reasoning_content": None}, each.finish)
            yield end | {"usage": self._full_usage(said)}

    def _chunk(self, index: int, delta: Tree, finish: str | None = None) -> Tree:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._envelope("chat.completion.chunk"), "choices": [choice]}

    def _envelope(self, kind: str) -> Tree:
        names = {"model": "deepseek-reasoner", "system_fingerprint": "fp_ffc7281d48"}
        return {"id": "5d90c", "object": kind, "created": _CREATED, **names}

    def _full_usage(self, said: Sequence[Said]) -> Tree:
        return {**_usage(said), "prompt_cache_hit_tokens": 0, "prompt_cache_miss_tokens": 21}

    def whole(self, said: Sequence[Said]) -> Tree:
        choices = []
        for index, each in enumerate(said):
            message: Tree = {"role": "assistant", "content": each.text, "reasoning_content": each.reasoning}
            if each.calls:
                calls = enumerate(each.calls)
                message["tool_calls"] = [{"index": position, **_whole_call(call)} for position, call in calls]
            choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": each.finish})
        return {**self._envelope("chat.completion"), "choices": choices, "usage": self._full_usage(said)}


OPENAI = _OpenAi()
DIALECTS: Sequence[Dialect] = (OPENAI, _Azure(), _Vllm(), _LlamaCpp(), _Mistral(), _DeepSeek())
