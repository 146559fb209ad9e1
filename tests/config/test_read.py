"""From files, environment and command line to Settings; every fault with its place, and no secret in any of them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardproxy.config.read import Overrides, config_file, read_settings
from guardproxy.config.settings import Settings, UpstreamKind
from guardproxy.errors import ConfigurationError


def written(directory: Path, text: str) -> Path:
    path = directory / "guardproxy.yaml"
    path.write_text(text)
    return path


def faults_of(
    path: Path | None, environ: dict[str, str] | None = None, overrides: Overrides | None = None
) -> list[str]:
    """Without the directory, which differs from run to run."""
    with pytest.raises(ConfigurationError) as refusal:
        read_settings(path, environ, overrides)
    return [str(fault).replace(f"{path.parent}/" if path else "\0", "") for fault in refusal.value.faults]


# --- where settings come from -------------------------------------------------------------------------------------


def test_without_anything_the_defaults_hold() -> None:
    assert read_settings() == Settings()
    assert Settings().upstreams[0].kind is UpstreamKind.EMBEDDED


@pytest.mark.parametrize("text", ["", "# only a comment\n", "{}", "listen:\n  port: 8080\n"])
def test_an_empty_file_changes_nothing(text: str, tmp_path: Path) -> None:
    assert read_settings(written(tmp_path, text)) == Settings()


def test_the_file_is_named_by_flag_or_environment_and_never_found_by_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, "listen: {port: 1234}")
    monkeypatch.chdir(tmp_path)
    assert config_file(None, {}) is None
    assert config_file(None, {"GUARDPROXY_CONFIG": "guardproxy.yaml"}) == file
    assert config_file(tmp_path, {"GUARDPROXY_CONFIG": "other"}) == file
    assert read_settings(None, {"GUARDPROXY_CONFIG": str(tmp_path)}).listen.port == 1234


def test_paths_are_beside_the_file_they_are_written_in(tmp_path: Path) -> None:
    settings = read_settings(
        written(
            tmp_path,
            "policy: [default, packs/own.yaml, own.yml, /etc/pack.yaml]\n"
            "audit: {path: audit.jsonl, key_file: ../key}\n"
            "guards: {classifier: {model: m.gguf}}\n",
        )
    )
    assert settings.policy == ("default", f"{tmp_path}/packs/own.yaml", f"{tmp_path}/own.yml", "/etc/pack.yaml")
    assert settings.audit.path == str(tmp_path / "audit.jsonl")
    assert settings.audit.key_file == tmp_path / "../key"
    assert settings.guards.classifier.model == tmp_path / "m.gguf"


def test_packs_of_the_command_line_are_beside_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    file = written(tmp_path / "conf", "policy: [strict]")
    settings = read_settings(file, {}, Overrides(policy=("own.yaml", "default")))
    assert settings.policy == (f"{tmp_path}/own.yaml", "default")


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path, "listen: {port: 1, admin_port: 2}\nupstreams: [{base_url: http://a/v1}, {name: b, kind: embedded}]"
    )
    settings = read_settings(file, {}, Overrides(port=3, upstream="http://c:9/v1"))
    assert (settings.listen.port, settings.listen.admin_port) == (3, 2)
    assert [each.base_url for each in settings.upstreams] == ["http://c:9/v1"]


def test_values_of_the_environment_are_typed_as_their_field_says(tmp_path: Path) -> None:
    file = written(
        tmp_path, "listen: {port: '${P}'}\nguards: {rules: {enabled: '${R:-true}'}}\nlimits: {deadline_s: '${D:-2.5}'}"
    )
    settings = read_settings(file, {"P": "81"})
    assert (settings.listen.port, settings.guards.rules.enabled, settings.limits.deadline_s) == (81, True, 2.5)


def test_off_is_a_word() -> None:
    """YAML 1.1 would read it as false."""
    assert "off" in json.dumps(Settings.model_json_schema()["$defs"]["Prefill"])


# --- upstreams from the environment -------------------------------------------------------------------------------


def test_the_variables_of_the_sdks_name_an_upstream() -> None:
    (upstream,) = read_settings(None, {"OPENAI_BASE_URL": "http://h:1/v1/", "OPENAI_API_KEY": "sk-x"}).upstreams
    assert upstream.base_url == "http://h:1/v1"
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == "sk-x"


def test_a_key_alone_names_no_upstream() -> None:
    """It is in many a shell, and nothing should leave the machine because of that."""
    (upstream,) = read_settings(None, {"OPENAI_API_KEY": "sk-x"}).upstreams
    assert upstream.kind is UpstreamKind.EMBEDDED
    assert upstream.api_key is None


def test_the_variables_do_not_touch_what_the_file_names(tmp_path: Path) -> None:
    file = written(tmp_path, "upstreams: [{name: local, base_url: http://h:1/v1}]")
    (upstream,) = read_settings(file, {"OPENAI_BASE_URL": "http://other/v1", "OPENAI_API_KEY": "sk-x"}).upstreams
    assert (upstream.name, upstream.base_url, upstream.api_key) == ("local", "http://h:1/v1", None)


def test_the_upstream_of_the_command_line_takes_the_key_of_the_environment() -> None:
    said = Overrides(upstream="http://h:1/v1")
    (upstream,) = read_settings(None, {"OPENAI_BASE_URL": "http://other/v1", "OPENAI_API_KEY": "sk-x"}, said).upstreams
    assert upstream.base_url == "http://h:1/v1"
    assert upstream.api_key is not None


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h:8000/", "http://h:8000"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("https://h/api/openai", "https://h/api/openai"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_a_bare_address_means_its_v1(url: str, base_url: str) -> None:
    assert read_settings(None, {}, Overrides(upstream=url)).upstreams[0].base_url == base_url


@pytest.mark.parametrize("base_url", ["http://localhost:8080/v1", "http://127.0.0.1:8080/v1", "http://[::1]:9901/"])
def test_the_proxy_is_not_its_own_upstream(base_url: str) -> None:
    problem = "is this proxy's own address: a request would go round for ever"
    assert faults_of(None, {"OPENAI_BASE_URL": base_url}) == [f"OPENAI_BASE_URL: {problem}"]
    assert faults_of(None, {}, Overrides(upstream=base_url)) == [f"--upstream: {problem}"]


# --- faults, with their places ------------------------------------------------------------------------------------

FAULTS = [
    ("listen:\n  prot: 1\n", ["guardproxy.yaml:2: listen.prot: unknown key; did you mean port?"]),
    ("lisen: {}\n", ["guardproxy.yaml:1: lisen: unknown key; did you mean listen?"]),
    ("reask:\n  times: 3\n", ["guardproxy.yaml:2: reask.times: unknown key; known here: max"]),
    ("listen:\n\n  port: 65536\n", ["guardproxy.yaml:3: listen.port: input should be less than or equal to 65535"]),
    (
        "guards:\n  rules:\n    mode: enforced\n",
        ["guardproxy.yaml:3: guards.rules.mode: input should be 'enforce' or 'monitor'"],
    ),
    ("policy: []\n", ["guardproxy.yaml:1: policy: tuple should have at least 1 item after validation, not 0"]),
    ("policy: default\n", ["guardproxy.yaml:1: policy: input should be a valid tuple"]),
    ("listen: 8080\n", ["guardproxy.yaml:1: listen: input should be a valid dictionary or instance of Listen"]),
    ("- a\n- b\n", ["guardproxy.yaml:1: expected keys and values, such as `policy: [default]`"]),
    (
        "listen:\n  tls:\n    cert_file: a.pem\n",
        ["guardproxy.yaml:2: listen.tls.key_file: is required"],
    ),
    (
        "upstreams:\n  - name: a\n    base_url: ftp://h\n  - name: b\n    base_url: http://u:p@h\n",
        [
            "guardproxy.yaml:3: upstreams[0].base_url: must be http://HOST… or https://HOST…",
            "guardproxy.yaml:5: upstreams[1].base_url: must not hold a user or password; use api_key",
        ],
    ),
    ("upstreams:\n  - {name: a}\n", ["guardproxy.yaml:2: upstreams[0].base_url: is required for kind openai"]),
    (
        "upstreams:\n  - kind: embedded\n    base_url: http://h/v1\n    options: {a: b}\n",
        [
            "guardproxy.yaml:3: upstreams[0].base_url: means nothing for kind embedded",
            "guardproxy.yaml:4: upstreams[0].options: means nothing for kind embedded",
        ],
    ),
    (
        "upstreams:\n  - {name: a, kind: embedded}\n  - {name: a, kind: embedded}\n",
        ["guardproxy.yaml:3: upstreams[1].name: another upstream has this name already"],
    ),
    (
        "listen:\n  host: 0.0.0.0\n",
        [
            "guardproxy.yaml:2: listen.host: other machines can reach this address: "
            "it needs listen.client_keys, or use 127.0.0.1"
        ],
    ),
    (
        "listen:\n  admin_host: '::'\n",
        [
            "guardproxy.yaml:2: listen.admin_host: other machines can reach this address, and the admin port asks for "
            "no key: say listen.admin_exposed: true, or use 127.0.0.1"
        ],
    ),
    ("listen: {port: 9901}\n", ["guardproxy.yaml:1: listen.admin_port: is the same as listen.port"]),
    (
        "guards:\n  rules: {enabled: false}\n  declared_tools: {enabled: false}\n  classifier: {enabled: false}\n",
        ["guardproxy.yaml:1: guards: no guard is enabled; to let everything pass, set a guard's mode to monitor"],
    ),
    (
        "guards:\n  classifier:\n    threshold: 0.4\n    tainted_threshold: 0.5\n",
        ["guardproxy.yaml:4: guards.classifier.tainted_threshold: must not be above threshold: taint never loosens"],
    ),
    (
        "guards:\n  classifier:\n    stages: first\n    model: /etc/hostname\n",
        ["guardproxy.yaml:4: guards.classifier.model: is asked of nothing where stages is first"],
    ),
    (
        "audit:\n  path: '-'\n  content: full\n",
        [
            "guardproxy.yaml:3: audit.content: full needs a file, which is made readable for its owner alone; "
            "standard output is not"
        ],
    ),
    (
        "block_message: 'no {rule}'\n",
        ["guardproxy.yaml:1: block_message: only {tool}, {code} and {advice} may stand in braces"],
    ),
    ("limits: {deadline_s: .inf}\n", ["guardproxy.yaml:1: limits.deadline_s: input should be a finite number"]),
    (
        "listen:\n  allowed_origins: ['https://a.example/path']\n",
        [
            "guardproxy.yaml:2: listen.allowed_origins[0]: must be an origin such as https://app.example.org, "
            "without a path"
        ],
    ),
    ("hold: turn\nhold: calls\n", ["guardproxy.yaml:2: hold: duplicate key, first on line 1"]),
    ("log:\n  level: ${LEVEL}\n", ["guardproxy.yaml:2: log.level: the environment variable LEVEL is not set"]),
]


@pytest.mark.parametrize(("text", "faults"), FAULTS)
def test_every_fault_names_its_line_and_path(text: str, faults: list[str], tmp_path: Path) -> None:
    assert faults_of(written(tmp_path, text)) == faults


def test_faults_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "listen:\n"
        "  host: 0.0.0.0\n"  # a rule across fields
        "  prot: 99\n"  # an unknown key
        "  port: 99999\n"  # a bound
        "upstreams:\n"
        "  - name: a\n"
        "    base_ur: http://x\n"
        "  - {name: b, kind: embedded, api_key: '${UNSET}'}\n"  # a reference
        "hold: turn\n"
        "hold: turn\n"  # a duplicate
        "audit: {content: full, path: '-'}\n",
    )
    assert [fault.split(":")[1] for fault in faults_of(file)] == ["2", "3", "4", "6", "7", "8", "10", "11"]


def test_a_rule_is_not_said_to_be_broken_by_what_could_not_be_read(tmp_path: Path) -> None:
    file = written(tmp_path, "listen:\n  host: 0.0.0.0\n  client_keys: [short]\nupstreams: [{base_url: nonsense}]\n")
    assert faults_of(file) == [
        "guardproxy.yaml:3: listen.client_keys[0]: must be at least 16 printable ASCII characters, without spaces",
        "guardproxy.yaml:4: upstreams[0].base_url: must be http://HOST… or https://HOST…",
    ]


def test_faults_of_the_command_line_name_its_option() -> None:
    faults = faults_of(
        None, {}, Overrides(host="0.0.0.0", port=70000, admin_port=-1, upstream="gopher://x", policy=("",))
    )
    assert [fault.split(":")[0] for fault in faults] == ["--admin-port", "--host", "--policy", "--port", "--upstream"]


@pytest.mark.parametrize("path", ["gone.yaml", "gone/deeper.yaml"])
def test_a_file_that_is_not_there(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"gone.*: cannot be read: No such file or directory"):
        read_settings(tmp_path / path)


def test_a_directory_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"guardproxy\.yaml: cannot be read: No such file or directory"):
        read_settings(tmp_path)


def test_keys_let_others_in(tmp_path: Path) -> None:
    settings = read_settings(
        written(tmp_path, "listen: {host: 0.0.0.0, client_keys: ['${K}'], admin_host: 0.0.0.0, admin_exposed: true}"),
        {"K": "0123456789abcdef"},
    )
    assert settings.listen.client_keys[0].get_secret_value() == "0123456789abcdef"


# --- secrets ------------------------------------------------------------------------------------------------------

SECRET = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'\\${}"), min_size=12, max_size=40
)
PLACES = [
    "listen: {{client_keys: [{0}]}}",
    "listen: {{client_keys: {0}}}",
    "listen: {{host: 0.0.0.0, port: {0}}}",
    "upstreams: [{{base_url: http://h, api_key: {0}, nonsense: {0}}}]",
    "upstreams: [{{base_url: 'http://u:'{0}, api_key: {0}}}]",
    "upstreams: [{{base_url: {0}}}]",
    "upstreams: [{{kind: litellm, options: {{key: {0}, more: [{0}]}}}}]",
    "upstreams: {0}",
    "audit: {{content: {0}, queue: {0}, max_bytes: {0}}}",
    "log: {{level: {0}}}",
    "block_message: [{0}]",
]


@given(SECRET, st.sampled_from(PLACES))
def test_no_fault_and_no_dump_shows_a_value(tmp_path_factory: pytest.TempPathFactory, secret: str, place: str) -> None:
    file = tmp_path_factory.getbasetemp() / "secret.yaml"
    file.write_text(place.format(json.dumps(secret)))
    try:
        shown = repr(settings := read_settings(file)) + str(settings) + settings.model_dump_json()
    except ConfigurationError as error:
        shown = str(error) + "".join(map(repr, error.faults)) + repr(error.__cause__) + repr(error.__context__)
    assert secret not in shown


def test_the_schema_shows_no_secret_and_describes_every_field() -> None:
    schema = Settings.model_json_schema()
    assert "SecretStr" not in json.dumps(schema)
    for name, section in {"Settings": schema, **schema["$defs"]}.items():
        for field, said in section.get("properties", {}).items():
            assert said.get("description"), f"{name}.{field}"
