"""`guardproxy demo`: a small agent's day, through the proxy. A benign call arrives, a harmful one does not."""

from typing import Annotated

import typer

from guardproxy.cli.exits import fail

EXAMPLES = """\b
Examples:
  guardproxy demo                                  through the proxy on 127.0.0.1:8080, or one that it starts itself
  guardproxy demo --url http://127.0.0.1:9000/v1   through that one

With a real model behind the proxy this asks it four times or so."""

DEFAULT_URL = "http://127.0.0.1:8080/v1"


def demo(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"The proxy's address for agents. [{DEFAULT_URL}, else one is started]"),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", envvar="GUARDPROXY_CLIENT_KEY", help="A client key, if it asks for one."),
    ] = None,
) -> None:
    """Play one agent episode through the proxy.

    Shows what it forwards, what it blocks, why, and how long it took. With the embedded model it is played again with
    a learned prefix, through a proxy that this starts itself.
    """
    from http.client import HTTPException

    from rich.console import Console

    from guardproxy.cli.episode import Proxy, ProxyRefused, hint, own_proxy, play, play_with_prefix

    console = Console(highlight=False)
    running = Proxy(url or DEFAULT_URL, key)
    try:
        if url is not None or running.answers():
            console.print(f"[dim]Through the proxy at {running.url}.[/]")
            model = play(console, running, hint)
        else:
            console.print(f"[dim]Nothing answers at {DEFAULT_URL}, so this starts a proxy of its own.[/]")
            with own_proxy() as (own, explain):
                model = play(console, own, explain)
        play_with_prefix(console, model)
    except (OSError, HTTPException) as error:
        fail(f"the proxy at {running.url} does not answer: {type(error).__name__}")
    except ProxyRefused as error:
        fail(str(error))
