import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import MalformedRequest
from guardproxy.upstream.bridge.tool_names import ToolName, ToolNames, flat_name

NAMES = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=80)


@pytest.mark.parametrize(
    ("tool", "flat"),
    [
        (ToolName("read"), "read"),
        (ToolName("read.all"), "read.all"),
        (ToolName("read", "files"), "files__read"),
        (ToolName("read", "mcp.files"), "mcp_files__read"),
    ],
    ids=str,
)
def test_flat_names(tool, flat):
    assert flat_name(tool) == flat


@given(NAMES, NAMES)
def test_a_flat_name_is_one_that_chat_completions_take(namespace, name):
    flat = flat_name(ToolName(name, namespace))
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", flat)


@given(st.sets(st.builds(ToolName, NAMES, NAMES), max_size=8))
def test_declared_tools_are_found_again_or_refused(tools):
    names = ToolNames()
    declared = {}
    for tool in tools:
        try:
            declared[names.declare(tool, "tools")] = tool
        except MalformedRequest:
            assert flat_name(tool) in declared
    assert all(names.original(flat) == tool for flat, tool in declared.items())


def test_long_names_that_begin_alike_stay_apart():
    one, two = (flat_name(ToolName("x" * 70 + end, "n")) for end in "ab")
    assert one != two
