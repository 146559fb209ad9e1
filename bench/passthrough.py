"""The honest floor: a proxy of the same parts (Starlette, uvicorn, aiohttp) that forwards and looks at nothing.

`python -m bench.passthrough --upstream http://127.0.0.1:9000/v1 --port 9001`
"""

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


def build_app(upstream: str) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            app.state.session = session
            yield

    async def forward(request: Request) -> Response:
        session: aiohttp.ClientSession = request.app.state.session
        headers = {name: request.headers[name] for name in ("authorization", "content-type")}
        answer = await session.post(f"{upstream}/chat/completions", data=await request.body(), headers=headers)
        kind = answer.headers.get("content-type", "application/json")
        if kind.startswith("text/event-stream"):
            return StreamingResponse(answer.content.iter_any(), answer.status, media_type=kind)
        return Response(await answer.read(), answer.status, media_type=kind)

    async def ready(request: Request) -> Response:
        return PlainTextResponse("ready")

    routes = [Route("/v1/chat/completions", forward, methods=["POST"]), Route("/readyz", ready)]
    return Starlette(routes=routes, lifespan=lifespan)


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="bench.passthrough", description=__doc__)
    options.add_argument("--upstream", required=True)
    options.add_argument("--port", type=int, required=True)
    given = options.parse_args(arguments)
    uvicorn.run(build_app(given.upstream), host="127.0.0.1", port=given.port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
