"""Taking refused calls out of held frames: the text is cut where the first of them begins, and the refusal follows.

Frames are rebuilt from known fields: log-probabilities, token ids and fields that this version does not know may all
quote the call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from guardproxy.stream.frame import Frame
from guardproxy.surfaces.surface import OnBlock, Refusal

Tree: TypeAlias = dict[str, Any]
"""A piece of a frame that was read before, so that its shape is known to be right."""

_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint")


@dataclass(slots=True)
class Amendment:
    """Of one attempt's held frames. `begun` are the choices of which the client has, or will have, some text."""

    refusal: Refusal
    room: dict[int, int]
    begun: set[int]

    @classmethod
    def of(cls, refusal: Refusal, left: set[int]) -> "Amendment":
        """`left`: the choices of which text has left before the held frames."""
        return cls(refusal, dict(refusal.text_room), set(left))

    def chunks(self, held: Sequence[Frame]) -> list[Frame]:
        """The frames of a stream."""
        return [amended for frame in held for amended in self._chunk(frame)]

    def whole(self, held: Sequence[Frame]) -> list[Frame]:
        """The one frame of a whole answer."""
        return [Frame(_envelope(tree) | {"choices": self._whole(tree)}) for tree, _ in held if tree is not None]

    def _chunk(self, frame: Frame) -> Iterator[Frame]:
        tree: Tree | None = frame.tree
        if tree is None:
            yield frame
            return
        envelope = _envelope(tree)
        choices = [amended for choice in tree.get("choices") or [] for amended in self._pieces(choice)]
        for choice in choices[:-1]:  # some clients know but one choice an event
            yield Frame({k: v for k, v in envelope.items() if k != "usage"} | {"choices": [choice]})
        if choices or "usage" in envelope:
            yield Frame(envelope | {"choices": choices[-1:]})

    def _pieces(self, choice: Tree) -> Iterator[Tree]:
        index, reason = choice["index"], choice.get("finish_reason")
        text = self._cut(index, choice.get("text") or "")
        if reason is None:
            if text:
                yield _choice(index, text, None)
            return
        if (said := self._refused(index)) is not None:
            if text:
                yield _choice(index, text, None)
            yield _choice(index, said, None)
            text = ""
        yield _choice(index, text, self._reason(index, reason))

    def _whole(self, tree: Tree) -> list[Tree]:
        return [
            _choice(
                choice["index"],
                self._cut(choice["index"], choice.get("text") or "") + (self._refused(choice["index"]) or ""),
                self._reason(choice["index"], choice["finish_reason"]),
            )
            for choice in tree.get("choices") or []
        ]

    def _cut(self, index: int, text: str) -> str:
        """What of a held text may leave."""
        if index in self.room:
            text = text[: self.room[index]]
            self.room[index] -= len(text)
        if text:
            self.begun.add(index)
        return text

    def _refused(self, index: int) -> str | None:
        """What is said of a choice's refused calls. This API has no place for it but the text."""
        text = self.refusal.texts.get(index)
        return f"\n\n{text}" if text is not None and index in self.begun else text

    def _reason(self, index: int, reason: str) -> str:
        if index not in self.refusal.texts:
            return reason
        return "content_filter" if self.refusal.style is OnBlock.CONTENT_FILTER else "stop"


def _choice(index: int, text: str, reason: str | None) -> Tree:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}


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
