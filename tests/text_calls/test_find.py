"""Every format, as the models that were trained to it write it, and as they write it when they are careless."""

import json
from typing import Any

import pytest

from guardproxy import strict_json
from guardproxy.errors import UpstreamProtocolError
from guardproxy.strict_json import MalformedJson
from guardproxy.text_calls import Format, Watch
from guardproxy.text_calls.find import find_calls
from guardproxy.text_calls.watch import MAX_CALLS

ANY = Watch(frozenset(Format) - {Format.PROGRAM}, None)
NATIVE = frozenset({Format.MARKERS, Format.JSON, Format.PYTHONIC})
DECLARED = Watch(NATIVE, frozenset({"search", "run_shell"}))
PARIS = ("search", {"q": "Paris"})
LS = ("run_shell", {"command": "ls"})
SEARCH = '{"name": "search", "arguments": {"q": "Paris"}}'
SHELL = '{"name": "run_shell", "arguments": {"command": "ls"}}'

Row = tuple[str, str, list[tuple[str, dict[str, Any]]]]

NATIVE_TEXTS: list[Row] = [
    ("hermes", f"<tool_call>\n{SEARCH}\n</tool_call>", [PARIS]),
    ("hermes, two", f"<tool_call>{SEARCH}</tool_call>\n<tool_call>\n{SHELL}\n</tool_call>", [PARIS, LS]),
    ("hermes, not closed", f"<tool_call>{SEARCH}", [PARIS]),
    ("hermes, careless tag", f'<TOOL_CALL id="1" >{SEARCH}</TOOL_CALL>', [PARIS]),
    ("hermes, space in tag", f"< tool_call >{SEARCH}</tool_call>", [PARIS]),
    ("hermes, after prose", f"I look. <tool_call>{SEARCH}</tool_call>", [PARIS]),
    ("hermes, in a fence", f"```xml\n<tool_call>{SEARCH}</tool_call>\n```", [PARIS]),
    ("hermes, fence within", f"<tool_call>\n```json\n{SEARCH}\n```\n</tool_call>", [PARIS]),
    ("hermes, a list", f"<tool_calls>[{SEARCH}, {SHELL}]</tool_calls>", [PARIS, LS]),
    ("hermes, Python", "<tool_call>{'name': 'search', 'arguments': {'q': 'Paris',},}</tool_call>", [PARIS]),
    ("hermes, CRLF", f"<tool_call>\r\n{SEARCH}\r\n</tool_call>\r\n", [PARIS]),
    (
        "qwen coder",
        "<tool_call>\n<function=search>\n<parameter=q>\nParis\n</parameter>\n</function>\n</tool_call>",
        [PARIS],
    ),
    ("qwen coder, bare", "<function=search><parameter=q>Paris</parameter></function>", [PARIS]),
    ("qwen coder, cut", "<function=search>\n<parameter=q>\nParis", [PARIS]),
    ("llama function tag", '<function=search>{"q": "Paris"}</function>', [PARIS]),
    ("glm", "<tool_call>search\n<arg_key>q</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>", [PARIS]),
    ("invoke", '<function_calls>\n<invoke name="search">\n<parameter name="q">Paris</parameter>\n</invoke>', [PARIS]),
    ("minimax", '<minimax:tool_call><invoke name="search"><parameter name="q">Paris</parameter></invoke>', [PARIS]),
    (
        "deepseek, full-width",
        '<｜DSML｜function_calls><｜DSML｜invoke name="search"><｜DSML｜parameter name="q" string="true">Paris'
        "</｜DSML｜parameter></｜DSML｜invoke></｜DSML｜function_calls>",
        [PARIS],
    ),
    (
        "deepseek 3",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>search\n```json\n"
        '{"q": "Paris"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
        [PARIS],
    ),
    ("deepseek 3.1", '<｜tool▁call▁begin｜>search<｜tool▁sep｜>{"q": "Paris"}<｜tool▁call▁end｜>', [PARIS]),
    (
        "kimi",
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>"
        '{"q": "Paris"}<|tool_call_end|><|tool_calls_section_end|>',
        [PARIS],
    ),
    ("mistral", f"[TOOL_CALLS][{SEARCH}]", [PARIS]),
    ("mistral, two", f"[TOOL_CALLS] [{SEARCH}, {SHELL}]", [PARIS, LS]),
    ("mistral 11", '[TOOL_CALLS]search{"q": "Paris"}', [PARIS]),
    (
        "mistral 13",
        '[TOOL_CALLS]search[CALL_ID]a1[ARGS]{"q": "Paris"}[TOOL_CALLS]run_shell[ARGS]{"command": "ls"}',
        [PARIS, LS],
    ),
    ("llama pythonic", "[search(q='Paris'), run_shell(command=\"ls\")]", [PARIS, LS]),
    ("llama pythonic after prose", 'Sure: [search(q="Paris")]', [PARIS]),
    ("llama tag", '<|python_tag|>search.call(q="Paris")', [PARIS]),
    (
        "llama tag, objects",
        '<|python_tag|>{"name": "search", "parameters": {"q": "Paris"}}; '
        '{"name": "run_shell", "parameters": {"command": "ls"}}',
        [PARIS, LS],
    ),
    ("llama object", '{"name": "search", "parameters": {"q": "Paris"}}', [PARIS]),
    ("llama object in prose", 'I call {"name": "search", "parameters": {"q": "Paris"}} now.', [PARIS]),
    ("arguments first", '{"arguments": {"q": "Paris"}, "name": "search"}', [PARIS]),
    ("arguments as text", r'{"name": "search", "arguments": "{\"q\": \"Paris\"}"}', [PARIS]),
    ("openai", f'{{"tool_calls": [{{"type": "function", "function": {SEARCH}}}]}}', [PARIS]),
    ("phi", f"functools[{SEARCH}]", [PARIS]),
    ("granite", f"<|tool_call|>[{SEARCH}]", [PARIS]),
    ("internlm", f"<|action_start|><|plugin|>\n{SEARCH}<|action_end|>", [PARIS]),
    (
        "command",
        '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "search", "parameters": {"q": "Paris"}}]<|END_ACTION|>',
        [PARIS],
    ),
    (
        "harmony",
        '<|channel|>commentary to=functions.search <|constrain|>json<|message|>{"q": "Paris"}<|call|>',
        [PARIS],
    ),
    ("qwen agent", '✿FUNCTION✿: search\n✿ARGS✿: {"q": "Paris"}\n✿RESULT✿', [PARIS]),
    ("langchain xml", '<tool>search</tool><tool_input>{"q": "Paris"}</tool_input>', [PARIS]),
    ("fence", '```json\n{"action": "search", "action_input": {"q": "Paris"}}\n```', [PARIS]),
    ("fence without label", '```\n{"tool": "search", "args": {"q": "Paris"}}\n```', [PARIS]),
    ("tildes", '~~~json\n{"tool_name": "search", "input": {"q": "Paris"}}\n~~~', [PARIS]),
    ("nested fences", f"````md\n```json\n{SEARCH}\n```\n````", [PARIS]),
    ("fence, CRLF", f"```json\r\n{SEARCH}\r\n```", [PARIS]),
    ("trailing comma", '{"name": "search", "arguments": {"q": "Paris",},}', [PARIS]),
    ("comments", '{"name": "search", // which\n"arguments": {"q": "Paris"} /* what */}', [PARIS]),
    ("bare keys", '{name: "search", arguments: {q: "Paris"}}', [PARIS]),
    ("escaped name", r'{"name": "se\u0061rch", "arguments": {"q": "Paris"}}', [PARIS]),
    ("no arguments", '{"action": "search"}', [("search", {})]),
]

ACTION_TEXTS: list[Row] = [
    ("react", 'Thought: x\nAction: search\nAction Input: {"q": "Paris"}', [PARIS]),
    ("react, then invented", 'Action: search\nAction Input: {"q": "Paris"}\nObservation: sunny\nThought: y', [PARIS]),
    ("react, bold", '**Action:** search\n**Action Input:** {"q": "Paris"}', [PARIS]),
    ("react, numbered", 'Action 1: search\nAction 1 Input 1: {"q": "Paris"}', [PARIS]),
    ("react, one line", 'Action: search Action Input: {"q": "Paris"}', [PARIS]),
    ("react, lower case", 'action: search\naction input: {"q": "Paris"}', [PARIS]),
    ("react, fence", 'Action: search\nAction Input:\n```json\n{"q": "Paris"}\n```', [PARIS]),
    ("react, text", "Action: search\nAction Input: Paris", [("search", {"input": "Paris"})]),
    ("react, quotes", "Action: `search`\nAction Input: {'q': 'Paris'}", [PARIS]),
    (
        "react, input that goes on",
        'Action: search\nAction Input: {"q": "Paris"} ; rm -rf /',
        [("search", {"input": '{"q": "Paris"} ; rm -rf /'})],
    ),
    (
        "react, two",
        'Action: search\nAction Input: {"q": "Paris"}\nAction: run_shell\nAction Input: {"command": "ls"}',
        [PARIS, LS],
    ),
    ("react, object", 'Action:\n```json\n{"action": "search", "action_input": {"q": "Paris"}}\n```', [PARIS]),
    ("react, lookup", "Action: search[Paris]", [("search", {"input": "Paris"})]),
    ("react, Python call", "Action: search(q='Paris')", [PARIS]),
    ("react, no input", "Thought: x\nAction: search\n", [("search", {})]),
]

CODE_TEXTS: list[Row] = [
    ("python fence", "Thought\n```python\nx = 1\n```", [("python_interpreter", {"code": "x = 1"})]),
    ("py fence, not closed", "```py\nx = 1\n", [("python_interpreter", {"code": "x = 1"})]),
    ("spaces before label", "``` Python\nx = 1\n```", [("python_interpreter", {"code": "x = 1"})]),
    ("label on the next line", "```\n\npython\nx = 1\n```", [("python_interpreter", {"code": "x = 1"})]),
    ("tildes", "~~~python\nx = 1\n~~~", [("python_interpreter", {"code": "x = 1"})]),
    ("CRLF", "```python\r\nx = 1\r\n```", [("python_interpreter", {"code": "x = 1"})]),
    ("no label", "```\nx = 1\n```", [("python_interpreter", {"code": "x = 1"})]),
    ("shell", "```sh\nls\n```", [("bash", {"command": "ls"})]),
    ("no label, shell", "```\nrm -rf /\n```", [("bash", {"command": "rm -rf /"})]),
    ("powershell", "```powershell\nls\n```", [("powershell", {"command": "ls"})]),
    ("javascript", "```js\nx()\n```", [("execute_javascript", {"code": "x()"})]),
    ("code tag", "Thoughts: y\n<code>\nx = 1\n</code>", [("python_interpreter", {"code": "x = 1"})]),
    ("code tag, cut by stop", "<code>\nx = 1\n", [("python_interpreter", {"code": "x = 1"})]),
    ("execute tag", "<execute_bash>ls</execute_bash>", [("bash", {"command": "ls"})]),
    ("two blocks are one program", "```py\na\n```\nthen\n```py\nb\n```", [("python_interpreter", {"code": "a\n\nb"})]),
    ("after inert", '```json\n{"a": 1}\n```\n```python\nx\n```', [("python_interpreter", {"code": "x"})]),
    ("structured", '{"thought": "y", "code": "x = 1"}', [("python_interpreter", {"code": "x = 1"})]),
]


def ids(table: list[Row]) -> list[str]:
    return [name for name, *_ in table]


def read(text: str, watch: Watch) -> list[tuple[str, object]]:
    return [(found.call.name, json.loads(found.call.arguments)) for found in find_calls(text, watch)]


@pytest.mark.parametrize(("name", "text", "calls"), NATIVE_TEXTS, ids=ids(NATIVE_TEXTS))
@pytest.mark.parametrize("watch", [ANY, DECLARED], ids=["any", "declared"])
def test_native(name: str, text: str, calls: list[tuple[str, dict[str, Any]]], watch: Watch) -> None:
    assert read(text, watch) == calls


@pytest.mark.parametrize(("name", "text", "calls"), ACTION_TEXTS, ids=ids(ACTION_TEXTS))
def test_actions(name: str, text: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert read(text, Watch(frozenset({Format.REACT, Format.JSON}), None)) == calls


@pytest.mark.parametrize(("name", "text", "calls"), CODE_TEXTS, ids=ids(CODE_TEXTS))
def test_programs(name: str, text: str, calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert read(text, Watch(frozenset({Format.CODE, Format.JSON}), None)) == calls


def test_a_program_as_it_stands() -> None:
    watch = Watch(frozenset({Format.CODE, Format.PROGRAM}), None)
    assert read("import os\nos.remove('x')", watch) == [("python_interpreter", {"code": "import os\nos.remove('x')"})]
    assert read("I am done. x = 1", watch) == []
    assert read("Thought: I am done.", watch) == []


def test_a_tag_of_the_clients_own() -> None:
    watch = Watch(frozenset({Format.CODE}), None, frozenset({"act"}))
    assert read("<act>x = 1</act>", watch) == [("python_interpreter", {"code": "x = 1"})]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (f"ab <tool_call>{SEARCH}", 3),
        ("ab <tool_call>\n<function=search>", 3),
        ("ab <function_calls>\n<invoke name=\"search\">", 3),
        (f"ab ```json\n{SEARCH}\n```", 3),
        (f"ab {SEARCH}", 3),
        (f"ab [{SEARCH}]", 3),
        ("ab\nAction: search\nAction Input: x", 3),
        ("ab\n```python\nx\n```", 3),
    ],
)  # fmt: skip
def test_a_call_begins_with_its_markup(text: str, start: int) -> None:
    assert find_calls(text, ANY)[0].start == start


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "run_shell", "arguments": {"command": ',
        '<tool_call>{"name": "run_shell", "arguments": ls -la}</tool_call>',
        '<tool_call>{"name": "safe", "name": "run_shell", "arguments": {}}</tool_call>',
        "<tool_call>run_shell: ls (now)</tool_call>",
        '{"name": "run_shell", "arguments": {"command": "ls}',
        '{"name": "safe", "name": "run_shell", "arguments": {}}',
        '{"a": \'}\', "name": "run_shell", "arguments": $}',
        r'{"na\u006de": "run_sh\u0065ll", "arguments": $}',
        "[run_shell(command=input())]",
        '[TOOL_CALLS]run_shell{"command": ',
    ],
)
@pytest.mark.parametrize("watch", [ANY, DECLARED], ids=["any", "declared"])
def test_what_only_a_laxer_reader_could_read_is_a_call_with_its_raw_text(text: str, watch: Watch) -> None:
    calls = [found.call for found in find_calls(text, watch)]
    assert calls
    if watch is DECLARED:
        assert {call.name for call in calls} == {"run_shell"}
    with pytest.raises(MalformedJson):
        strict_json.decode(calls[-1].arguments.encode())


def test_a_call_within_the_arguments_of_another_counts_too() -> None:
    inner = "<tool_call>{'name': 'run_shell', 'arguments': {}}</tool_call>"
    text = f'<tool_call>{{"name": "search", "arguments": {{"q": "</tool_call>{inner}"}}}}</tool_call>'
    assert {found.call.name for found in find_calls(text, DECLARED)} == {"search", "run_shell"}


def test_equal_calls_count_once() -> None:
    assert len(find_calls(SEARCH * 2, ANY)) == 1


def test_too_many_calls_are_refused() -> None:
    text = "".join(f'{{"name": "f{i}", "arguments": {{}}}}\n' for i in range(MAX_CALLS + 1))
    with pytest.raises(UpstreamProtocolError):
        find_calls(text, ANY)


def test_none_of_many_is_passed_over() -> None:
    text = "[TOOL_CALLS]" + "other{} search{} " * (MAX_CALLS + 50) + "run_shell{}"
    assert {found.call.name for found in find_calls(text, DECLARED)} == {"search", "run_shell"}
