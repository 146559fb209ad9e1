"""Which upstream serves which model, and what /v1/models says when there are several."""

import asyncio
import fnmatch
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from guardproxy import strict_json
from guardproxy.errors import ConfigurationError, Fault, ModelNotFound, UpstreamError, UpstreamProtocolError
from guardproxy.strict_json import Json, JsonObject
from guardproxy.upstream.upstream import Upstream, UpstreamRequest

_log = logging.getLogger(__name__)

MODELS_PATH = "/models"


class Router:
    """`routes` pairs a glob over model names with an upstream's name, in order: the first that matches serves.

    Globs are those of fnmatch and mind case: "gpt-*", "*/llama-3", "*".
    """

    def __init__(self, upstreams: Sequence[Upstream], routes: Sequence[tuple[str, str]]) -> None:
        """Raises ConfigurationError for a route to an upstream that does not exist, or for no route at all."""
        self.upstreams = tuple(upstreams)
        by_name = {upstream.name: upstream for upstream in upstreams}
        if faults := _faults(upstreams, by_name, routes):
            raise ConfigurationError(faults)
        self._routes = tuple((_matcher(pattern), by_name[name]) for pattern, name in routes)

    def route(self, model: str) -> Upstream:
        """Raises ModelNotFound where no route matches."""
        for matches, upstream in self._routes:
            if matches(model):
                return upstream
        raise ModelNotFound("no upstream serves this model; GET /v1/models lists what is served", param="model")

    async def start(self) -> None:
        for upstream in self.upstreams:
            await upstream.start()

    async def close(self) -> None:
        await asyncio.gather(*(upstream.close() for upstream in self.upstreams))

    async def models(self, request: UpstreamRequest) -> JsonObject:
        """The body of GET /v1/models: every model that a client can name and reach.

        One upstream's answer keeps its other fields. Of several, the lists are joined, a model is listed by the
        upstream that it would be routed to, and an upstream that fails is left out; the client's key goes to none of
        them, since it cannot be known whose it is. Raises the first UpstreamError where none answers.
        """
        asked = replace(request, path=MODELS_PATH, method="GET", tree=None, raw=None, stream=False)
        if len(self.upstreams) == 1:
            only = self.upstreams[0]
            listing = await _ask(only, asked)
            return {**listing, "data": self._reachable(only, _entries(listing))}
        answers = await asyncio.gather(
            *(_ask(upstream, replace(asked, credential=None)) for upstream in self.upstreams),
            return_exceptions=True,
        )
        return {"object": "list", "data": self._joined(answers)}

    async def model(self, name: str, request: UpstreamRequest) -> JsonObject:
        """The body of GET /v1/models/{name}, found in the list. Raises ModelNotFound."""
        for entry in _entries(await self.models(request)):
            if entry["id"] == name:
                return entry
        raise ModelNotFound("no such model; GET /v1/models lists what is served", param="model")

    def _joined(self, answers: Sequence[JsonObject | BaseException]) -> list[Json]:
        entries: list[Json] = []
        failures: list[UpstreamError] = []
        for upstream, answer in zip(self.upstreams, answers, strict=True):
            match answer:
                case UpstreamError():
                    _log.warning("upstream %s did not list its models: %s", upstream.name, answer.code)
                    failures.append(answer)
                case BaseException():
                    raise answer
                case _:
                    entries += self._reachable(upstream, _entries(answer))
        if len(failures) == len(answers):
            raise failures[0]
        return entries

    def _reachable(self, upstream: Upstream, entries: Sequence[JsonObject]) -> list[Json]:
        return [entry for entry in entries if self._leads_to(upstream, str(entry["id"]))]

    def _leads_to(self, upstream: Upstream, model: str) -> bool:
        try:
            return self.route(model) is upstream
        except ModelNotFound:
            return False


async def _ask(upstream: Upstream, request: UpstreamRequest) -> JsonObject:
    body = bytearray()
    async with upstream.open(request) as reply:
        async for chunk in reply.chunks():
            body += chunk
    try:
        return strict_json.decode_object(bytes(body))
    except strict_json.MalformedJson:
        raise UpstreamProtocolError("the model server's list of models is not valid JSON") from None


def _entries(listing: JsonObject) -> list[JsonObject]:
    data = listing.get("data")
    if not isinstance(data, list):
        raise UpstreamProtocolError("the model server's list of models holds no list")
    return [entry for entry in data if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def _matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match


def _faults(
    upstreams: Sequence[Upstream], by_name: dict[str, Upstream], routes: Sequence[tuple[str, str]]
) -> list[Fault]:
    faults = [
        Fault("upstreams", None, "models", f"{pattern!r} leads to {name!r}, which is no upstream")
        for pattern, name in routes
        if name not in by_name
    ]
    if len(by_name) != len(upstreams):
        faults.append(Fault("upstreams", None, "name", "two upstreams have the same name"))
    if not routes:
        faults.append(Fault("upstreams", None, "models", "no upstream serves any model"))
    return faults
