"""Building the messages of a chat completions request.

A chat model's turn is one message: its text, then its calls, then one tool message for each call. The other APIs say
the same in separate items or in blocks of any order, so what belongs to one turn is collected here first.
"""

from guardproxy.strict_json import Json, JsonObject


class Conversation:
    """Takes the conversation in order. `messages` ends it."""

    __slots__ = ("_calls", "_messages", "_reasoning", "_texts")

    def __init__(self) -> None:
        self._messages: list[JsonObject] = []
        self._texts: list[str] = []  # of the assistant's turn that is being collected
        self._calls: list[Json] = []
        self._reasoning: dict[str, str] = {}  # by the field in which the server said it

    def system(self, text: str) -> None:
        """One system message begins the conversation: many templates refuse a second one there."""
        self._end_turn()
        if len(self._messages) == 1 and self._messages[0]["role"] == "system":
            self._messages[0]["content"] = f"{self._messages[0]['content']}\n\n{text}"
        else:
            self._messages.append({"role": "system", "content": text})

    def user(self, parts: list[JsonObject]) -> None:
        self._end_turn()
        self._messages.append({"role": "user", "content": _content(parts)})

    def assistant_reasoning(self, field: str, text: str) -> None:
        self._reasoning[field] = self._reasoning.get(field, "") + text

    def assistant_text(self, text: str) -> None:
        self._texts.append(text)

    def assistant_call(self, call: JsonObject) -> None:
        self._calls.append(call)

    def result(self, call_id: str, parts: list[JsonObject]) -> None:
        """A server that cannot show its model an image as the result of a tool refuses it itself."""
        self._end_turn()
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": _content(parts)})

    def messages(self) -> list[Json]:
        self._end_turn()
        return list(self._messages)

    def _end_turn(self) -> None:
        text = "\n\n".join(text for text in self._texts if text)
        if self._calls:
            turn: JsonObject = {"role": "assistant", "content": text or None, **self._reasoning}
            self._messages.append(turn | {"tool_calls": self._calls})
        elif self._texts:  # here servers pass over earlier reasoning
            self._messages.append({"role": "assistant", "content": text})
        self._texts, self._calls, self._reasoning = [], [], {}


def _content(parts: list[JsonObject]) -> Json:
    """Text alone is sent as a string, which every server reads; parts are joined as the guard joins them."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return list(parts)


def text_part(text: str) -> JsonObject:
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None = None) -> JsonObject:
    return {"type": "image_url", "image_url": {"url": url, "detail": detail} if detail else {"url": url}}


def file_part(file: JsonObject) -> JsonObject:
    return {"type": "file", "file": file}


def function_tool(name: str, description: str | None, parameters: Json, strict: Json = None) -> JsonObject:
    given = {"description": description, "parameters": parameters, "strict": strict}
    return {"type": "function", "function": {"name": name, **{k: v for k, v in given.items() if v is not None}}}


def function_call(call_id: str, name: str, arguments: str) -> JsonObject:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
