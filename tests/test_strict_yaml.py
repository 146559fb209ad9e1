"""The strict reading of YAML: the core schema's scalars, the lines, and everything that is refused."""

import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import ConfigurationError
from guardproxy.strict_yaml import MAX_NESTING, Plain, dotted, parse, scan


@pytest.mark.parametrize(
    ("text", "value"),
    [  # YAML 1.2.2, section 10.3.2, and what version 1.1 read otherwise
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("off", "off"),
        ("yes", "yes"),
        ("on", "on"),
        ("0", 0),
        ("-19", -19),
        ("0o7", 7),
        ("0x3A", 58),
        ("017", 17),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0.", 0.0),
        ("-0.0", -0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("2026-01-02", "2026-01-02"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("'~'", "~"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: Plain) -> None:
    tree = parse(f"key: {text}\n".encode(), "f").tree
    assert tree == {"key": value}
    assert type(tree["key"]) is type(value)


def test_not_a_number() -> None:
    tree = parse(b"key: .nan", "f").tree
    assert isinstance(tree, dict)
    assert isinstance(tree["key"], float)
    assert math.isnan(tree["key"])


def test_every_key_and_item_knows_its_line() -> None:
    document = parse(b"# a comment\na:\n  - b\n  -\n    c: 1\n\n    d: 2\ne: {f: 3}\n", "f")
    lines = {place: document.line_of(place) for place in [("a",), ("a", 0), ("a", 1, "c"), ("a", 1, "d"), ("e", "f")]}
    assert lines == {("a",): 2, ("a", 0): 3, ("a", 1, "c"): 5, ("a", 1, "d"): 7, ("e", "f"): 8}


def test_what_is_not_written_has_the_line_of_what_is_around_it() -> None:
    document = parse(b"a:\n  b: 1\n", "f")
    assert document.line_of(("a", "missing", 3)) == 1
    assert str(document.fault(("a", "missing"), "is required")) == "f:1: a.missing: is required"


def test_an_alias_gives_what_it_names() -> None:
    tree = parse(b"a: &x {b: [1]}\nc: *x\nd: [*x, *x]\n", "f").tree
    assert tree == {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}]}


@pytest.mark.parametrize("empty", [b"", b"# nothing but a comment\n", b"---\n", b"\n\n"])
def test_an_empty_file_is_nothing(empty: bytes) -> None:
    assert parse(empty, "f").tree is None


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (b"a: 1\nb: 2\na: 3\n", ["f:3: a: duplicate key, first on line 1"]),
        (b"x:\n  a: 1\n  'a': 3\n", ["f:3: x.a: duplicate key, first on line 2"]),
        (b"{a: 1, a: 2}", ["f:1: a: duplicate key, first on line 1"]),
        (b"a: &x [*x]\n", ["f:1: a[0]: an alias of nothing that is complete before it"]),
        (b"a: *nope\n", ["f:1: a: an alias of nothing that is complete before it"]),
        (b"a: !!python/object/apply:os.system [ls]\n", ["f:1: a: tags (`!…`) are not used here"]),
        (b"a: !!str 5\nb: !own {}\n", [f"f:{n}: {k}: tags (`!…`) are not used here" for n, k in [(1, "a"), (2, "b")]]),
        (b"a: &x {b: 1}\nc:\n  <<: *x\n", ["f:3: c: merge keys (`<<`) are not used here"]),
        (b"? [1, 2]\n: 3\n", ["f:1: a key must be text"]),
        (b"a: 1\n---\nb: 2\n", ["f:2: a second document (`---`) in one file"]),
        (b"a: b: c\n", ["f:1: not YAML: mapping values are not allowed in this context"]),
        (b"a: [1,\n", ["f:2: not YAML: did not find expected node content"]),
        (b"a:\n\t- b\n", ["f:2: not YAML: found character that cannot start any token"]),
        (b'a: "\x01"\n', ["f: not YAML: a character that YAML does not allow"]),
        (b"a: 1\nb: \xff\n", ["f:2: not UTF-8"]),
        (b"\xef\xbb\xbfa: 1\n", ["f:1: starts with a byte-order mark; write plain UTF-8"]),
        ("a: 1\n".encode("utf-16"), ["f:1: starts with a byte-order mark; write plain UTF-8"]),
    ],
)
def test_what_is_refused(data: bytes, faults: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse(data, "f")
    assert [str(fault) for fault in refusal.value.faults] == faults


def test_faults_of_a_whole_file_are_told_at_once() -> None:
    document, faults = scan(b"a: 1\na: 2\nb: !x 1\nc: fine\n", "f")
    assert [fault.line for fault in faults] == [2, 3]
    assert isinstance(document.tree, dict)
    assert document.tree["c"] == "fine"


@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 990, 100_000])
def test_depth_is_bounded(depth: int) -> None:
    with pytest.raises(ConfigurationError, match="nested deeper than 50 levels"):
        parse(b"[" * depth + b"]" * depth, "f")


def test_the_allowed_depth_is_allowed() -> None:
    assert parse(b"[" * MAX_NESTING + b"]" * MAX_NESTING, "f").tree != []


def test_aliases_cannot_unfold_without_end() -> None:
    rows = [b"a0: &a0 [x,x,x,x,x,x,x,x]"]
    rows += [b"a%d: &a%d [%s]" % (n, n, b",".join([b"*a%d" % (n - 1)] * 8)) for n in range(1, 9)]
    with pytest.raises(ConfigurationError, match="more than 100000 values, aliases unfolded"):
        parse(b"\n".join(rows), "f")


@pytest.mark.parametrize(
    "broken", [b"key: 'hunter2", b"key: hunter2: x", b"key: *hunter2", b"key: !hunter2 [", b"? {hunter2: 1}\n: 2"]
)
def test_no_message_quotes_a_value(broken: bytes) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        parse(broken, "f")
    assert "hunter2" not in str(refusal.value)


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(_PLAIN)
def test_what_a_yaml_writer_writes_is_read_back(tree: Plain) -> None:
    """The writer quotes more than the core schema needs, never less, but for numbers that only YAML 1.2 reads."""
    text = (
        yaml.safe_dump(tree, default_style='"') if isinstance(tree, str) else yaml.safe_dump(tree, allow_unicode=True)
    )
    assert parse(text.encode(), "f").tree == tree


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree_or_faults(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        parse(data, "f")


def test_places_are_written_with_dots_and_brackets() -> None:
    assert dotted(("upstreams", 0, "base_url")) == "upstreams[0].base_url"
    assert dotted(()) == ""
