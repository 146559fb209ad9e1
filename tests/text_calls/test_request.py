"""What shows that a client reads calls out of text, and what does not."""

from typing import Any

import pytest

from guardproxy.model import CallKind, Message, Request, ToolSpec
from guardproxy.text_calls import Format, TextCallMode, Watch, text_action, watch_for
from guardproxy.text_calls.marks import KNOWN_ELEMENTS

AUTO, ALWAYS, NEVER = TextCallMode
MARKERS, JSON, PYTHONIC, XML, REACT, CODE, PROGRAM = Format
NATIVE = frozenset({MARKERS, JSON, PYTHONIC, XML})


def request(*texts: str, roles: str = "", tools: tuple[str, ...] = (), stop: tuple[str, ...] = ()) -> Request:
    """`roles` has a letter for each text: system, user or assistant; without it all are the user's."""
    named = {"s": "system", "u": "user", "a": "assistant"}
    messages = tuple(Message(named[r], t) for r, t in zip(roles or "u" * len(texts), texts, strict=True))
    specs = tuple(ToolSpec(CallKind.FUNCTION, name, "", None) for name in tools)
    return Request("s", "m", False, {}, messages, specs, stop=stop)


PROMPTS: dict[str, tuple[str, set[Format]]] = {
    "langchain": (
        "Use the following format:\nThought: what to do\nAction: the action to take\nAction Input: the input\n"
        "Observation: the result",
        {REACT, JSON},
    ),
    "crewai": ("Action: the action, only one name of [search]\nAction Input: a simple JSON object", {REACT, JSON}),
    "llamaindex": ("Thought: x\nAction: tool name (one of search)\nAction Input: the input to the tool", {REACT, JSON}),
    "smolagents": (
        "You solve any task using code blobs, in a cycle of Thought, Code, and Observation sequences. The code "
        "sequence must be opened with '<code>'. The prints appear in the 'Observation:' field.",
        {CODE},
    ),
    "autogen": (
        "You are a Code Execution Agent. Python code should be provided in ```python code blocks for execution.",
        {CODE},
    ),
    "autogen 0.2": ("Suggest python code (in a python coding block) for the user to execute.", {CODE}),
    "hermes": (
        'You get signatures within <tools></tools>. Answer <tool_call>\n{"name": n, "arguments": a}</tool_call>',
        {MARKERS, JSON},
    ),
    "json": ('Answer with a JSON object {"action": TOOL, "action_input": INPUT}; the tools are search.', {JSON}),
    "cline": (
        "Tool uses are formatted using XML-style tags.\n<tool_name>\n<parameter1>x</parameter1>\n</tool_name>",
        {XML},
    ),
    "roo": ("## read_file\nUsage:\n<read_file>\n<path>File path here</path>\n</read_file>", {XML}),
    "pythonic": ("Call functions in the format of [func_name1(params_name1=params_value1)]", {PYTHONIC, JSON}),
}  # fmt: skip


@pytest.mark.parametrize(("prompt", "formats"), PROMPTS.values(), ids=PROMPTS.keys())
def test_a_prompt_that_explains_a_format_is_evidence(prompt: str, formats: set[Format]) -> None:
    watch = watch_for(request(prompt, "go", roles="su"), AUTO, False)
    assert watch is not None
    assert watch.formats >= formats | {MARKERS}
    assert watch.tools is None


@pytest.mark.parametrize(
    ("stop", "formats", "tags"),
    [
        (("\nObservation",), {REACT, JSON}, set()),
        (("Observation:", "Calling tools:", "</code>"), {REACT, JSON, CODE, PROGRAM}, set()),
        (("Observation:", "Calling tools:", "</act>"), {REACT, JSON, CODE, PROGRAM}, {"act"}),
        (("<end_code>",), {CODE, PROGRAM, JSON}, set()),
        (("</tool_call>",), set(), set()),
    ],
)
def test_a_stop_sequence_is_evidence(stop: tuple[str, ...], formats: set[Format], tags: set[str]) -> None:
    expected = Watch(frozenset(formats | {MARKERS}), None, frozenset(tags))
    assert watch_for(request("go", stop=stop), AUTO, False) == expected


@pytest.mark.parametrize(
    ("said", "formats"),
    [
        ("Action: f\nAction Input: x", {REACT, JSON}),
        ("```python\nx\n```", {CODE}),
        ('<tool_call>{"name": "f"}', {MARKERS, JSON}),
        ('{"name": "f", "arguments": {}}', {JSON, PYTHONIC}),
        ("<read_file>\n<path>x</path>\n</read_file>", {XML}),
    ],
)
def test_an_observation_after_an_answer_is_evidence(said: str, formats: set[Format]) -> None:
    watch = watch_for(request("go", said, "Observation: y", roles="uau"), AUTO, False)
    assert watch is not None
    assert watch.formats == formats | {MARKERS}


@pytest.mark.parametrize(
    "text",
    [
        "Write me a Python function that runs fast.",
        "Take action: call the office.",
        'Fix {"name": "x", "version": 1}',
        "Explain [the docs](http://x) and f(a=1).",
        "",
    ],
)
def test_plain_requests_show_nothing(text: str) -> None:
    asked = request(text, stop=("\n\n",))
    assert watch_for(asked, AUTO, False) is None
    assert watch_for(asked, AUTO, True) == Watch(frozenset({CODE, REACT, XML}), None, elements=KNOWN_ELEMENTS)


def test_declared_tools_are_the_names_that_count() -> None:
    asked = request("go", tools=("search", "files.read"))
    assert watch_for(asked, AUTO, False) == Watch(NATIVE, frozenset({"search", "files.read", "read"}))
    assert watch_for(asked, AUTO, True) == watch_for(asked, AUTO, False)


def test_code_is_not_held_where_tools_are_declared() -> None:
    watch = watch_for(request(PROMPTS["smolagents"][0], roles="s", tools=("f",), stop=("Observation:",)), AUTO, False)
    assert watch == Watch(NATIVE | {REACT}, frozenset({"f"}))


def test_elements_are_those_that_the_instructions_show_and_known_ones() -> None:
    asked = request(
        "Use XML-style tags: <deploy>\n<where>x</where>\n</deploy>", "<mine><a>x</a></mine>", roles="su", tools=("f",)
    )
    watch = watch_for(asked, AUTO, False)
    assert watch == Watch(NATIVE, frozenset({"f"}), elements=KNOWN_ELEMENTS | {"deploy"})


@pytest.mark.parametrize("said", ["[execute_command for 'ls'] Result:\nx", "[read_file] Result: x"])
def test_a_result_that_cline_reports_is_evidence(said: str) -> None:
    watch = watch_for(request("go", "<deploy><where>x</where></deploy>", said, roles="uau"), AUTO, False)
    assert watch is not None


def test_always_and_never() -> None:
    asked = request("go", tools=("search",))
    assert watch_for(asked, ALWAYS, False) == Watch(frozenset(Format) - {PROGRAM}, None, elements=KNOWN_ELEMENTS)
    assert watch_for(asked, NEVER, True) is None


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("```python\nx = 1\n```", True),
        ("```sh\nls\n```", True),
        ("Action: f\nAction Input: x", True),
        ("<tool_call>x", True),
        ("<read_file><path>x</path></read_file>", True),
        ("```json\n{}\n```", False),
        ("Action: f", False),
        ("Well.", False),
    ],
)
def test_text_actions_are_counted(text: str, counted: bool) -> None:
    fields: dict[str, Any] = {"tools": ("f",)}
    assert text_action(request("go"), text) is counted
    assert not text_action(request("go", **fields), text)
