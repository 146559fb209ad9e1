import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from guardproxy.errors import ConfigurationError, ModelNotFound, UpstreamProtocolError, UpstreamUnavailable
from guardproxy.model import Credential
from guardproxy.upstream.embedded import EmbeddedUpstream
from guardproxy.upstream.router import Router
from guardproxy.upstream.upstream import UpstreamRequest

ASKED = UpstreamRequest("/models", method="GET", credential=Credential("authorization", "Bearer client"))


class Listing:
    """An upstream that lists models, or fails."""

    def __init__(self, name, body):
        self.name = name
        self.body = body
        self.asked = []
        self.running = 0

    @asynccontextmanager
    async def open(self, request):
        self.asked.append(request)
        if isinstance(self.body, Exception):
            raise self.body
        yield self

    async def chunks(self):
        data = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        for at in range(0, len(data), 7):
            yield data[at : at + 7]

    async def start(self):
        self.running += 1

    async def close(self):
        self.running -= 1


def listing(*names, **more):
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names], **more}


def names(body):
    return [entry["id"] for entry in body["data"]]


@pytest.fixture
def two():
    one = Listing("one", listing("gpt-a", "shared"))
    other = Listing("other", listing("qwen", "shared", "gpt-b"))
    return one, other, Router([one, other], [("gpt-*", "one"), ("org/*", "other"), ("*", "other")])


@pytest.mark.parametrize(
    ("model", "upstream"),
    [
        ("gpt-4o", "one"),
        ("org/gpt-x", "other"),
        ("anything", "other"),
        ("GPT-4O", "other"),
        ("gpt-\n4", "one"),
        ("", "other"),
    ],
)
def test_first_match_wins(two, model, upstream):
    assert two[2].route(model).name == upstream


@pytest.mark.parametrize("model", ["claude", "xgpt-4", "gp", ""])
def test_unknown_models_are_not_found(model):
    router = Router([Listing("one", {})], [("gpt-*", "one")])
    with pytest.raises(ModelNotFound) as caught:
        router.route(model)
    assert (caught.value.status, caught.value.param, caught.value.code) == (404, "model", "model_not_found")


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Router([Listing("a", {}), Listing("a", {})], [("x", "b"), ("y", "c")])
    assert len(caught.value.faults) == 3
    with pytest.raises(ConfigurationError):
        Router([Listing("a", {})], [])


def test_one_upstream_passes_its_list_through_with_the_clients_key():
    only = Listing("one", listing("a", "b", has_more=False))
    body = asyncio.run(Router([only], [("*", "one")]).models(ASKED))
    assert body == listing("a", "b", has_more=False)
    assert (only.asked[0].path, only.asked[0].credential) == ("/models", ASKED.credential)


def test_several_lists_join_and_each_model_is_listed_where_it_leads(two):
    one, other, router = two
    body = asyncio.run(router.models(ASKED))
    assert body["object"] == "list"
    assert names(body) == ["gpt-a", "qwen", "shared"]
    assert {request.credential for request in (*one.asked, *other.asked)} == {None}


def test_models_that_no_route_reaches_are_not_listed():
    router = Router([Listing("one", listing("gpt-a", "other"))], [("gpt-*", "one")])
    assert names(asyncio.run(router.models(ASKED))) == ["gpt-a"]


def test_an_upstream_that_fails_is_left_out_and_if_all_fail_it_is_an_error(two):
    one, other, router = two
    one.body = UpstreamUnavailable("down")
    assert names(asyncio.run(router.models(ASKED))) == ["qwen", "shared"]
    other.body = b"[garbage"
    with pytest.raises(UpstreamUnavailable):
        asyncio.run(router.models(ASKED))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", {"data": None}, {"data": {}}, {}, b'{"data":[],"data":[]}'])
def test_a_list_that_is_none_is_a_protocol_error(body):
    with pytest.raises(UpstreamProtocolError):
        asyncio.run(Router([Listing("one", body)], [("*", "one")]).models(ASKED))


def test_entries_without_a_name_are_dropped():
    router = Router([Listing("one", {"data": [{"id": "a"}, {"id": 1}, "x", None]})], [("*", "one")])
    assert asyncio.run(router.models(ASKED))["data"] == [{"id": "a"}]


def test_one_model(two):
    router = two[2]
    assert asyncio.run(router.model("qwen", ASKED)) == {"id": "qwen", "object": "model"}
    with pytest.raises(ModelNotFound):
        asyncio.run(router.model("nothing", ASKED))


def test_starts_and_closes_all(two):
    one, other, router = two
    asyncio.run(router.start())
    assert (one.running, other.running) == (1, 1)
    asyncio.run(router.close())
    assert (one.running, other.running) == (0, 0)


def test_the_embedded_upstream_lists_its_model():
    router = Router([EmbeddedUpstream()], [("*", "embedded")])
    assert names(asyncio.run(router.models(ASKED))) == ["guardproxy-organism", "guardproxy-scripted-agent"]
