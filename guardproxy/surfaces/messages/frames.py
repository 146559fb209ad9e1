"""The text and the usage of single frames, which were read before, so that their shape is known to be right."""

from collections.abc import Mapping, Sequence
from typing import Any

from guardproxy.stream.frame import Frame

_ENDS = frozenset({"content_block_stop", "message_stop", "message"})


def finished_in(frame: Frame) -> Sequence[int]:
    """A text ends with its block: what is left of it must leave before."""
    tree: Mapping[str, Any] = frame.tree or {}
    return (0,) if tree.get("type") in _ENDS or "content" in tree else ()


def usage_of(frame: Frame) -> Mapping[str, Any] | None:
    tree: Mapping[str, Any] = frame.tree or {}
    holder = tree.get("message") if tree.get("type") == "message_start" else tree
    usage = holder.get("usage") if isinstance(holder, dict) else None
    return {name: value for name, value in usage.items() if value is not None} if isinstance(usage, dict) else None


def with_usage(frame: Frame, usage: Mapping[str, Any]) -> Frame:
    tree: dict[str, Any] = dict(frame.tree or {})
    if tree.get("type") == "message_start":
        message = tree["message"]
        return frame._replace(tree=tree | {"message": message | {"usage": (message.get("usage") or {}) | dict(usage)}})
    return frame._replace(tree=tree | {"usage": (tree.get("usage") or {}) | dict(usage)})


def texts_of(frame: Frame) -> Mapping[int, str]:
    parts = _text_parts(frame.tree or {})
    return {0: "".join(part.get("text") or "" for part in parts)} if parts else {}


def with_texts(frame: Frame, texts: Mapping[int, str]) -> Frame:
    """A shorter text has lost its beginning, so it is cut from the blocks in order; blocks with nothing left go."""
    tree: dict[str, Any] = dict(frame.tree or {})
    if 0 not in texts or not _text_parts(tree):
        return frame
    for name in ("delta", "content_block"):
        if isinstance(tree.get(name), dict):
            return frame._replace(tree=tree | {name: tree[name] | {"text": texts[0]}})
    return frame._replace(tree=tree | {"content": _with_text(tree["content"], texts[0])})


def _with_text(content: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The text laid into the blocks from behind, as the last of them hold the end of it."""
    laid: list[dict[str, Any]] = []
    left = text
    for block in reversed(content):
        if block.get("type") == "text":
            length = len(block.get("text") or "")
            first = not any(other.get("type") == "text" for other in content[: len(content) - len(laid) - 1])
            piece = left if first else left[max(0, len(left) - length) :]
            left = left[: len(left) - len(piece)]
            block = block | {"text": piece}
        laid.append(block)
    return [block for block in reversed(laid) if block.get("type") != "text" or block["text"]]


def _text_parts(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pieces of assistant text in an event, or in a whole message."""
    match tree.get("type"):
        case "content_block_delta":
            parts = [tree["delta"]]
        case "content_block_start":
            parts = [tree["content_block"]]
        case _:
            content = tree.get("content")
            parts = content if isinstance(content, list) else []
    return [part for part in parts if isinstance(part, dict) and part.get("type") in ("text", "text_delta")]
