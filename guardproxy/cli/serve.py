"""`guardproxy serve`: reads the configuration, starts the proxy, says where it is."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guardproxy.cli.exits import fail, refuse_configuration

if TYPE_CHECKING:
    from guardproxy.config.settings import Settings
    from guardproxy.server import Service

EXAMPLES = """\b
Examples:
  guardproxy serve                                      two small stand-ins answer; no key, no network
  guardproxy serve --upstream http://127.0.0.1:8000/v1  guards a server of yours
  OPENAI_BASE_URL=https://api.openai.com/v1 OPENAI_API_KEY=… guardproxy serve
  guardproxy serve --config /etc/guardproxy             reads guardproxy.yaml there, and again when it changes
  guardproxy serve --policy default --policy my-rules.yaml

Then point your agent at it: OPENAI_BASE_URL=http://127.0.0.1:8080/v1

SIGHUP reads the configuration again. SIGTERM ends the proxy once the streams under way have ended. Exit status:
0 stopped, 1 could not start, 64 bad configuration."""


def serve(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="GUARDPROXY_CONFIG",
            help="Configuration file, or a directory with a guardproxy.yaml.",
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream",
            "-u",
            metavar="URL",
            help="The OpenAI-compatible server to guard, instead of those in the configuration. "
            "Its key is taken from OPENAI_API_KEY; without one the clients' own are passed on.",
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="H", help="Address for agents [127.0.0.1]. Beyond loopback, client keys are required."),
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Port for agents [8080]; 0 takes a free one.")] = None,
    admin_port: Annotated[
        int | None, typer.Option(metavar="N", help="Port of /metrics, /healthz and /readyz [9901].")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Rule pack, by file or shipped name; repeatable. [default]"),
    ] = None,
) -> None:
    """Run the proxy.

    Without any option it guards two stand-ins, a tiny language model and a script, so that it can be tried at once.
    """
    if context.args and not policy:  # `--policy A B` reads naturally, so it works
        raise typer.BadParameter(f"unexpected argument {context.args[0]!r}")
    gc.disable()  # importing makes many objects and no garbage; `run` enables it again
    import logging

    from guardproxy.config.read import Overrides, config_file, read_settings
    from guardproxy.config.reload import Source
    from guardproxy.errors import ConfigurationError
    from guardproxy.server import AddressUnavailable, prepare, run
    from guardproxy.telemetry.log import configure_logging

    environ = dict(os.environ)
    overrides = Overrides(host, port, admin_port, upstream, (*(policy or ()), *context.args))
    file = config_file(config, environ)

    source = Source(lambda: read_settings(file, environ, overrides), file.parent if file else None)
    try:
        reading = source.first()
        level = reading.settings.log.level
        configure_logging(level)
        if level == "info":
            logging.getLogger("uvicorn").setLevel(
                logging.WARNING
            )  # what it tells of start and stop is told better here
        service = prepare(source, reading, environ)
    except ConfigurationError as error:
        refuse_configuration(error)
    except AddressUnavailable as error:
        fail(str(error))
    run(service, ready=lambda: print(banner(service, file, environ), file=sys.stderr, flush=True))


def banner(service: "Service", file: Path | None, environ: dict[str, str]) -> str:
    from guardproxy import __version__

    settings, build, listeners = service.settings, service.build, service.listeners
    base_url = f"{listeners.main_url}/v1"
    lines = [
        f"guardproxy {__version__}, configuration {file or 'built in'}, revision {build.runtime.revision}",
        f"  agents    OPENAI_BASE_URL={base_url}",
        *(f"  upstream  {line}" for line in _upstreams(settings)),
        f"  policy    {', '.join(settings.policy)}: {len(build.policy.rules)} rules, revision {build.policy.revision}",
        f"  guards    {', '.join(f'{guard.name} ({guard.mode})' for guard in build.runtime.guards)}",
        f"  audit     {service.foundation.audit_target}",
        *(f"  {notice}" for notice in _notices(service, environ)),
        f"  admin     {listeners.admin_url}/metrics /healthz /readyz",
    ]
    return "\n".join(lines)


def _notices(service: "Service", environ: dict[str, str]) -> Iterator[str]:
    """What an operator may not have meant."""
    if notice := service.foundation.audit_target.notice:
        yield f"WARNING   {notice}"
    if all(guard.mode == "monitor" for guard in service.build.runtime.guards):
        yield "WARNING   every guard is in monitor mode: calls are judged and recorded, none is blocked"
    if _is_embedded(service.settings) and environ.get("OPENAI_API_KEY"):
        yield "NOTE      OPENAI_API_KEY is set but no server is named: --upstream https://api.openai.com/v1"


def _upstreams(settings: "Settings") -> list[str]:
    from guardproxy.upstream.organism.answer import MODEL

    if _is_embedded(settings):
        return [f"stand-ins: the tiny model {MODEL}, else a script; name a real server with --upstream URL"]
    return [f"{each.name}: {each.base_url or each.kind} for {', '.join(each.models)}" for each in settings.upstreams]


def _is_embedded(settings: "Settings") -> bool:
    return all(each.kind == "embedded" for each in settings.upstreams)
