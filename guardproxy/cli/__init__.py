"""The `guardproxy` command. One file a subcommand; what is dear to import is imported inside of it."""

from typing import Annotated

import typer

from guardproxy import __version__
from guardproxy.cli import check, demo, evaluate, explain, learn, schema, serve

app = typer.Typer(
    name="guardproxy",
    help="A guardrail proxy for LLM agents: every tool call a model makes is judged before your agent sees it.",
    epilog="Start with `guardproxy serve`, then `guardproxy demo` in another terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback with local variables would show secrets
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"guardproxy {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command(epilog=serve.EXAMPLES, context_settings={"allow_extra_args": True})(serve.serve)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(epilog=demo.EXAMPLES)(demo.demo)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=explain.EXAMPLES)(explain.explain)
app.command(epilog=learn.EXAMPLES)(learn.learn)
app.command(epilog=schema.EXAMPLES)(schema.schema)
