"""One reading of JSON: what two parsers could read in two ways is refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.strict_json import MAX_NESTING, MalformedJson, decode, decode_object, encode

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1,}',
        b"[1,]",
        b"{'a':1}",
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1} null',
        b'{"a":1}\x00',
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"b":{"a":1,"a":1}}]',
        b"NaN",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[inf]",
        b"[1e999]",
        b"[-1e999]",
        b"[1E+0309]",
        b"[1" + b"0" * 400 + b".0]",
        b"[1" + b"0" * 400 + b"e0]",
        b"[1" + b"0" * 300 + b"e99]",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"[1.]",
        b"[0x1]",
        b"[1_0]",
        b"/* c */ 1",
        b'"\t"',
        b'"\n"',
        b'"\\x41"',
        b'"\\u12"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\ud800"',
        b'"\\ud800x"',
        b'{"\\ud800":1}',
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xe2\x82"',
        BOM + b"{}",
        '{"a":1}'.encode("utf-16"),
        b"\xa0{}",
        b"\x0b{}",
        b"[" * (MAX_NESTING + 1) + b"1" + b"]" * (MAX_NESTING + 1),
        b'{"a":' * (MAX_NESTING + 1) + b"1" + b"}" * (MAX_NESTING + 1),
        b"[" * 1_000_000,
        b"9" * 310,
        b"9" * 5_000,
        b"[-" + b"9" * 5_000 + b"]",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_refused(data: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(data)


@pytest.mark.parametrize(
    ("data", "tree"),
    [
        (b"null", None),
        (b" \t\r\n[ ] ", []),
        (b'{"a":1,"A":2,"":3}', {"a": 1, "A": 2, "": 3}),
        (b'[{"a":1},{"a":1}]', [{"a": 1}, {"a": 1}]),
        (b"[1e308, 1e-999, -0.0, 0]", [1e308, 0.0, -0.0, 0]),
        (b"[123456789012345678901234567890]", [123456789012345678901234567890]),
        (b"[-9223372036854775809, 18446744073709551616]", [-9223372036854775809, 18446744073709551616]),
        (b"9" * 300, int("9" * 300)),
        (b'"\\ud83d\\ude00\\u0000\\/"', "\U0001f600\x00/"),
        ('"\u2028\ufeff"'.encode(), "\u2028\ufeff"),
        (b'"1e999"', "1e999"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_accepted_and_written_again(data: bytes, tree: object) -> None:
    assert decode(data) == tree
    assert decode(encode(decode(data))) == tree


def test_nesting_up_to_the_limit_is_accepted_and_can_be_written() -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        data = opening * (MAX_NESTING - 1) + b"[]" + closing * (MAX_NESTING - 1)
        assert encode(decode(data)) == data
        huge = data.replace(b"[]", b"[%d]" % 10**30, 1)
        assert encode(decode(huge)) == huge


def test_an_object_where_one_is_needed() -> None:
    assert decode_object(b'{"a":[]}') == {"a": []}
    for other in (b"[]", b"1", b'"{}"', b"null"):
        with pytest.raises(MalformedJson, match="object"):
            decode_object(other)


@pytest.mark.parametrize(
    "data", [b'{"sec ret":1,"sec ret":2}', b'{"sec\\nret\\"x at":1,"sec\\nret\\"x at":2}', b'["secret", x]']
)
def test_messages_name_a_place_and_no_value(data: bytes) -> None:
    with pytest.raises(MalformedJson) as caught:
        decode(data)
    assert "sec" not in str(caught.value)
    assert "line 1" in str(caught.value)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_a_tree_survives_writing_and_reading(tree: object) -> None:
    assert decode(encode(tree)) == tree  # type: ignore[arg-type]
    assert decode(json.dumps(tree).encode()) == tree


@given(
    st.text(alphabet='{}[]":,\\u0019eE+-.naIN ty\ud83d', max_size=30).map(lambda s: s.encode("utf-8", "surrogatepass"))
)
def test_what_is_accepted_python_reads_the_same_way(data: bytes) -> None:
    try:
        tree = decode(data)
    except MalformedJson:
        return
    assert json.loads(data) == tree
    assert "nan" not in repr(tree)
    assert math.inf not in (tree if isinstance(tree, list) else [tree])
