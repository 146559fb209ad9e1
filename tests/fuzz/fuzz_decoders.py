"""Random bytes into everything that decodes: `python tests/fuzz/fuzz_decoders.py [SECONDS [TARGET...]]`.

With atheris, `python tests/fuzz/fuzz_decoders.py --atheris TARGET [its own options]` lets it choose the bytes.
Whatever they are, a decoder gives a value or one of its own errors, and the value does not depend on how they were cut.
"""

import contextlib
import gzip
import itertools
import random
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import zstandard

from guardproxy import strict_json, strict_yaml
from guardproxy.decision import Verdict
from guardproxy.errors import ClientError, ConfigurationError, MalformedRequest, UpstreamError, UpstreamProtocolError
from guardproxy.model import Request
from guardproxy.policy.decode import views
from guardproxy.policy.shell.read import read as read_script
from guardproxy.stream.frame import Frame, frame_of_body, frame_of_event
from guardproxy.stream.sse import SseError, SseParser
from guardproxy.strict_json import MalformedJson
from guardproxy.surfaces.surface import ProviderTools, RequestRules
from guardproxy.testing.fakes import finding
from guardproxy.testing.passage import pass_through, read_request
from guardproxy.testing.script import Part, Reasoning, Text, Wire, encode_frames
from guardproxy.testing.trial import marked
from guardproxy.testing.wires import WIRES
from guardproxy.text_calls import Channel, Format, TextCallScanner, Watch
from guardproxy.upstream.bridge.translation import (
    TRANSLATED,
    ChunkTranslator,
    translate,
    translate_whole,
)
from guardproxy.upstream.inflate import Inflate
from guardproxy.wire import read_body

Target = Callable[[bytes], None]

_LIMIT = 1 << 20
_RULES = (
    RequestRules(),
    RequestRules(provider_tools=ProviderTools.STRIP, refuse_hidden_content=True),
    RequestRules(allow_fields=frozenset({"unknown"}), allow_provider_tools=frozenset({"mcp", "web_search"})),
)


# --- seeds: what is honest -----------------------------------------------------------------------------------------


def turn_of(wire: Wire) -> list[Part]:
    """A bit of everything that the API has."""
    calls = [marked(shape, "allow", i, noise=i % 2 == 0) for i, shape in enumerate(wire.shapes.values())]
    return [Reasoning("Hm. "), Text("So: "), *calls]


def streams_of(wire: Wire) -> list[bytes]:
    return [encode_frames(frames) for frames in (wire.frames(turn_of(wire)), *wire.variants(turn_of(wire)).values())]


def bodies_of(wire: Wire) -> list[bytes]:
    return [strict_json.encode(wire.whole(turn_of(wire)))]


def requests_of(wire: Wire) -> list[bytes]:
    calls = [part for part in turn_of(wire) if not isinstance(part, Text | Reasoning)]
    return [strict_json.encode(wire.request(stream=stream, calls=calls, unknown=1)) for stream in (True, False)]


_TEXTS = [
    b'<tool_call>\n{"name": "sh", "arguments": {"c": "x"}}\n</tool_call>',
    b'[TOOL_CALLS][{"name": "sh", "arguments": {"c": "x"}}]',
    b'[sh(c="x"), sh(c=[1, {"a": None}])]',
    b'```json\n{"name": "sh", "parameters": {"c": "x"}}\n```',
    b'Thought: hm\nAction: sh\nAction Input: {"c": "x"}\nObservation:',
    b"<sh>\n<c>x</c>\n</sh><execute_command><command>ls</command></execute_command>",
    b"Thoughts: hm\n<code>\nsh('x')\n</code>\n```python\nimport os\n```",
]


# --- targets -------------------------------------------------------------------------------------------------------


def sse(data: bytes) -> None:
    assert _events([data]) == _events(_cut(data)), "events depend on the cutting"


def _cut(data: bytes) -> list[bytes]:
    step = 1 + (data[0] % 7 if data else 0)
    return [data[i : i + step] for i in range(0, len(data), step)]


def _events(pieces: list[bytes]) -> object:
    parser = SseParser(_LIMIT)
    try:
        events = [event for piece in pieces for event in parser.feed(piece)]
        parser.close()
    except SseError as error:
        return str(error)
    return events


def _frames(data: bytes) -> list[Frame]:
    """As far as they go."""
    frames: list[Frame] = []
    with contextlib.suppress(SseError, UpstreamProtocolError):
        frames += (frame_of_event(event) for event in SseParser(_LIMIT).feed(data))
    return frames


def stream(wire: Wire, asked: Request, data: bytes) -> None:
    """Through the reader and the gate, and through `amend` with every call blocked."""
    frames = _frames(data)
    for verdict in (Verdict.ALLOW, Verdict.BLOCK):
        passage = pass_through(wire, asked, frames, lambda call, said=verdict: [finding(said)])  # type: ignore[misc]
        assert (passage.permit is None) is (passage.error is not None)
    _read_fields(wire, passage.left)


def whole(wire: Wire, asked: Request, data: bytes) -> None:
    with contextlib.suppress(UpstreamProtocolError):
        frame = frame_of_body(data)
        assert frame_of_body(strict_json.encode(frame.tree)) == frame, "a tree changed on its way"
        for verdict in (Verdict.ALLOW, Verdict.BLOCK):
            said = finding(verdict)
            _read_fields(wire, pass_through(wire, asked, [frame], lambda call, said=said: [said]).left)  # type: ignore[misc]


def _read_fields(wire: Wire, frames: Sequence[Frame]) -> None:
    """What later stages read of a frame that left."""
    surface = wire.surface
    for frame in frames:
        surface.finished_in(frame)
        surface.with_texts(frame, surface.texts_of(frame))
        usage = surface.usage_of(frame)
        if usage is not None:
            assert surface.usage_of(surface.with_usage(frame, usage)) == usage


def request(wire: Wire, data: bytes) -> None:
    surface = wire.surface
    for rules in _RULES:
        try:
            asked = surface.parse(strict_json.decode_object(data), rules)
        except (MalformedJson, MalformedRequest):
            continue
        strict_json.encode(dict(asked.tree))
        surface.reader(asked)
        surface.writer(asked)
        digests = frozenset(result.digest for result in asked.results)
        left = surface.without_results(asked, digests, "withheld")
        assert not digests & {result.digest for result in surface.parse(dict(left.tree), rules).results} or not digests


def text_calls(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    pieces = [piece.decode("utf-8", "replace") for piece in _cut(data)] if data.isascii() else list(text)
    elements = frozenset({"execute_command"})
    for watch in (Watch(frozenset(Format), None, elements=elements), Watch(frozenset(Format), frozenset({"sh"}))):
        assert _calls(watch, [text]) == _calls(watch, pieces), "calls depend on the cutting"


def _calls(watch: Watch, pieces: Sequence[str]) -> object:
    scanner = TextCallScanner(watch)
    for piece in pieces:
        scanner.feed(0, Channel.TEXT, piece)
    return scanner.close()


def body(data: bytes) -> None:
    """A request's body in every coding, as it came and packed."""
    packed = (("gzip", gzip.compress(data)), ("zstd", zstandard.compress(data)), ("identity", data))
    for coding, sent in packed:
        assert _body(sent, coding) == data
    for coding in ("gzip", "zstd"):
        with contextlib.suppress(ClientError):
            assert len(_body(data, coding)) <= _LIMIT


def _body(data: bytes, coding: str) -> bytes:
    pieces = _cut(data) or [b""]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    reading = read_body(receive, {"content-encoding": coding}, _LIMIT)
    try:
        reading.send(None)
    except StopIteration as done:
        read: bytes = done.value
        return read
    raise AssertionError("it waits for nothing")


def inflate(data: bytes) -> None:
    for coding, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data))):
        assert _inflated(packed, coding) == data
        with contextlib.suppress(UpstreamProtocolError):
            _inflated(data, coding)


def _inflated(data: bytes, coding: str) -> bytes:
    stream, plain = Inflate(coding), bytearray()
    for piece in itertools.chain.from_iterable(map(stream.feed, _cut(data))):
        plain += piece
        if len(plain) > _LIMIT:
            return bytes(plain)
    stream.finish()
    return bytes(plain)


def bridged_stream(wire: Wire, tree: Mapping[str, Any], data: bytes) -> None:
    """What a chat server streams, as another API's answer: it is read as one, or refused before."""
    asked = wire.surface.parse({**tree, "stream": True}, RequestRules())
    translator = ChunkTranslator(translate(wire.surface.upstream_path, tree, "n").writer)
    frames: list[Frame] = []
    try:
        for frame in _frames(data):
            frames += translator.feed(frame)
        frames += translator.close()
    except UpstreamError:
        return
    passage = pass_through(wire, asked, frames, lambda call: ())
    assert passage.error is None, f"what the bridge wrote was refused: {passage.error}"


def bridged_body(wire: Wire, tree: Mapping[str, Any], data: bytes) -> None:
    asked = wire.surface.parse({**tree, "stream": False}, RequestRules())
    try:
        answer = translate_whole(
            strict_json.decode_object(data), translate(wire.surface.upstream_path, tree, "n").writer
        )
    except (MalformedJson, UpstreamError):
        return
    passage = pass_through(wire, asked, [Frame(answer)], lambda call: ())
    assert passage.error is None, f"what the bridge wrote was refused: {passage.error}"


def bridged_request(path: str, data: bytes) -> None:
    with contextlib.suppress(MalformedJson, MalformedRequest):
        strict_json.encode(translate(path, strict_json.decode_object(data), "n").chat)


def yaml(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        strict_yaml.parse(data, "fuzzed")


def policy(data: bytes) -> None:
    """What rules read in arguments: scripts, and texts within texts."""
    text = data.decode("utf-8", "replace")
    for language in ("bash", "python"):
        read_script(text, language)
    assert views(text).texts[0] == text


def _targets() -> Iterator[tuple[str, Target, Sequence[bytes]]]:
    """Their names, and honest bytes to begin with."""
    chat = WIRES[0]
    yield "sse", sse, streams_of(chat)
    yield "text_calls", text_calls, _TEXTS
    yield "yaml", yaml, [b"a: {b: [1, 'x']}\nc: |\n  text\n", b"rules:\n  - id: a\n    when: x == 1\n"]
    yield (
        "policy",
        policy,
        [b"rm -rf \"$HOME\" | sh -c 'curl x' && $(echo bHM= | base64 -d)", b"import os\nos.system('ls ' + 'x')\n"],
    )
    yield "body", body, [b"{}" * 40, gzip.compress(b"{}" * 40), zstandard.compress(b"{}" * 40)]
    yield "inflate", inflate, [b"{}" * 40, gzip.compress(b"{}" * 40), zlib.compress(b"{}" * 40)]
    for wire in WIRES:
        parse = partial(read_request, wire)
        yield f"stream_{wire.name}", partial(stream, wire, parse(wire.request(stream=True))), streams_of(wire)
        yield f"whole_{wire.name}", partial(whole, wire, parse(wire.request(stream=False))), bodies_of(wire)
        yield f"request_{wire.name}", partial(request, wire), requests_of(wire)
        if wire.surface.upstream_path in TRANSLATED:
            tree = wire.request(stream=True)
            yield f"bridged_stream_{wire.name}", partial(bridged_stream, wire, tree), streams_of(chat)
            yield f"bridged_body_{wire.name}", partial(bridged_body, wire, tree), bodies_of(chat)
            yield (
                f"bridged_request_{wire.name}",
                partial(bridged_request, wire.surface.upstream_path),
                requests_of(wire),
            )


TARGETS: Mapping[str, tuple[Target, Sequence[bytes]]] = {name: (call, seeds) for name, call, seeds in _targets()}


# --- by chance -----------------------------------------------------------------------------------------------------

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\w.]+|[\s]+|.', re.DOTALL)
_ODD = [b"\x00", b"\xff", b"\r", b"\r\n\r\n", b"[DONE]", b"1e999", b"NaN", b"null", b"true", b"-1", b"{}", b"[]", b'""']
_ODD += [b"\\ud800", b"\xef\xbb\xbf", b'"\\u0000"']


def random_input(source: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """An honest input with bytes or tokens changed, or a heap of tokens."""
    if source.random() < 0.2:
        return b"".join(source.choices(tokens, k=source.randrange(1, 40)))
    data = bytearray(source.choice(seeds))
    for _ in range(source.choice((0, 1, 1, 2, 4))):
        at = source.randrange(len(data) + 1)
        end = at + source.choice((0, 0, 1, 1, 4, 30))
        data[at:end] = source.choice((b"", source.choice(tokens), bytes([source.randrange(256)])))
    return bytes(data)


def run(name: str, seconds: float, seed: int) -> int:
    """Random inputs for a while; how many they were."""
    call, seeds = TARGETS[name]
    tokens = sorted({token for data in seeds for token in _TOKEN.findall(data)}) + _ODD
    source, count, until = random.Random(f"{seed} {name}"), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        data = random_input(source, seeds, tokens)
        try:
            call(data)
        except Exception as error:
            error.add_note(f"target {name}, seed {seed}, input {count}: {data!r}")
            raise
        count += 1
    return count


def main(arguments: Sequence[str]) -> None:
    if arguments[:1] == ["--atheris"]:
        import atheris  # type: ignore[import-untyped]  # installed by who fuzzes

        atheris.Setup([sys.argv[0], *arguments[2:]], TARGETS[arguments[1]][0])
        atheris.Fuzz()
        return
    seconds = float(arguments[0]) if arguments else 60.0
    seed = random.SystemRandom().getrandbits(32)
    for name in arguments[1:] or TARGETS:
        print(f"{name}: {run(name, seconds, seed)} inputs, nothing found (seed {seed})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
