"""`guardproxy schema`: what may stand in a configuration file or in a rule pack, for editors and for people."""

import json
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  guardproxy schema > guardproxy.schema.json
  guardproxy schema --policy > policy.schema.json

\b
Editors with a YAML language server take it from the file's first line:
  # yaml-language-server: $schema=guardproxy.schema.json"""


def schema(
    policy: Annotated[bool, typer.Option("--policy", help="The schema of a rule pack instead.")] = False,
) -> None:
    """Print the JSON Schema of the configuration file."""
    typer.echo(json.dumps(_policy_schema() if policy else settings_schema(), indent=2, ensure_ascii=False))


def settings_schema() -> dict[str, object]:
    from guardproxy.config.settings import Settings

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Settings.model_json_schema()}


def _policy_schema() -> dict[str, object]:
    from guardproxy.policy.schema import PackModel

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PackModel.model_json_schema()}
