"""What a server speaks is found out by asking it: a real one on the loopback address, and the program before it."""

import asyncio
import json
import logging
import signal

import pytest
from anthropic import Anthropic
from openai import NotFoundError, OpenAI

from guardproxy.errors import UpstreamProtocolError, UpstreamRefusal, UpstreamUnavailable
from guardproxy.testing import chat
from guardproxy.testing.dialects import Said, SaidCall
from guardproxy.testing.model_server import Answer, model_server
from guardproxy.testing.service import eventually, serving
from guardproxy.upstream.bridge import DiscoveringUpstream
from guardproxy.upstream.bridge.discovery import says_no_such_path
from guardproxy.upstream.openai_http import HttpUpstream
from guardproxy.upstream.upstream import UpstreamRequest

RESPONSES = {"model": "m", "input": "hi"}
MESSAGES = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
ASKED = {"/responses": RESPONSES, "/messages": MESSAGES}
APIS = {"/responses": "responses", "/messages": "messages"}
HELLO = chat.body(chat.completion({"content": "Hello"}, finish_reason="stop"))
NATIVE = b'{"own":"answer"}'


def error(message, kind=None, code=None, param=None):
    return json.dumps({"error": {"message": message, "type": kind, "code": code, "param": param}}).encode()


MISSING = {
    "FastAPI": ("404 Not Found", b'{"detail":"Not Found"}'),
    "vLLM": ("404 Not Found", error("Not Found", "NotFoundError", 404)),
    "llama.cpp": ("404 Not Found", error("File Not Found", "not_found_error", 404)),
    "OpenAI": ("404 Not Found", error("Invalid URL (POST /v1/responses)", "invalid_request_error")),
    "Anthropic": ("404 Not Found", b'{"type":"error","error":{"type":"not_found_error","message":"Not Found"}}'),
    "empty": ("404 Not Found", b""),
    "other method": ("405 Method Not Allowed", b""),
    "not implemented": ("501 Not Implemented", b'{"detail":"Not Implemented"}'),
}
OF_THE_REQUEST = {
    "OpenAI": ("404 Not Found", error("No such thing", "invalid_request_error", "model_not_found")),
    "vLLM": ("404 Not Found", error("The model `m` does not exist.", "NotFoundError", 404)),
    "Anthropic": ("404 Not Found", b'{"type":"error","error":{"type":"not_found_error","message":"model: m"}}'),
    "Azure": ("404 Not Found", error("The API deployment for this resource does not exist.", code="X")),
    "stored": ("404 Not Found", error("Response with id 'resp_1' not found.", "invalid_request_error")),
    "field": ("404 Not Found", error("Not found", param="input[0].id")),
    "unavailable": ("503 Service Unavailable", error("Not Found")),
    "forbidden": ("403 Forbidden", error("Not Found")),
    "bad": ("400 Bad Request", error("Not Found")),
}


class Server:
    """What a server answers by path, and what it was asked; a list is answered one by one, its last for ever."""

    def __init__(self, http_response, answers):
        self._response, self._answers = http_response, answers
        self.paths, self.trees = [], []

    async def __call__(self, request, writer):
        path = request.line.split()[1].removeprefix("/v1")
        self.paths.append(path)
        self.trees.append(json.loads(request.body))
        plays = self._answers[path]
        status, body = plays[min(self.paths.count(path), len(plays)) - 1] if isinstance(plays, list) else plays
        writer.write(self._response(body, status))
        await writer.drain()


@pytest.fixture
def play(raw_server, http_response):
    """Runs `scenario(ask, upstream)` against a server that answers so; returns the server and what was told."""

    def run(answers, scenario, **options):
        server, told = Server(http_response, answers), []

        async def ask(upstream, path, **fields):
            asked = UpstreamRequest(path, tree=ASKED.get(path, {}) | fields)
            async with upstream.open(asked) as reply:
                return json.loads(b"".join([piece async for piece in reply.chunks()]))

        async def main():
            async with raw_server(server) as running:
                inner = HttpUpstream(name="main", base_url=running.base_url, **options)
                upstream = DiscoveringUpstream(inner, on_missing=lambda *what: told.append(what))
                await upstream.start()
                try:
                    await scenario(lambda *a, **k: ask(upstream, *a, **k), upstream)
                finally:
                    await upstream.close()

        asyncio.run(asyncio.wait_for(main(), 20))
        return server, told

    return run


@pytest.mark.parametrize("path", list(ASKED))
@pytest.mark.parametrize("kind", list(MISSING))
def test_a_missing_api_is_translated_and_stays_so(play, caplog, kind, path):
    async def scenario(ask, upstream):
        assert upstream.remembers
        for _ in range(2):
            assert "Hello" in json.dumps(await ask(path))
        assert upstream.remembers is (path != "/responses")

    with caplog.at_level(logging.INFO):
        server, told = play({path: MISSING[kind], "/chat/completions": ("200 OK", HELLO)}, scenario)
    assert server.paths == [path, "/chat/completions", "/chat/completions"]
    assert told == [("main", APIS[path])]
    assert [record.message for record in caplog.records if "does not speak" in record.message] == [
        f"upstream main does not speak the {APIS[path]} API: it is translated from now on"
    ]


@pytest.mark.parametrize("path", list(ASKED))
@pytest.mark.parametrize("kind", list(OF_THE_REQUEST))
def test_an_error_about_the_request_is_no_missing_api(play, kind, path):
    async def scenario(ask, upstream):
        with pytest.raises(UpstreamRefusal) as refusal:
            await ask(path)
        assert refusal.value.status == int(OF_THE_REQUEST[kind][0].split()[0])
        assert upstream.remembers

    server, told = play({path: OF_THE_REQUEST[kind]}, scenario)
    assert (server.paths, told) == ([path], [])


@pytest.mark.parametrize("path", list(ASKED))
def test_what_a_server_answers_in_is_its_own_for_good(play, path):
    async def scenario(ask, upstream):
        assert await ask(path) == {"own": "answer"}
        with pytest.raises(UpstreamRefusal, match="Not Found"):
            await ask(path)
        assert upstream.remembers

    server, told = play({path: [("200 OK", NATIVE), MISSING["FastAPI"]]}, scenario)
    assert (server.paths, told) == ([path, path], [])


@pytest.mark.parametrize("path", list(ASKED))
def test_where_the_translation_is_refused_too_nothing_is_learnt(play, path):
    """A server that is just starting, behind a gateway that knows no path of it yet."""
    gone, busy = ("404 Not Found", b'{"detail":"gone"}'), ("429 Too Many Requests", error("slow down"))

    async def scenario(ask, upstream):
        with pytest.raises(UpstreamRefusal, match="Not Found") as first:
            await ask(path)
        assert first.value.status == 404
        with pytest.raises(UpstreamRefusal, match="slow down"):
            await ask(path)
        assert upstream.remembers
        assert await ask(path) == {"own": "answer"}

    chats = {"/chat/completions": [gone, busy]}
    server, told = play({path: [*[MISSING["FastAPI"]] * 2, ("200 OK", NATIVE)], **chats}, scenario)
    assert server.paths == [path, "/chat/completions"] * 2 + [path]
    assert told == []


def test_one_api_may_be_missing_and_another_not(play):
    async def scenario(ask, upstream):
        assert "Hello" in json.dumps(await ask("/messages"))
        assert await ask("/responses") == {"own": "answer"}
        assert upstream.remembers

    answers = {"/messages": MISSING["empty"], "/responses": ("200 OK", NATIVE), "/chat/completions": ("200 OK", HELLO)}
    _, told = play(answers, scenario)
    assert told == [("main", "messages")]


def test_other_paths_are_never_translated(play):
    async def scenario(ask, upstream):
        for path in ("/chat/completions", "/messages/count_tokens"):
            with pytest.raises(UpstreamRefusal, match="Not Found"):
                await ask(path)

    missing = MISSING["FastAPI"]
    server, _ = play({"/chat/completions": missing, "/messages/count_tokens": missing}, scenario)
    assert server.paths == ["/chat/completions", "/messages/count_tokens"]


def test_a_request_that_goes_on_from_an_answer_comes_again_with_the_whole_conversation(play):
    """Which the proxy sends once the upstream is known to keep nothing."""

    async def scenario(ask, upstream):
        with pytest.raises(UpstreamUnavailable) as refusal:
            await ask("/responses", previous_response_id="resp_1")
        assert (refusal.value.status, refusal.value.code) == (502, "upstream_keeps_no_answers")
        assert not upstream.remembers
        await ask("/responses")
        assert not upstream.remembers

    server, told = play({"/responses": MISSING["FastAPI"], "/chat/completions": ("200 OK", HELLO)}, scenario)
    assert server.paths == ["/responses", "/responses", "/chat/completions"]
    assert told == [("main", "responses")]


def test_a_server_that_answers_after_all_remembers_after_all(play):
    async def scenario(ask, upstream):
        with pytest.raises(UpstreamUnavailable):
            await ask("/responses", previous_response_id="resp_1")
        assert await ask("/responses") == {"own": "answer"}
        assert upstream.remembers

    _, told = play({"/responses": [MISSING["FastAPI"], ("200 OK", NATIVE)]}, scenario)
    assert told == []


def test_an_upstream_that_never_remembers_does_not_begin_to(play):
    async def scenario(ask, upstream):
        assert not upstream.remembers
        await ask("/responses")
        assert not upstream.remembers

    play({"/responses": ("200 OK", NATIVE)}, scenario, remembers=False)


def test_a_broken_answer_after_the_translation_is_an_error_and_not_asked_for_again(play):
    async def scenario(ask, upstream):
        with pytest.raises(UpstreamProtocolError):
            await ask("/messages")

    server, _ = play({"/messages": MISSING["FastAPI"], "/chat/completions": ("200 OK", b"{}")}, scenario)
    assert server.paths == ["/messages", "/chat/completions"]


def test_two_first_requests_at_once_are_told_of_once(play):
    async def scenario(ask, upstream):
        answers = await asyncio.gather(*(ask("/messages") for _ in range(4)))
        assert all("Hello" in json.dumps(answer) for answer in answers)

    _, told = play({"/messages": MISSING["FastAPI"], "/chat/completions": ("200 OK", HELLO)}, scenario)
    assert told == [("main", "messages")]


@pytest.mark.parametrize("status", [400, 403, 429, 500, 502, 503])
def test_other_statuses_say_nothing_of_paths(status):
    assert not says_no_such_path(UpstreamRefusal(status, "Not Found"))


# --- the program ---------------------------------------------------------------------------------------------------

CONFIG = "upstreams: [{{name: chat, base_url: '{url}'}}]\nguards: {{classifier: {{enabled: false}}}}\n"
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
EVIL = SaidCall("bash", '{"command":"rm -rf / --no-preserve-root"}', "call_evil")


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture
def service(server, tmp_path):
    with serving(tmp_path, CONFIG.format(url=server.base_url)) as running:
        yield running


@pytest.mark.e2e
def test_a_chat_server_that_nobody_described_serves_every_client(server, service):
    model = server.model(Answer.of(Said("", (EVIL,))), Answer.of(Said("Done.")))
    tool = {"type": "function", "name": "bash", "parameters": SCHEMA}
    with OpenAI(base_url=service.url, api_key="none", max_retries=0) as client:
        first = client.responses.create(model=model.name, input="Delete everything.", tools=[tool])
        assert "`bash` was not executed" in first.output_text
        assert not any(item.type == "function_call" for item in first.output)
        more = client.responses.create(model=model.name, input="Go on.", previous_response_id=first.id)
        assert more.output_text == "Done."
    with Anthropic(base_url=service.url.removesuffix("/v1"), api_key="none", max_retries=0) as client:
        said = [{"role": "user", "content": "hi"}]
        for _ in range(2):
            assert client.messages.create(model=model.name, max_tokens=9, messages=said).content[0].text == "Done."
    roles = [message["role"] for message in model.asked[1].tree["messages"]]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert {asked.path for asked in model.asked} == {"/v1/chat/completions"}
    for api in ("responses", "messages"):
        assert service.metric("guardproxy_apis_missing_total", upstream="chat", surface=api) == 1
        assert service.log.count(f"does not speak the {api} API") == 1


@pytest.mark.e2e
def test_a_conversation_outlives_what_was_known_of_its_server(server, service):
    """A changed entry makes a new upstream, which has to find out anew, and the first to ask goes on from an answer."""
    model = server.model(Answer.of(Said("Hello.")), Answer.of(Said("Done.")))
    with OpenAI(base_url=service.url, api_key="none") as client:
        first = client.responses.create(model=model.name, input="hi")
        changed = CONFIG.format(url=server.base_url).replace("name: chat", "name: chat, idle_timeout_s: 77")
        (service.directory / "guardproxy.yaml").write_text(changed)
        service.signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded" in service.log or None, "the reload")
        more = client.responses.create(model=model.name, input="Go on.", previous_response_id=first.id)
    assert more.output_text == "Done."
    assert [message["role"] for message in model.asked[1].tree["messages"]] == ["user", "assistant", "user"]
    assert service.metric("guardproxy_requests_total", surface="responses", code="502") == 1
    assert service.log.count("does not speak the responses API") == 2


@pytest.mark.e2e
def test_a_model_that_does_not_exist_is_told_of_as_such(server, service):
    model = server.model(Answer.error(404, {"message": "no model 'm'", "code": "model_not_found"}))
    client = OpenAI(base_url=service.url, api_key="none", max_retries=0)
    with client, pytest.raises(NotFoundError) as refusal:
        client.responses.create(model=model.name, input="hi")
    assert refusal.value.code == "model_not_found"
    assert service.metric("guardproxy_apis_missing_total") == 0
