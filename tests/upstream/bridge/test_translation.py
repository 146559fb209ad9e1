"""Any chat answer, streamed in any way, is the same answer in the other APIs."""

import asyncio
import itertools
import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardproxy.stream.assemble import Assembler
from guardproxy.stream.frame import Frame
from guardproxy.stream.sse import SseParser
from guardproxy.surfaces.chat_completions.answer import read_chunk
from guardproxy.surfaces.messages import Messages
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import RequestRules
from guardproxy.testing import chat
from guardproxy.testing.dialects import DIALECTS, Said, SaidCall
from guardproxy.testing.fakes import FakeUpstream
from guardproxy.upstream.bridge import BridgedUpstream
from guardproxy.upstream.bridge.translation import ChunkTranslator, translate, translate_whole
from guardproxy.upstream.upstream import UpstreamRequest

ASKED = {
    "/responses": {"model": "m", "input": "hi"},
    "/messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
}
PATHS = list(ASKED)

SHOW_NO_REASONING = ("openai", "azure", "mistral")

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ARGUMENTS = st.dictionaries(TEXT, TEXT | st.integers() | st.booleans() | st.none(), max_size=3).map(json.dumps)
NAMES = st.sampled_from(["get_weather", "bash", "mail__send"])


def said_calls(texts):
    return tuple(SaidCall(name, arguments, f"call_{i}") for i, (name, arguments) in enumerate(texts))


CALLS = st.lists(st.tuples(NAMES, ARGUMENTS), max_size=3).map(said_calls)
SAID = st.builds(Said, text=TEXT, calls=CALLS, reasoning=TEXT)


@dataclass(frozen=True)
class Turn:
    text: str
    reasoning: str
    calls: list
    ended: object
    tokens: tuple[int, int]


def turn(path, tree):
    """What a client sees in the final object."""
    return _of_response(tree) if path == "/responses" else _of_message(tree)


def _of_response(tree):
    parts = [(item["type"], part) for item in tree["output"] for part in item.get("content", [])]
    calls = [
        (item["name"], json.loads(item["arguments"])) for item in tree["output"] if item["type"] == "function_call"
    ]
    return Turn(
        "".join(part["text"] for kind, part in parts if kind == "message"),
        "".join(part["text"] for kind, part in parts if kind == "reasoning"),
        calls,
        tree["status"],
        (tree["usage"]["input_tokens"], tree["usage"]["output_tokens"]),
    )


def _of_message(tree):
    return Turn(
        "".join(block["text"] for block in tree["content"] if block["type"] == "text"),
        "".join(block["thinking"] for block in tree["content"] if block["type"] == "thinking"),
        [(block["name"], block["input"]) for block in tree["content"] if block["type"] == "tool_use"],
        tree["stop_reason"],
        (tree["usage"]["input_tokens"], tree["usage"]["output_tokens"]),
    )


def streamed(path, chunks):
    translator = ChunkTranslator(translate(path, ASKED[path], "n").writer)
    frames = [frame for tree in chunks for frame in translator.feed(Frame(tree))]
    return [frame.tree for frame in [*frames, *translator.close()]]


def whole(path, completion):
    return translate_whole(completion, translate(path, ASKED[path], "n").writer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@settings(max_examples=40, deadline=None)
@given(said=SAID)
def test_every_dialect_streams_what_it_says_as_a_whole(clients, path, dialect, said):
    events = streamed(path, dialect.chunks([said]))
    final, at_once = clients[path](events), whole(path, dialect.whole([said]))
    assert turn(path, final) == turn(path, at_once)
    reasoning = "" if dialect.name in SHOW_NO_REASONING else said.reasoning
    assert (turn(path, final).text, turn(path, final).reasoning) == (said.text, reasoning)
    assert turn(path, final).calls == [(call.name, json.loads(call.arguments)) for call in said.calls]


@st.composite
def interleaved(draw):
    """Chunks of one turn whose pieces come in any order that the API allows, and the same turn as a whole."""
    calls = draw(st.lists(ARGUMENTS, max_size=3))
    pieces = [chat.text(text) for text in draw(st.lists(TEXT, max_size=3))]
    pieces += [chat.chunk(chat.choice(reasoning=text)) for text in draw(st.lists(TEXT, max_size=3))]
    order = list(draw(st.permutations(pieces)))
    at = 0
    for index, arguments in enumerate(calls):
        cut = draw(st.integers(0, len(arguments)))
        at = draw(st.integers(at, len(order)))
        order.insert(at, chat.call("f", arguments[:cut], index=index))
        later = draw(st.integers(at + 1, len(order)))
        order.insert(later, chat.more_arguments(arguments[cut:], index=index))
        at += 1
    message = {
        "content": "".join(delta_of(tree).get("content", "") for tree in order),
        "reasoning": "".join(delta_of(tree).get("reasoning", "") for tree in order),
        "tool_calls": [chat.whole_call("f", arguments, f"call_0_{index}") for index, arguments in enumerate(calls)],
    }
    reason = "tool_calls" if calls else "stop"
    completion = chat.completion(message, finish_reason=reason, usage=chat.usage()["usage"])
    return [*order, chat.finish(reason), chat.usage()], completion


def delta_of(tree):
    return tree["choices"][0]["delta"]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=400, deadline=None)
@given(turns=interleaved())
def test_any_order_of_pieces_is_the_same_turn(clients, path, turns):
    chunks, completion = turns
    assert turn(path, clients[path](streamed(path, chunks))) == turn(path, whole(path, completion))


SURFACES = {surface.upstream_path: surface for surface in (Responses(), Messages())}


def judged(path, trees, *, stream):
    """The turn that the guard sees, by the asked surface's own reading."""
    surface = SURFACES[path]
    reader, assembler = surface.reader(surface.parse(ASKED[path] | {"stream": stream}, RequestRules())), Assembler()
    for tree in trees:
        assert not reader.ended
        assembler.feed(reader.read(tree))
    assert reader.ended
    return _seen(assembler.turn())


def said(chunks):
    """The turn that the guard sees where a client speaks chat completions."""
    assembler = Assembler()
    for tree in chunks:
        assembler.feed(read_chunk(tree, 1))
    return _seen(assembler.turn())


def _seen(turn):
    calls = [(call.kind, call.id, call.name, json.loads(call.arguments or "{}")) for call in turn.calls]
    return turn.texts.get(0, ""), calls


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=50, deadline=None)
@given(turns=interleaved())
def test_the_guard_sees_the_turn_that_the_model_said(path, turns):
    chunks, completion = turns
    assert judged(path, streamed(path, chunks), stream=True) == said(chunks)
    assert judged(path, [whole(path, completion)], stream=False) == said(chunks)


def events_of(path, plays):
    """What a client of the bridge reads, with the random part of the ids taken out."""

    async def run():
        upstream = BridgedUpstream(FakeUpstream([plays]))
        request = UpstreamRequest(path, tree=ASKED[path] | {"stream": True}, stream=True)
        async with upstream.open(request) as reply:
            return b"".join([chunk async for chunk in reply.chunks()])

    body = asyncio.run(run())
    nonce = re.search(rb"_([0-9a-f]{16})\b", body)
    assert nonce is not None
    return SseParser(1 << 20).feed(body.replace(nonce[1], b"n"))


SPOKEN = Said("Héllo\u2028 there", said_calls([("bash", '{"cmd":"ls -la"}'), ("f", "{}")]), "hm, 思")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_event_depends_on_how_the_bytes_were_cut(path, dialect):
    body = chat.events(dialect.chunks([SPOKEN]))
    expected = events_of(path, [body])
    assert events_of(path, [body[i : i + 1] for i in range(len(body))]) == expected
    assert events_of(path, [body[i : i + 61] for i in range(0, len(body), 61)]) == expected


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40, deadline=None)
@given(at=st.lists(st.integers(0, 2000), max_size=6).map(sorted))
def test_no_event_depends_on_two_cuts_or_more(path, at):
    body = chat.events(DIALECTS[0].chunks([SPOKEN])).replace(b"\n", b"\r\n")
    bounds = [0, *(min(place, len(body)) for place in at), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(bounds)]
    assert events_of(path, pieces) == events_of(path, [body])
