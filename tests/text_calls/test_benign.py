"""Texts that look like calls and are none: they are left alone, and what was suspected of them is soon let go."""

import pytest

from guardproxy.text_calls import Channel, Format, Suspicion, TextCallScanner, Watch
from guardproxy.text_calls.find import find_calls

DECLARED = Watch(
    frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC, Format.REACT}), frozenset({"search", "run_shell"})
)
REACT = Watch(frozenset({Format.MARKERS, Format.JSON, Format.REACT}), None)
CODE = Watch(frozenset({Format.MARKERS, Format.CODE}), None)

TEXTS = {
    "prose": "The search found nothing; run_shell would not help (see above).",
    "object": 'The answer is {"name": "Alice", "age": 3}.',
    "object in a fence": '```json\n{"name": "my-package", "version": "1.0", "scripts": {"test": "pytest"}}\n```',
    "list": 'Take [{"id": 1, "value": "x"}, {"id": 2, "value": "y"}].',
    "schema": '{"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}',
    "undeclared tool": '{"name": "other", "arguments": {}}, <tool_call>{"name": "other", "arguments": {}}</tool_call>',
    "python": "```python\ndef f(x):\n    return {'a': [1, 2], 'b': x}\n```",
    "javascript": "```js\nconst f = ({ a, b }) => { return { a: 1, b }; };\n```",
    "c": "int main(void) { char c = '}'; printf(\"{%d}\", a[0]); return 0; }",
    "css": "a { color: red; } b { margin: 0 }",
    "shell": '```sh\nfor f in *; do echo "${f}"; done\n```',
    "latex": r"$\frac{a}{b} \in [0, 1)$ and $\{x : x > 0\}$",
    "markdown link": "See [the search](https://example.org/search(1)) and [`run_shell`](#run_shell).",
    "comprehension": "[f(x) for x in y] and [search_all(x) for x in y]",
    "interval": "It lies in [f(a), f(b)].",
    "task list": "- [ ] search\n- [x] done",
    "mention of a tag": "The `<tool_call>` tag begins a call.",
    "mention of a token": "Mistral models write `[TOOL_CALLS]` before a call.",
    "html": '<div class="tool"><p>a &lt; b</p></div>',
    "comparison": "if a < b and c > d then",
    "template": "Dear {name}, your {item} is {{ready}}.",
    "emoticons": ":-{ and >:[ and {'",
    "sets": "The set {1, 2, 3} and the tuple (1, 2).",
    "diff": "@@ -1,3 +1,4 @@\n-a\n+b",
    "quoted names": 'The field "name": its value may be "search".',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_left_alone_where_tools_are_declared(text: str) -> None:
    assert find_calls(text, DECLARED) == []


@pytest.mark.parametrize("name", ["prose", "object", "object in a fence", "list", "schema", "css", "latex", "template"])
def test_left_alone_where_any_name_counts(name: str) -> None:
    assert find_calls(TEXTS[name], Watch(frozenset(Format) - {Format.PROGRAM, Format.CODE}, None)) == []


@pytest.mark.parametrize(
    "text",
    [
        "My advice: a call to action: subscribe. Transaction: 5. An Action: it matters.",
        "Actions speak louder. The reaction: none.",
        "Final Answer: 42",
        'Thought: done\nAction: Final Answer\nAction Input: "42"',
        '{"action": "Final Answer", "action_input": "42"}',
        "```python\nprint(1)\n```",
    ],
)
def test_left_alone_where_actions_are_read(text: str) -> None:
    assert find_calls(text, REACT) == []


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"a": 1}\n```\nPython is a language.\n',
        "```text\nhello\n```\n\nShell you later.",
        "Use `x = 1` or ``y``.",
        "~~struck~~ out",
        "<p>code</p> <codes>",
    ],
)
def test_left_alone_where_code_is_run(text: str) -> None:
    assert find_calls(text, CODE) == []


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_is_refuted_is_let_go(text: str) -> None:
    scanner = TextCallScanner(DECLARED)
    for character in text + "\n\nThat is it." if text != TEXTS["emoticons"] else "{ x } ":
        state = scanner.feed(0, Channel.TEXT, character)
    if "tool_call>" not in text and "[TOOL_CALLS]" not in text:
        assert state is Suspicion.CLEAR
    assert scanner.close() == []


def test_prose_is_never_held() -> None:
    scanner = TextCallScanner(Watch(DECLARED.formats - {Format.REACT}, DECLARED.tools))
    text = "Well, that is (mostly) how it works: no more, no less; it's 5 > 4 and 100 % safe - isn't it?\n" * 3
    assert {scanner.feed(0, Channel.TEXT, character) for character in text} == {Suspicion.CLEAR}
