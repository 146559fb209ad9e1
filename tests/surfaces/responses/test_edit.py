"""What a request goes on from: stored answers, conversations, and single items that the client names."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from guardproxy.decision import Verdict
from guardproxy.model import Injection, Position
from guardproxy.surfaces.responses import Responses
from guardproxy.surfaces.surface import OnBlock, RequestRules
from guardproxy.testing.fakes import FakeGuard, finding
from guardproxy.testing.proxy import ProxyUnderTest, Received, proxy
from guardproxy.testing.script import Call, Part, Reasoning, Shape, Text, Tree, encode_frames
from guardproxy.testing.wires.responses import ResponsesWire

WIRE = ResponsesWire()
ANSWERED = [pytest.param(shape, id=name) for name, shape in WIRE.shapes.items() if name != "opaque"]
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])

BAD = Call("function_call", "bad", '{"a":"SECRET"}', id="call_1")
UNKNOWN = Call("opaque", "bad_future_call", '{"a":"SECRET"}', id="call_9")


def play(*parts: Part, id: str = "resp_1", stream: bool = False) -> list[bytes]:
    """An answer of this id."""
    if not stream:
        return [json.dumps(WIRE.whole(parts) | {"id": id}).encode()]
    frames = WIRE.frames(parts)
    for frame in frames:
        if frame.tree is not None and isinstance(response := frame.tree.get("response"), dict):
            response["id"] = id
    return [encode_frames(frames)]


def ask(under_test: ProxyUnderTest, input: object = "And?", *, status: int = 200, **fields: Any) -> Received:
    received = under_test.ask({"model": "m", "input": input, **fields}, path=Responses.path)
    assert received.status == status, received.seen
    return received


def output(received: Received) -> list[Tree]:
    tree = received.events[-1]["response"] if "event-stream" in received.headers["content-type"] else received.tree
    items: list[Tree] = tree["output"]
    return items


def sent(under_test: ProxyUnderTest) -> Any:
    return under_test.upstream.asked[-1].tree


def types(items: Sequence[Tree]) -> list[str]:
    return [item.get("type", "message") for item in items]


def user(text: str) -> Tree:
    return {"type": "message", "role": "user", "content": text}


def reference(id: str) -> Tree:
    return {"type": "item_reference", "id": id}


# --- going on from an answer -------------------------------------------------------------------------------------


def blocked(shape: Shape, *, stream: bool, remembers: bool) -> ProxyUnderTest:
    """After a turn in which the only call was blocked, and another request that goes on from it."""
    refusing = FakeGuard(lambda call: [finding(Verdict.BLOCK)])
    call = Call(shape.name, shape.tool or "run", shape.arguments("SECRET"), id="c1")
    plays = play(call, stream=stream), play(Text("Done."), id="resp_2", stream=stream)
    under_test = proxy(*plays, guards=[refusing], **WIRE.settings)
    under_test.upstream.remembers = remembers
    ask(under_test, "Do it.", stream=stream)
    ask(under_test, stream=stream, previous_response_id="resp_1")
    return under_test


@STREAMED
@pytest.mark.parametrize("shape", ANSWERED)
def test_a_blocked_call_is_answered_before_the_next_message(shape: Shape, stream: bool) -> None:
    tree = sent(blocked(shape, stream=stream, remembers=True))
    answer, own = tree["input"]
    assert tree["previous_response_id"] == "resp_1"
    assert "c1" in (answer.get("call_id"), answer.get("approval_request_id"), answer.get("id"))
    assert "SECRET" not in str(answer)
    assert own == user("And?")


@STREAMED
@pytest.mark.parametrize("shape", ANSWERED)
def test_an_upstream_that_keeps_nothing_is_sent_the_whole_conversation(shape: Shape, stream: bool) -> None:
    under_test = blocked(shape, stream=stream, remembers=False)
    tree = sent(under_test)
    first, call, answer, own = tree["input"]
    assert "previous_response_id" not in tree
    assert (first, own) == (user("Do it."), user("And?"))
    assert "SECRET" in str(call)  # the model's own words
    assert "c1" in (answer.get("call_id"), answer.get("approval_request_id"), answer.get("id"))
    judged = under_test.observer.exchanges[-1].request
    assert judged is not None
    assert [message.text for message in judged.messages if message.role == "user"] == ["Do it.", "And?"]


def test_a_conversation_grows_with_each_answer(guard: FakeGuard) -> None:
    plays = [play(BAD), play(Text("Two."), id="resp_2"), play(Text("Three."), id="resp_3")]
    under_test = proxy(*plays, guards=[guard])
    under_test.upstream.remembers = False
    ask(under_test, "One?")
    ask(under_test, "Two?", previous_response_id="resp_1")
    ask(under_test, "Three?", previous_response_id="resp_2")
    kinds = ["message", "function_call", "function_call_output", "message", "message", "message"]
    assert types(sent(under_test)["input"]) == kinds
    assert sent(under_test)["input"][4]["content"] == [{"type": "output_text", "text": "Two.", "annotations": []}]


def test_the_client_goes_on_from_the_first_id_and_the_provider_from_the_last(guard: FakeGuard) -> None:
    asking = Call("function_call", "ask", "{}", id="c1")
    plays = [play(Text("Hm. "), asking, stream=True), play(Text("Fine."), id="resp_2", stream=True), play(Text("x"))]
    under_test = proxy(*plays, guards=[guard])
    got = ask(under_test, "Do it.", stream=True)
    assert {event["response"]["id"] for event in got.events if "response" in event} == {"resp_1"}
    ask(under_test, previous_response_id="resp_1")
    assert sent(under_test)["previous_response_id"] == "resp_2"


def test_an_answer_that_is_not_known_is_refused_and_not_asked_for(guard: FakeGuard) -> None:
    under_test = proxy(play(Text("x")), guards=[guard])
    assert ask(under_test, status=400, previous_response_id="resp_9").error["code"] == "previous_response_not_found"
    assert under_test.upstream.asked == []


def test_an_answer_that_is_not_stored_is_not_known(guard: FakeGuard) -> None:
    under_test = proxy(play(Text("x")), guards=[guard])
    ask(under_test, store=False)
    assert ask(under_test, status=400, previous_response_id="resp_1").error["code"] == "previous_response_not_found"


def test_an_answer_that_the_upstream_did_not_store_is_not_known(guard: FakeGuard) -> None:
    whole = json.dumps(WIRE.whole([Text("x")]) | {"store": False}).encode()
    under_test = proxy([whole], guards=[guard])
    ask(under_test)
    assert ask(under_test, status=400, previous_response_id="resp_1").error["code"] == "previous_response_not_found"


def test_another_client_does_not_know_it(guard: FakeGuard) -> None:
    under_test = proxy(play(Text("x")), guards=[guard])
    body = {"model": "m", "input": "Hi."}
    mine, yours = ({"authorization": f"Bearer {key}"} for key in ("mine", "yours"))
    assert under_test.ask(body, path=Responses.path, headers=mine).status == 200
    further = body | {"previous_response_id": "resp_1"}
    assert under_test.ask(further, path=Responses.path, headers=yours).status == 400
    assert under_test.ask(further, path=Responses.path, headers=mine).status == 200
    named = body | {"input": [reference("msg_0")]}
    under_test.ask(named, path=Responses.path, headers=yours)
    assert sent(under_test)["input"] == [reference("msg_0")]
    under_test.ask(named, path=Responses.path, headers=mine)
    assert types(sent(under_test)["input"]) == ["message"]


def test_a_blocked_call_in_a_conversation_of_the_providers_is_answered_too(guard: FakeGuard) -> None:
    under_test = proxy(play(BAD), play(Text("x"), id="resp_2"), guards=[guard])
    for _ in range(2):
        ask(under_test, conversation={"id": "conv_1"})
    assert sent(under_test)["conversation"] == {"id": "conv_1"}
    assert types(sent(under_test)["input"]) == ["function_call_output", "message"]


# --- a blocked call that nobody can answer -----------------------------------------------------------------------


@STREAMED
def test_one_goes_on_from_the_answer_before_it(guard: FakeGuard, stream: bool) -> None:
    plays = [
        play(Text("One."), stream=stream),
        play(Reasoning("So."), UNKNOWN, BAD, id="resp_2", stream=stream),
        play(UNKNOWN, id="resp_3", stream=stream),
        play(Text("Four."), id="resp_4", stream=stream),
        play(Text("Five."), id="resp_5", stream=stream),
    ]
    under_test = proxy(*plays, guards=[guard])
    ask(under_test, "One?", stream=stream)
    _, refusal = output(ask(under_test, "Two?", stream=stream, previous_response_id="resp_1"))
    ask(under_test, "Three?", stream=stream, previous_response_id="resp_2")
    tree = sent(under_test)
    assert tree["previous_response_id"] == "resp_1"
    assert types(tree["input"]) == ["message", "message", "function_call", "function_call_output", "message"]
    assert tree["input"][0] == user("Two?")
    assert tree["input"][1]["content"][0]["text"] == refusal["content"][0]["text"]
    assert tree["input"][-1] == user("Three?")
    ask(under_test, "Four?", stream=stream, previous_response_id="resp_3")
    assert sent(under_test)["previous_response_id"] == "resp_1"
    assert sent(under_test)["input"][:5] == tree["input"]
    assert "bad_future_call" not in types(sent(under_test)["input"])
    ask(under_test, "Five?", stream=stream, previous_response_id="resp_4")
    assert (sent(under_test)["previous_response_id"], sent(under_test)["input"]) == ("resp_4", "Five?")


@pytest.mark.parametrize("remembers", [True, False], ids=["remembers", "keeps nothing"])
def test_or_begins_anew_where_there_is_none_before_it(guard: FakeGuard, remembers: bool) -> None:
    under_test = proxy(play(UNKNOWN), play(Text("x"), id="resp_2"), guards=[guard])
    under_test.upstream.remembers = remembers
    (refusal,) = output(ask(under_test, "One?"))
    ask(under_test, "Two?", previous_response_id="resp_1")
    assert "previous_response_id" not in sent(under_test)
    first, instead, own = sent(under_test)["input"]
    assert (first, own) == (user("One?"), user("Two?"))
    assert instead["content"][0]["text"] == refusal["content"][0]["text"]


def test_a_conversation_of_the_providers_is_told_in_words(guard: FakeGuard) -> None:
    under_test = proxy(play(UNKNOWN), play(Text("x"), id="resp_2"), guards=[guard])
    for _ in range(2):
        ask(under_test, conversation="conv_1")
    note, own = sent(under_test)["input"]
    assert (note["role"], own) == ("developer", user("And?"))
    assert "not executed" in note["content"]


def test_one_that_a_guard_allows_stays_where_it_is() -> None:
    under_test = proxy(play(UNKNOWN), play(Text("x"), id="resp_2"), guards=[FakeGuard(lambda call: [])])
    ask(under_test)
    ask(under_test, previous_response_id="resp_1")
    assert (sent(under_test)["previous_response_id"], sent(under_test)["input"]) == ("resp_1", "And?")


# --- items that are named and not given --------------------------------------------------------------------------


@STREAMED
def test_a_refusal_is_known_by_its_id(guard: FakeGuard, stream: bool) -> None:
    plays = play(Text("So: "), BAD, stream=stream), play(Text("Done."), id="resp_2", stream=stream)
    under_test = proxy(*plays, guards=[guard])
    said, refusal = output(ask(under_test, "Do it.", stream=stream))
    ask(under_test, [user("Do it."), reference(said["id"]), reference(refusal["id"]), user("And?")], stream=stream)
    first, text, instead, own = sent(under_test)["input"]
    assert (first, own) == (user("Do it."), user("And?"))
    assert text["content"][0]["text"] == "So: "
    assert (instead["id"], instead["role"]) == (refusal["id"], "assistant")
    assert instead["content"][0]["text"] == refusal["content"][0]["text"]
    assert not under_test.observer.exchanges[-1].uninspected
    judged = under_test.observer.exchanges[-1].request
    assert judged is not None
    assert "not executed" in judged.messages[2].text


@STREAMED
def test_a_rewritten_call_is_known_as_the_client_saw_it(guard: FakeGuard, stream: bool) -> None:
    call = Call("function_call", "fix", '{"a":"SECRET"}', id="c1")
    under_test = proxy(play(call, stream=stream), play(Text("x"), id="resp_2", stream=stream), guards=[guard])
    (seen,) = output(ask(under_test, stream=stream))
    result = {"type": "function_call_output", "call_id": "c1", "output": "ok"}
    ask(under_test, [reference(seen["id"]), result], stream=stream)
    assert sent(under_test)["input"] == [seen, result]
    assert seen["arguments"] == '{"fixed": true}'


def test_a_blocked_call_is_known_as_what_the_client_saw_instead(guard: FakeGuard) -> None:
    under_test = proxy(play(BAD), play(Text("x"), id="resp_2"), guards=[guard])
    (refusal,) = output(ask(under_test))
    ask(under_test, [reference("item_call_1")])
    (instead,) = sent(under_test)["input"]
    assert (instead["type"], instead["id"]) == ("message", refusal["id"])
    assert "SECRET" not in str(instead)


def test_what_left_before_the_model_was_asked_again_is_known(guard: FakeGuard) -> None:
    asking = Call("function_call", "ask", "{}", id="c1")
    plays = [play(Text("Hm. "), asking, stream=True), play(Text("Fine."), id="resp_2", stream=True), play(Text("x"))]
    under_test = proxy(*plays, guards=[guard])
    seen = output(ask(under_test, stream=True))
    assert len({item["id"] for item in seen}) == 2
    ask(under_test, [reference(item["id"]) for item in seen])
    assert [item["content"][0]["text"] for item in sent(under_test)["input"]] == ["Hm. ", "Fine."]


def test_an_item_that_is_not_known_goes_on_and_is_counted(guard: FakeGuard) -> None:
    under_test = proxy(play(Text("x")), guards=[guard])
    ask(under_test, [reference("msg_9"), user("And?")])
    assert sent(under_test)["input"] == [reference("msg_9"), user("And?")]
    assert under_test.exchange.uninspected == {"content_item_reference": 1}


def test_or_is_refused_where_hidden_content_is(guard: FakeGuard) -> None:
    rules = RequestRules(refuse_hidden_content=True)
    under_test = proxy(play(BAD), play(Text("x"), id="resp_2"), guards=[guard], request_rules=rules)
    (refusal,) = output(ask(under_test))
    ask(under_test, [reference(refusal["id"])])
    assert len(under_test.upstream.asked) == 2
    error = ask(under_test, [reference(refusal["id"]), reference("msg_9")], status=400).error
    assert (error["code"], error["param"]) == ("hidden_content_refused", "input[1]")
    assert len(under_test.upstream.asked) == 2


def test_the_items_of_an_answer_that_is_not_stored_are_not_known(guard: FakeGuard) -> None:
    under_test = proxy(play(BAD), play(Text("x"), id="resp_2"), guards=[guard])
    (refusal,) = output(ask(under_test, store=False))
    ask(under_test, [reference(refusal["id"])])
    assert sent(under_test)["input"] == [reference(refusal["id"])]


def test_nothing_is_kept_of_an_answer_that_became_an_error(guard: FakeGuard) -> None:
    under_test = proxy(play(BAD), play(Text("x"), id="resp_2"), guards=[guard], on_block=OnBlock.ERROR)
    assert under_test.ask({"model": "m", "input": "x"}, path=Responses.path).status != 200
    ask(under_test, [reference("item_call_1")])
    assert sent(under_test)["input"] == [reference("item_call_1")]


def test_a_flagged_result_in_an_item_that_is_named_is_found() -> None:
    """A server that runs tools itself brings their results as items of its answer."""
    ran = {"type": "mcp_call", "id": "mcp_1", "server_label": "l", "name": "n", "arguments": "{}", "output": "EVIL"}
    first = WIRE.whole([]) | {"output": [ran]}
    flagging = FakeGuard(lambda call: [], flag_results=lambda text: "EVIL" in text)
    under_test = proxy([json.dumps(first).encode()], play(Text("x"), id="resp_2"), guards=[flagging])
    ask(under_test)
    ask(under_test, [reference("mcp_1")])
    assert under_test.observer.exchanges[-1].tainted_results


# --- the learned prefix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "instructions"),
    [({}, "Be careful."), ({"instructions": None}, "Be careful."), ({"instructions": "Hi."}, "Hi.\n\nBe careful.")],
    ids=["absent", "null", "given"],
)
def test_a_prefix_goes_to_the_end_of_the_instructions(given: Tree, instructions: str) -> None:
    request = Responses().parse({"model": "m", "input": "x", **given}, RequestRules())
    injected = Responses().with_injection(request, Injection("Be careful.", Position.INSTRUCTION))
    assert injected.tree == {"model": "m", "input": "x", "instructions": instructions}
    assert injected.messages == request.messages


SAID = {"type": "message", "role": "user", "content": "Hi."}
PARTS = {"role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
OUTPUT = {"type": "function_call_output", "call_id": "1", "output": "42"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Hi.", [{**SAID, "content": "Hi.\n\nP"}]),
        ([SAID], [{**SAID, "content": "Hi.\n\nP"}]),
        ([SAID, OUTPUT], [{**SAID, "content": "Hi.\n\nP"}, OUTPUT]),
        ([PARTS], [{"role": "user", "content": [*PARTS["content"], {"type": "input_text", "text": "P"}]}]),
        ([OUTPUT], [OUTPUT, {"type": "message", "role": "user", "content": "P"}]),
    ],
    ids=["text", "message", "before a result", "parts", "no word of the user's"],
)
def test_a_suffix_goes_to_the_end_of_what_the_user_said_last(given: Any, expected: Any) -> None:
    request = Responses().parse({"model": "m", "input": given}, RequestRules())
    injected = Responses().with_injection(request, Injection("P", Position.SUFFIX))
    assert injected.tree == {"model": "m", "input": expected}
    assert request.tree == {"model": "m", "input": given}
    assert injected.messages == request.messages
