"""The WHATWG cases, and that events do not depend on how the bytes were cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.errors import UpstreamProtocolError
from guardproxy.stream.frame import DONE, Frame, encode_frame, frame_of_event
from guardproxy.stream.sse import KEEP_ALIVE, SseError, SseEvent, SseParser, encode_event

BOM = b"\xef\xbb\xbf"


def parse(*chunks: bytes, limit: int = 1000) -> list[SseEvent]:
    parser = SseParser(limit)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return events


def data(*values: bytes) -> list[SseEvent]:
    return [SseEvent(None, value) for value in values]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"\n\n\n", []),
        (b"data: a\n\n", data(b"a")),
        (b"data:a\n\n", data(b"a")),
        (b"data:  a\n\n", data(b" a")),
        (b"data: a\r\n\r\n", data(b"a")),
        (b"data: a\r\r", data(b"a")),
        (b"data: a\n\r\n", data(b"a")),
        (b"data: a\r\n\n", data(b"a")),
        (b"data: a\r\ndata: b\rdata: c\n\r", data(b"a\nb\nc")),
        (b"\n\ndata: a\n\n\n\ndata: b\n\n", data(b"a", b"b")),
        (b"\n\n\ndata: a\n\n", data(b"a")),
        (b"data: a\ndata: b\n\n", data(b"a\nb")),
        (b"data: a\ndata\ndata: b\n\n", data(b"a\n\nb")),
        (b"data\n\n", data(b"")),
        (b"data:\n\n", data(b"")),
        (b"data:\ndata:\n\n", data(b"\n")),
        (b"data: a:b\n\n", data(b"a:b")),
        (BOM + b"data: a\n\n", data(b"a")),
        (BOM + b"\n\ndata: a\n\n", data(b"a")),
        (b": comment\n\n", []),
        (b":\n\n", []),
        (b": c\ndata: a\n: data: no\n\n", data(b"a")),
        (b"event: ping\n\n", []),
        (b"event: ping\ndata: a\n\n", [SseEvent("ping", b"a")]),
        (b"data: a\nevent:ping\n\n", [SseEvent("ping", b"a")]),
        (b"event: one\nevent: two\ndata: a\n\n", [SseEvent("two", b"a")]),
        (b"event:\ndata: a\n\n", data(b"a")),
        (b"event: ping\n\ndata: a\n\n", data(b"a")),
        (b"id: 1\nretry: 5\ndata: a\n\n", data(b"a")),
        (b"id\nretry: x\ndata: a\n\n", data(b"a")),
        (b"DATA: no\ndata : no\n data: no\ndatax: no\ndata: a\n\n", data(b"a")),
        (b"data: a\x00b\n\n", data(b"a\x00b")),
        ("data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(), data("a\u2028b\u0085c\x0bd\x0ce".encode())),
        (KEEP_ALIVE + b"data: a\n\n", data(b"a")),
    ],
)
def test_standard_cases(stream: bytes, events: list[SseEvent]) -> None:
    assert parse(stream) == events
    for cut in range(len(stream) + 1):
        assert parse(stream[:cut], stream[cut:]) == events
    assert parse(*(stream[i : i + 1] for i in range(len(stream)))) == events


@pytest.mark.parametrize("stream", [b"data: a", b"data: a\n", b"data: a\r\n", b"x", BOM[:1], BOM[:2], BOM + b"d"])
def test_half_an_event_at_the_end_is_an_error(stream: bytes) -> None:
    with pytest.raises(SseError, match="within an event"):
        parse(stream)


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    assert parse(b"data: a\n\n" + BOM + b"data: b\n\n") == data(b"a")
    assert parse(BOM + BOM + b"data: a\n\n") == []


def test_an_event_has_a_largest_size_whether_finished_or_not() -> None:
    assert parse(b"data: 4567890\n\n", limit=13) == data(b"4567890")
    for stream in (b"data: 45678901", b"data: 45678901\n\n", b"data: 4\ndata: 01234"):
        with pytest.raises(SseError, match="larger"):
            parse(stream, limit=13)


def test_many_tiny_pieces_of_a_large_event_take_linear_time() -> None:
    piece = b"0123456789abcdef"
    count = 64 * 1024
    parser = SseParser(len(piece) * count + 100)
    parser.feed(b"data: ")
    for _ in range(count):
        assert parser.feed(piece) == []
    assert parser.feed(b"\n\n") == data(piece * count)


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b"data: \xc3\xa9",
        b": c",
        b"event: e",
        b"id: 1",
        b"retry: 1",
        b"",
        b"",
        b"",
        b"\x00",
    ]
)
BREAKS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams_and_cuts(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    stream = draw(st.sampled_from([b"", BOM]))
    stream += b"".join(line + draw(BREAKS) for line in draw(st.lists(LINES, max_size=12)))
    stream += b"\n\n"
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    return stream, [stream[a:b] for a, b in itertools.pairwise(bounds)]


@given(streams_and_cuts())
def test_events_do_not_depend_on_the_cutting(case: tuple[bytes, list[bytes]]) -> None:
    stream, pieces = case
    assert parse(*pieces) == parse(stream) == list(by_the_standard(stream))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_bytes_confuse_it(stream: bytes, cut: int) -> None:
    def outcome(*pieces: bytes) -> object:
        try:
            return parse(*pieces)
        except SseError as error:
            return str(error)

    assert outcome(stream[:cut], stream[cut:]) == outcome(stream)


def by_the_standard(stream: bytes) -> list[SseEvent]:
    """The algorithm of the standard, line by line, as slow as it likes to be."""
    lines = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    events, values, name = [], list[bytes](), None
    for line in lines:
        field, _, value = line.partition(b":")
        if not line:
            if values:
                events.append(SseEvent(name, b"\n".join(values)))
            values, name = [], None
        elif field == b"data":
            values.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode() or None
    return events


@pytest.mark.parametrize("event", [SseEvent(None, b"{}"), SseEvent("ping", b'{"a":1}'), SseEvent(None, b"")])
def test_what_is_encoded_is_read_again(event: SseEvent) -> None:
    assert parse(encode_event(event.name, event.data)) == [event]


ODD_NAMES = ["", "a b", "a\nb", "a\rdata: {}", "a\n\ndata: x", "a\u2028b", "a\x85b", "a\x00b", "a\n", "é", "a" * 65]


@pytest.mark.parametrize("name", ODD_NAMES, ids=map(ascii, ODD_NAMES))
def test_an_odd_name_is_not_encoded(name: str) -> None:
    """It could end its line, and begin an event that nobody has judged."""
    with pytest.raises(ValueError, match="no plain word"):
        encode_event(name, b"{}")
    with pytest.raises(UpstreamProtocolError, match="odd type"):
        encode_frame(Frame({"type": name}, name))


@pytest.mark.parametrize("value", [b"[DONE]", b" [DONE]", b"[DONE] ", b"[DONE]\n"])
def test_the_end_mark(value: bytes) -> None:
    assert frame_of_event(SseEvent(None, value)) == DONE
    assert encode_frame(DONE) == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "value", [b"", b"[]", b'"x"', b"1", b"{", b"{}{}", b"[DONE]{}", b'{"a":1,"a":2}', b'{"a":NaN}', BOM + b"{}"]
)
def test_data_that_is_no_strict_object_is_refused(value: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        frame_of_event(SseEvent(None, value))


@pytest.mark.parametrize("name", ["a\u2028data: {}", "a\x85b", "a\x0bb", "a b", "é", "a\x00", "x" * 65])
def test_an_event_name_that_some_client_may_read_as_several_lines_is_refused(name: str) -> None:
    with pytest.raises(UpstreamProtocolError):
        frame_of_event(SseEvent(name, b"{}"))


@given(st.text())
def test_an_encoded_frame_is_one_event_also_for_clients_that_split_lines_as_unicode_does(value: str) -> None:
    """`str.splitlines`, as in httpx's and requests' line iterators, breaks at U+0085, U+2028 and others too."""
    encoded = encode_frame(Frame({"content": value, value: 1}))
    assert encoded.decode().splitlines() == [encoded.decode().rstrip("\n"), ""]
    (event,) = parse(encoded, limit=100_000)
    assert frame_of_event(event).tree == {"content": value, value: 1}
