"""`guardproxy schema`: JSON Schemas that agree with what the readers accept."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from guardproxy.cli import app
from guardproxy.strict_yaml import parse


def schema_of(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(app, ["schema", *arguments])
    assert result.exit_code == 0
    schema: dict[str, object] = json.loads(result.stdout)
    return schema


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("{}", True),
        ("listen: {port: 1}", True),
        ("upstreams: [{name: a, base_url: 'http://h/v1', models: ['*'], prefill: off}]", True),
        ("listen: {prot: 1}", False),
        ("listen: {port: 99999}", False),
        ("guards: {rules: {mode: enforced}}", False),
        ("policy: []", False),
    ],
)
def test_the_settings_schema(text: str, valid: bool) -> None:
    validator = jsonschema_rs.validator_for(schema_of())
    assert validator.is_valid(parse(text.encode(), "f").tree) is valid


def test_the_policy_schema_knows_every_key_of_the_shipped_packs() -> None:
    schema = schema_of("--policy")
    jsonschema_rs.meta.validate(schema)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    packs = list((Path(__file__).parents[2] / "policies").glob("*.yaml"))
    assert packs
    for pack in packs:
        tree = parse(pack.read_bytes(), pack.name).tree
        assert isinstance(tree, dict)
        assert tree.keys() <= properties.keys(), pack.name
