import base64
import gzip
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.policy.decode import MAX_GROWTH, leaves, script_texts, unescaped, views

HIDDEN = "rm -rf /etc/passwd"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        HIDDEN,
        json.dumps(HIDDEN),
        json.dumps({"a": [HIDDEN]}),
        json.dumps({"a": json.dumps({"b": HIDDEN})}),
        quote(HIDDEN, safe=""),
        quote(quote(quote(HIDDEN, safe=""), safe=""), safe=""),
        HIDDEN.replace(" ", "+").replace("/", "%2F"),
        "".join(f"\\x{ord(c):02x}" for c in HIDDEN),
        "".join(f"\\u{ord(c):04x}" for c in HIDDEN),
        "".join(f"\\u{{{ord(c):04x}}}" for c in HIDDEN),
        "".join(f"\\{ord(c):03o}" for c in HIDDEN),
        "".join(f"&#{ord(c)};" for c in HIDDEN),
        "".join(f"%u{ord(c):04x}" for c in HIDDEN),
        b64(HIDDEN),
        b64(HIDDEN).rstrip("="),
        f"see {b64(HIDDEN)} there",
        base64.urlsafe_b64encode(HIDDEN.encode()).decode(),
        base64.b64encode(HIDDEN.encode("utf-16-le")).decode(),
        base64.b64encode(gzip.compress(HIDDEN.encode(), mtime=0)).decode(),
        b64(b64(HIDDEN)),
        "\n".join(b64(HIDDEN)[i : i + 8] for i in range(0, 24, 8)),
        HIDDEN.encode().hex(),
        " ".join(f"{b:02x}" for b in HIDDEN.encode()),
        " ".join(f"0x{b:02x}" for b in HIDDEN.encode()),
        "r\u200bm -rf /etc/passwd",
        "ｒｍ -rf /etc/passwd",
        quote(b64(HIDDEN), safe=""),
    ],
)
def test_a_layer_is_seen_through(text: str) -> None:
    assert HIDDEN in views(text).texts


def test_the_original_comes_first() -> None:
    assert views("%41bc").texts[0] == "%41bc"


@pytest.mark.parametrize(
    "text", ["", "Oslo", "get the weather", "a1b2", "https://example.org/a/b", "hello world and more"]
)
def test_plain_text_has_one_view_or_harmless_ones(text: str) -> None:
    assert views(text).texts[0] == text
    assert views(text).complete


@given(st.text(max_size=300))
def test_decoding_never_raises_and_is_bounded(text: str) -> None:
    seen = views(text)
    assert sum(map(len, seen.texts[1:])) <= MAX_GROWTH
    assert script_texts(text)


@given(st.text(min_size=1, max_size=40))
def test_what_is_encoded_is_found_again(text: str) -> None:
    plain = text.encode("utf-8", "replace").decode()
    assert f"x{plain}x" in views(json.dumps(f"x{plain}x")).texts


def test_a_text_that_grows_too_much_is_reported() -> None:
    assert not views("%25" * 50, growth=10).complete


def test_layers_without_end_are_reported() -> None:
    text = HIDDEN
    for _ in range(12):
        text = b64(text)
    assert not views(text).complete


@pytest.mark.parametrize("unit", ["\\", "%25", "QUJD ", "41 ", "{", "&#65;", "a", "\\x41"])
def test_a_megabyte_is_judged_in_time(unit: str) -> None:
    start = time.monotonic()
    views(unit * (1_000_000 // len(unit)))
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [(r"\n", "\n"), (r"\x41", "A"), (r"\101", "A"), (r"A", "A"), (r"\U00000041", "A"), (r"\q", "q"), ("\\\n", "")],
)
def test_escapes(escaped: str, plain: str) -> None:
    assert unescaped(escaped) == plain


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("rm%20-rf%20%2F", "rm -rf /"),
        (b64("rm -rf /"), "rm -rf /"),
        (b"rm -rf /".hex(), "rm -rf /"),
        (json.dumps({"command": "rm -rf /"}), "rm -rf /"),
        ("\\u0072m -rf /", "rm -rf /"),
        ("&#114;m -rf /", "rm -rf /"),
    ],
)
def test_a_script_may_be_encoded_as_a_whole(text: str, meant: str) -> None:
    assert meant in script_texts(text)


def test_a_script_is_not_decoded_in_part() -> None:
    text = f"grep 'a\\|b' {b64('rm -rf /')} x"
    assert script_texts(text) == (text,)


def test_leaves_have_paths() -> None:
    tree = {"a": "x", "b": [{"c": "y"}], "rm -rf / now": 1}
    assert set(leaves(tree)) == {("a", "x"), ("b[0].c", "y"), ("#key", "rm -rf / now")}


def test_leaves_of_a_deep_tree() -> None:
    tree: object = "x"
    for _ in range(5_000):
        tree = [tree]
    assert [leaf for _, leaf in leaves(tree)] == ["x"]  # type: ignore[arg-type]
