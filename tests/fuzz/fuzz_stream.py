"""Random bytes through the readers. As an atheris target, or on its own: `python tests/fuzz/fuzz_stream.py [SECONDS]`.

Whatever the bytes are, a reader gives a value or one of its own errors, and where it gives a value the value is
the same however the bytes were cut.
"""

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable

from guardproxy import strict_json
from guardproxy.errors import MalformedRequest, UpstreamError
from guardproxy.stream.assemble import Assembler
from guardproxy.stream.frame import frame_of_body, frame_of_event
from guardproxy.stream.sse import SseError, SseParser
from guardproxy.surfaces.chat_completions.answer import read_chunk, read_completion
from guardproxy.surfaces.chat_completions.request import parse
from guardproxy.surfaces.surface import RequestRules

_TOKENS = [
    b"data:", b"data: ", b"event: ", b": c", b"id: 1",
    b"\n", b"\n\n", b"\r", b"\r\n", b"[DONE]", b"\xef\xbb\xbf", b"\x00",
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b"1", b"1e999", b"NaN", b"null", b"true", b"\\ud800",
    b'{"object":"chat.completion.chunk","choices":[', b'{"index":0,"delta":{', b'{"index":0,"message":{', b"]}", b"}}",
    b'"tool_calls":[', b'{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}',
    b'"function_call":{"name":"f","arguments":""}', b'"content":"x"', b'"finish_reason":"tool_calls"', b'"error":{}',
    b'"model":"m","messages":[', b'{"role":"tool","tool_call_id":"c","content":"x"}', b'"tools":[{"type":"function"}]',
]  # fmt: skip


def one_input(data: bytes) -> None:
    """What atheris calls. Any exception that gets out is a finding."""
    whole, pieces = _events(data, [data]), _events(data, _cut(data))
    assert whole == pieces, "events depend on the cutting"
    _read_stream(data)
    for read in (_read_body, _read_request):
        read(data)


def _cut(data: bytes) -> list[bytes]:
    step = 1 + (data[0] % 7 if data else 0)
    return [data[i : i + step] for i in range(0, len(data), step)]


def _events(data: bytes, pieces: list[bytes]) -> object:
    parser = SseParser(1 << 20)
    try:
        events = [event for piece in pieces for event in parser.feed(piece)]
        parser.close()
    except SseError as error:
        return str(error)
    return events


def _read_stream(data: bytes) -> None:
    assembler = Assembler()
    try:
        for event in SseParser(1 << 20).feed(data):
            frame = frame_of_event(event)
            if frame.tree is not None:
                assembler.feed(read_chunk(frame.tree, 2))
        assembler.turn()
    except (UpstreamError, SseError):
        pass


def _read_body(data: bytes) -> None:
    try:
        tree = frame_of_body(data).tree
        assert tree is not None
        assert strict_json.decode(strict_json.encode(tree)) == tree, "a tree changed on its way"
        read_completion(tree, 2)
    except UpstreamError:
        pass


def _read_request(data: bytes) -> None:
    with contextlib.suppress(strict_json.MalformedJson, MalformedRequest):
        parse(strict_json.decode_object(data), RequestRules())


def random_input(source: random.Random) -> bytes:
    """Tokens of both grammars, with now and then a byte that was changed."""
    data = bytearray(b"".join(source.choices(_TOKENS, k=source.randrange(1, 30))))
    for _ in range(source.choice([0, 0, 1, 3])):
        data[source.randrange(len(data))] = source.randrange(256)
    return bytes(data)


def run(seconds: float, seed: int, call: Callable[[bytes], None] = one_input) -> int:
    """Random inputs for a while; how many they were."""
    source, count, until = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        data = random_input(source)
        try:
            call(data)
        except Exception:
            print(f"seed {seed}, input {count}: {data!r}", file=sys.stderr)
            raise
        count += 1
    return count


def main() -> None:
    try:
        import atheris
    except ImportError:
        seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
        print(run(seconds, int.from_bytes(os.urandom(4), "big")), "inputs")
    else:
        atheris.Setup(sys.argv, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
