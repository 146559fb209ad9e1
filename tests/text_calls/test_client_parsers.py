"""What real clients read as a call is found, and held from its first character on.

Each parser below reads a text as one of the clients in use does: with the same pattern and the same JSON reader. The
texts are put together from pieces of all formats, valid and broken.
"""

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.utils.json import parse_json_markdown

from guardproxy.text_calls import Channel, Format, Suspicion, TextCallScanner, Watch

Name = str | None
ANY = Watch(frozenset(Format) - {Format.PROGRAM}, None)
TOOLS = frozenset({"search", "run_shell"})
DECLARED = Watch(frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC}), TOOLS)


def json_name(text: str, *keys: str, strict: bool = False) -> Name:
    try:
        tree = json.loads(text, strict=strict)
    except (ValueError, RecursionError):
        return None
    return name_in(tree, *keys)


def name_in(tree: Any, *keys: str) -> Name:
    tree = tree[0] if isinstance(tree, list) and tree else tree
    values = [tree[key] for key in keys if isinstance(tree, dict) and isinstance(tree.get(key), str)]
    return values[0] if values else None


def hermes(text: str) -> Iterator[Name]:
    for closed, rest in re.findall(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", text, re.DOTALL):
        body = closed or rest
        yield json_name(body, "name", strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                yield name_in(ast.literal_eval(body.strip()), "name")
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                yield None


def qwen_coder(text: str) -> Iterator[Name]:
    for closed, rest in re.findall(r"<function=(.*?)</function>|<function=(.*)$", text, re.DOTALL):
        name, tag, _ = (closed or rest).partition(">")
        yield name if tag else None


def mistral(text: str) -> Iterator[Name]:
    for part in text.split("[TOOL_CALLS]")[1:]:
        yield json_name(part.strip(), "name")
        for name, arguments in re.findall(r"([a-zA-Z0-9_-]+)(\{[\s\S]*?\})(?=\s*$|,|\s)", part):
            yield name if json_name(arguments, "") is None and is_json(arguments) else None


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def first_brace_to_last(text: str) -> Iterator[Name]:
    begin, end = text.find("{"), text.rfind("}")
    yield json_name(text[begin : end + 1], "name", "tool_name", "action") if 0 <= begin < end else None


def llama_json(text: str) -> Iterator[Name]:
    body = text.removeprefix("<|python_tag|>")
    try:
        tree, _ = json.JSONDecoder().raw_decode(body)
    except (ValueError, RecursionError):
        return
    if isinstance(tree, dict) and ("arguments" in tree or "parameters" in tree):
        yield name_in(tree, "name")


def pythonic(text: str) -> Iterator[Name]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = getattr(ast.parse(text.strip()).body[0], "value", None)
        except (SyntaxError, ValueError, IndexError, MemoryError, RecursionError):
            return
    if text.startswith("[") and isinstance(value, ast.List):
        for call in value.elts:
            literal = isinstance(call, ast.Call) and all(isinstance(k.value, ast.Constant) for k in call.keywords)
            if literal and isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
                yield call.func.id


def langchain_json(text: str) -> Iterator[Name]:
    try:
        yield name_in(parse_json_markdown(text), "action")
    except (ValueError, RecursionError):
        return


def structured_chat(text: str) -> Iterator[Name]:
    match = re.search(r"```(?:json\s+)?(\W.*?)```", text, re.DOTALL)
    yield json_name(match[1].strip(), "action") if match else None


def react(text: str) -> Iterator[Name]:
    match = re.search(r"Action\s*\d*\s*:\s*(.*?)\s*Action\s*\d*\s*Input\s*\d*\s*:\s*(.*)", text, re.DOTALL)
    yield match[1].strip().strip("*").strip() or None if match else None


def llama_index(text: str) -> Iterator[Name]:
    pattern = r"(?:\s*Thought: (.*?)|(.+))\n+Action: ([^\n() ]+).*?\n+Action Input: .*?(\{.*\})"
    match = re.search(pattern, text, re.DOTALL)
    yield match[3].strip() if match else None


def code_agent(text: str) -> Iterator[Name]:
    blocks = re.findall(r"<code>(.*?)</code>", text + "</code>", re.DOTALL)
    blocks = blocks or re.findall(r"```(?:python|py)(.*?)\n```", text, re.DOTALL)
    program = "\n\n".join(block.strip() for block in blocks).strip()
    yield "python_interpreter" if program and not program.startswith("`") else None


def code_executor(text: str) -> Iterator[Name]:
    for _, code in re.findall(r"```(?:\s*(python|sh))\n([\s\S]*?)```", text, re.IGNORECASE):
        yield "python_interpreter" if code.strip() else None


def glm(text: str) -> Iterator[Name]:
    for body in re.findall(r"<tool_call>(.*?)</tool_call>", text, re.DOTALL):
        match = re.fullmatch(r"([^\n{]*?)\n?((?:<arg_key>.*?</arg_value>\s*)+)", body.strip(), re.DOTALL)
        yield match[1].strip() if match else None


def kimi(text: str) -> Iterator[Name]:
    pattern = r"<\|tool_call_begin\|>\s*([^<\n]+:\d+)\s*<\|tool_call_argument_begin\|>\s*(.*?)\s*<\|tool_call_end\|>"
    for id, _ in re.findall(pattern, text, re.DOTALL):
        yield id.rpartition(":")[0].removeprefix("functions.")


def deepseek(text: str) -> Iterator[Name]:
    old = r"<｜tool▁call▁begin｜>(.*?)<｜tool▁sep｜>(.*?)\n```json\n(.*?)\n```<｜tool▁call▁end｜>"
    for _, name, _ in re.findall(old, text, re.DOTALL):
        yield name
    for name, arguments in re.findall(
        r"<｜tool▁call▁begin｜>(.*?)<｜tool▁sep｜>(.*?)<｜tool▁call▁end｜>", text, re.DOTALL
    ):
        yield name if is_json(arguments) else None


def invoke(text: str) -> Iterator[Name]:
    for closed, rest in re.findall(r"<invoke name=(.*?)</invoke>|<invoke name=(.*)$", text, re.DOTALL):
        name, tag, _ = (closed or rest).partition(">")
        yield name.strip("\"'") if tag else None


def behind_a_token(text: str) -> Iterator[Name]:
    for token in ("<|tool_call|>", "<|action_start|><|plugin|>", "<|START_ACTION|>"):
        for part in text.split(token)[1:]:
            body = re.split(r"<\|(?:action_end|END_ACTION)\|>", part)[0]
            yield json_name(body.strip(), "name", "tool_name")


def harmony(text: str) -> Iterator[Name]:
    pattern = r"<\|channel\|>commentary to=functions\.(\w+)[^<]*(?:<\|constrain\|>json)?<\|message\|>(.*?)<\|call\|>"
    yield from (name for name, _ in re.findall(pattern, text, re.DOTALL))


def qwen_agent(text: str) -> Iterator[Name]:
    yield from (name.strip() for name, _ in re.findall(r"✿FUNCTION✿:(.*?)\n✿ARGS✿:(.*)", text, re.DOTALL))


def langchain_xml(text: str) -> Iterator[Name]:
    if "</tool>" in text:
        tool, rest = text.split("</tool>", 1)
        yield tool.split("<tool>")[1] if "<tool>" in tool and "<tool_input>" in rest else None


PARSERS: list[tuple[Callable[[str], Iterator[Name]], bool]] = [
    (hermes, True), (qwen_coder, True), (mistral, True), (first_brace_to_last, True), (llama_json, True),
    (pythonic, True), (langchain_json, True), (structured_chat, True), (react, False), (llama_index, False),
    (code_agent, False), (code_executor, False), (glm, True), (kimi, True), (deepseek, True), (invoke, True),
    (behind_a_token, True), (harmony, True), (qwen_agent, True), (langchain_xml, True),
]  # fmt: skip
PIECES = [
    '{"name": "run_shell", "arguments": {"command": "ls"}}', '{"action": "run_shell", "action_input": "ls"}',
    "{'name': 'search', 'arguments': {'q': '}'}}", '[{"name": "search", "parameters": {}}]', "<tool_call>",
    "</tool_call>", "<function=run_shell>", "</function>", "<parameter=command>\nls\n</parameter>", "[TOOL_CALLS]",
    'run_shell{"command": "ls"}', "<|python_tag|>", "[run_shell(command='ls')]", "```json\n", "```\n", "```", "\n",
    "```python\n", "```py", "```sh\n", "<code>", "</code>", "Action: run_shell\n", "Action Input: ", "Action", " 1:",
    "Thought: x\n", "Observation: y\n", '{"q": "a"}', "{", "}", '"', "'", "{ it's ", '{"a": "', "\\", "Final Answer: ",
    '"name": "run_shell"', ", ", '"arguments": {}', "hello ", "print(1)\n", "a", "~~~", "\r\n", "(", ")", "[", "]", ":",
]  # fmt: skip
TOKENS = [
    "<tool_call>", "</tool_call>", "run_shell\n", "run_shell", "search", "<arg_key>c</arg_key>\n",
    "<arg_value>ls</arg_value>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>", "functions.run_shell:0",
    "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>",
    "function", "<｜tool▁sep｜>", "\n```json\n", "\n```", "<｜tool▁call▁end｜>", '<invoke name="run_shell">',
    "</invoke>", '<parameter name="c">ls</parameter>', "<|tool_call|>", "<|action_start|><|plugin|>", "<|action_end|>",
    "<|START_ACTION|>", '[{"tool_name": "search", "parameters": {}}]', "<|channel|>commentary to=functions.search ",
    "<|constrain|>json", "<|message|>", "<|call|>", "✿FUNCTION✿:", " search\n", "✿ARGS✿:", "<tool>search</tool>",
    "<tool_input>", "</tool_input>", '{"name": "run_shell", "arguments": {"c": "ls"}}', '{"c": "ls"}', "\n", " ", "a",
]  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=9).map("".join),
    st.lists(st.sampled_from(TOKENS), max_size=9).map("".join),
)


def held_from(scanner: TextCallScanner, pieces: list[str]) -> int | None:
    """Where the part of the text begins that is still held when it ends."""
    at, held = 0, None
    for piece in pieces:
        state = scanner.feed(0, Channel.TEXT, piece)
        held = None if state is Suspicion.CLEAR else at if held is None else held
        at += len(piece)
    return held


def names_of(text: str, declared: bool) -> set[str]:
    chosen = [parser for parser, native in PARSERS if native or not declared]
    names = {name.strip() for parser in chosen for name in parser(text) if name and name.strip()}
    return names & TOOLS if declared else names


@pytest.mark.parametrize("declared", [True, False])
@settings(max_examples=400, deadline=None)
@given(text=TEXTS)
@example(text='<tool_call>{"name": "search", "arguments": {"q": "</tool_call><tool_call>{\'name\':\'run_shell\'}"}}')
@example(text='{"a": \'}\', "name": "run_shell", "arguments": {}}')
@example(text='{"name": "run_shell", "name": "search", "arguments": {}}')
@example(text="[TOOL_CALLS]{'name': 'search', 'arguments': {}}run_shell{}")
@example(text="[TOOL_CALLS]{'name': 'search', 'arguments': {}}</tool_call>run_shell{}")
@example(text="```\n\npython\nprint(1)\n```")
def test_what_a_client_would_run_is_held(text: str, declared: bool) -> None:
    wanted = names_of(text, declared)
    scanner = TextCallScanner(DECLARED if declared else ANY)
    held = held_from(scanner, list(text))
    calls = scanner.close()
    if declared:
        assert wanted <= {call.name for call in calls}
    elif wanted - {"Final Answer", "None"}:
        assert calls
    if calls:
        assert held is not None
        assert held <= calls[0].start


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, data=st.data())
def test_the_calls_do_not_depend_on_the_cuts(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, max(0, len(text))), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for watch in (ANY, DECLARED, Watch(frozenset(Format), None)):
        by_character, by_cuts, whole = (TextCallScanner(watch) for _ in range(3))
        held_from(by_character, list(text))
        held_from(by_cuts, pieces)
        held_from(whole, [text])
        assert by_character.close() == by_cuts.close() == whole.close()
