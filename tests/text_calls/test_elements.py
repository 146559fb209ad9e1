"""Calls as elements: as clients read them, and from where on they are held."""

import contextlib
import random
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.errors import UpstreamProtocolError
from guardproxy.text_calls import Channel, Format, Suspicion, TextCallScanner, Watch
from guardproxy.text_calls.find import find_calls
from guardproxy.text_calls.marks import KNOWN_ELEMENTS

TOOLS = frozenset({"search", "deploy"})
SHOWN = Watch(frozenset({Format.XML, Format.MARKERS}), None, elements=KNOWN_ELEMENTS | TOOLS)
DECLARED = Watch(frozenset({Format.XML, Format.JSON, Format.MARKERS}), TOOLS | {"table"})
LS = '{"command":"ls"}'


def calls(text: str, watch: Watch = SHOWN) -> list[tuple[int, str, str]]:
    return [(start, call.name, call.arguments) for start, call in find_calls(text, watch)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<execute_command>\n<command>ls</command>\n</execute_command>", [(0, "execute_command", LS)]),
        ("So: <execute_command><command>ls", [(4, "execute_command", LS)]),
        ("<Execute_Command ><command >ls</command></Execute_Command>", [(0, "execute_command", LS)]),
        ('<execute_command id="1"><command>ls</command></execute_command>', [(0, "execute_command", LS)]),
        ("<condense></condense>", [(0, "condense", "{}")]),
        (
            "<execute_command><command>a &amp;&amp; b</command></execute_command>",
            [(0, "execute_command", '{"command":"a &amp;&amp; b"}'), (0, "execute_command", '{"command":"a && b"}')],
        ),
        (
            "<write_to_file><path>p</path><content>a</content>b</content></write_to_file>",
            [
                (0, "write_to_file", '{"path":"p","content":"a"}'),
                (0, "write_to_file", '{"path":"p","content":"a</content>b"}'),
            ],
        ),
        (
            '<use_mcp_tool><server_name>s</server_name><arguments>{"a": 1}</arguments></use_mcp_tool>',
            [(0, "use_mcp_tool", '{"server_name":"s","arguments":{"a":1}}')],
        ),
        (
            "<read_file><path>a</path></read_file><read_file><path>b</path></read_file>",
            [(0, "read_file", '{"path":"a"}'), (37, "read_file", '{"path":"b"}')],
        ),
        (
            "<write_to_file><content><read_file><path>b</path></read_file></content></write_to_file>",
            [
                (0, "write_to_file", '{"content":"<read_file><path>b</path></read_file>"}'),
                (24, "read_file", '{"path":"b"}'),
            ],
        ),
        (
            "<read_file><path>a</path><path>b</path></read_file>",
            [
                (0, "read_file", "<path>a</path><path>b</path>"),
                (0, "read_file", '{"path":"a</path><path>b"}'),
            ],
        ),
    ],
)  # fmt: skip
def test_elements_are_calls(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert calls(text) == expected


def test_a_declared_tools_element_is_a_call_where_a_parameter_follows() -> None:
    assert calls("I look. <search>\n<q>Paris</q>\n</search>", DECLARED) == [(8, "search", '{"q":"Paris"}')]


@pytest.mark.parametrize(
    "text",
    [
        "<search>x</search>",
        "the <search> tag <b>",
        "<searches><q>x</q></searches>",
        "<table><tr><td>1</td></tr></table>",
        "a < search > b",
        "<execute_command><command>ls</command></execute_command>",
    ],
)
def test_what_is_left_alone_where_tools_are_declared(text: str) -> None:
    scanner = TextCallScanner(DECLARED)
    states = [scanner.feed(0, Channel.TEXT, character) for character in text + " "]
    assert states[-1] is Suspicion.CLEAR
    assert scanner.close() == []


@pytest.mark.parametrize(
    "text", ["Use `<read_file>` for it.", "<read_files><path>x</path>", "<p>read_file</p>", "<b", "x<y"]
)
def test_what_is_left_alone_where_elements_are_read(text: str) -> None:
    assert calls(text) == []


# --- as clients read them ----------------------------------------------------------------------------------------


def char_by_char(text: str, tools: frozenset[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """A parser that walks through the text: a tool from its opening tag to its end, in it parameters likewise, and in
    a file's content the last closing tag counts. What is left open at the end counts too."""
    names = "path content command q query result server_name tool_name arguments".split()
    tool, begun, parameter, value_at = "", 0, "", 0
    found: dict[str, str] = {}
    for at in range(1, len(text) + 1):
        upto = text[:at]
        if parameter:
            if upto.endswith(f"</{parameter}>"):
                found[parameter] = upto[value_at : -len(parameter) - 3].strip()
                parameter = ""
        elif tool:
            if upto.endswith(f"</{tool}>"):
                yield tool, found
                tool = ""
                continue
            parameter = next((name for name in names if upto.endswith(f"<{name}>")), "")
            value_at = at
            if tool == "write_to_file" and upto.endswith("</content>") and "<content>" in text[begun:at]:
                body = text[begun:at]
                found["content"] = body[body.index("<content>") + 9 : body.rindex("</content>")].strip()
        else:
            tool = next((name for name in tools if upto.endswith(f"<{name}>")), "")
            begun, found = at, {}
    if tool and (found or parameter):
        yield tool, found if not parameter else {**found, parameter: text[value_at:].strip()}


def by_pattern(text: str, tools: frozenset[str]) -> Iterator[tuple[str, dict[str, str]]]:
    for tool in tools:
        for body in re.findall(rf"<{tool}>(.*?)</{tool}>", text, re.DOTALL):
            yield tool, dict(re.findall(r"<(\w+)>(.*?)</\1>", body, re.DOTALL))


PIECES = [
    *("<read_file>", "</read_file>", "<execute_command>", "</execute_command>", "<write_to_file>", "</write_to_file>"),
    *(
        "<search>",
        "</search>",
        "<path>",
        "</path>",
        "<content>",
        "</content>",
        "<command>",
        "</command>",
        "<q>",
        "</q>",
    ),
    *("ls", " ", "\n", "a.txt", "<", ">", "</", "`", "wörld", "&lt;", '{"a": 1}', "<b>", "</b>", "<read_", "file>"),
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, data=st.data())
def test_what_a_client_would_run_is_held(text: str, data: st.DataObject) -> None:
    tools = frozenset({"read_file", "execute_command", "write_to_file", "search"})
    scanner = TextCallScanner(SHOWN)
    cuts = sorted(data.draw(st.sets(st.integers(0, max(0, len(text))), max_size=6)))
    held: int | None = None
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        if scanner.feed(0, Channel.TEXT, text[begin:end]) is Suspicion.CLEAR:
            held = None
        elif held is None:
            held = begin
    found = scanner.close()
    for parser in (char_by_char, by_pattern):
        for name, arguments in parser(text, tools):
            assert any(name == call.name for call in found), (parser, name, arguments)
    if found:
        assert held is not None
        assert held <= found[0].start


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, data=st.data())
def test_the_calls_do_not_depend_on_the_cuts(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, max(0, len(text))), max_size=6)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    for watch in (SHOWN, DECLARED):
        readings = []
        for way in (list(text), pieces, [text]):
            scanner = TextCallScanner(watch)
            for piece in way:
                scanner.feed(0, Channel.TEXT, piece)
            readings.append(scanner.close())
        assert readings[0] == readings[1] == readings[2]


@pytest.mark.parametrize(
    "piece",
    ["<read_file>", "<read_file><path>", "<read_file></read_file>", "<read_file><path>x</path></read_file>", "<search>",
     "<search><", "<a>", "<a>x</a>", "</read_file>", "<write_to_file><content>&amp;"],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "<read_file>"])
def test_a_flood_costs_no_more_than_its_length(piece: str, before: str) -> None:
    """Would take minutes, were any of it read again and again."""
    scanner = TextCallScanner(SHOWN)
    begun = time.process_time()
    scanner.feed(0, Channel.TEXT, before)
    for _ in range(5_000):
        scanner.feed(0, Channel.TEXT, piece)
    with contextlib.suppress(UpstreamProtocolError):
        scanner.close()
    assert time.process_time() - begun < 10


def test_random_bytes_are_no_trouble() -> None:
    source = random.Random(7)
    for _ in range(300):
        text = "".join(
            source.choices(["<read_file", ">", "<", "path", "/", " ", "\u2028", "\ud800", "é", "</path>"], k=30)
        )
        whole = calls(text)
        scanner = TextCallScanner(SHOWN)
        for character in text:
            scanner.feed(0, Channel.TEXT, character)
        assert [(call.start, call.name, call.arguments) for call in scanner.close()] == whole
