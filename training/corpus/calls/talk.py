"""Conversations in OpenAI's form."""

import json
import random
import string
from typing import Any

Message = dict[str, Any]


class Talk:
    """`flat` writes calls and results as text turns (Action: / Observation:), as agents without tool messages do."""

    def __init__(self, rng: random.Random, flat: bool = False):
        self.messages: list[Message] = []
        self._flat = flat
        self._made_so_far = 0
        self._rng = rng
        self._ids = rng.choice(("call_#", "call_", "toolu_01", "chatcmpl-tool-", "tc_"))

    def user(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})

    def says(self, text: str) -> None:
        self.messages.append({"role": "assistant", "content": text})

    def called(self, thought: str | None, *calls: tuple[str, dict[str, Any], str]) -> None:
        """Calls made side by side, (name, arguments, result) each."""
        if self._flat:
            return self._as_text(thought, calls)
        made = [self._made(name, arguments) for name, arguments, _ in calls]
        self.messages.append({"role": "assistant", "content": thought, "tool_calls": made})
        self.messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": each[2]}
            for call, each in zip(made, calls, strict=True)
        ]
        return None

    def _as_text(self, thought: str | None, calls: tuple[tuple[str, dict[str, Any], str], ...]) -> None:
        for name, arguments, result in calls:
            said = thought or "Thought: I look first."
            self.says(f"{said}\nAction: {name}\nAction Input: {json.dumps(arguments, ensure_ascii=False)}")
            self.user(f"Observation: {result}")

    def _made(self, name: str, arguments: dict[str, Any]) -> Message:
        function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
        return {"id": self._next_id(), "type": "function", "function": function}

    def _next_id(self) -> str:
        if self._ids == "call_#":
            self._made_so_far += 1
            return f"call_{self._made_so_far}"
        return self._ids + "".join(self._rng.choices(string.ascii_letters + string.digits, k=20))
