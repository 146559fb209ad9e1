"""From settings to what runs: every part is there, in order, and what need not be made again is kept."""

import asyncio
import hashlib
from pathlib import Path

import pytest
import trustme

from guardproxy.config.audit_target import AuditTarget
from guardproxy.config.read import read_settings
from guardproxy.config.runtime import Build, Foundation, build, lay_foundation
from guardproxy.config.settings import Settings
from guardproxy.decision import Mode, OnError
from guardproxy.errors import ConfigurationError, ModelNotFound
from guardproxy.runtime import Limits, ToolResults
from guardproxy.surfaces.surface import OnBlock
from guardproxy.upstream.bridge import DiscoveringUpstream


@pytest.fixture
def foundation() -> Foundation:
    return lay_foundation(Settings(), AuditTarget(None))


def settings_of(folder, text: str) -> Settings:
    folder.write(text)
    return read_settings(folder.settings_file)


def test_everything_that_is_written_arrives(folder, foundation: Foundation) -> None:
    built = build(
        settings_of(
            folder,
            "listen: {client_keys: [0123456789abcdef], allowed_hosts: [Guard.Example], allowed_origins: ['https://A.example']}\n"
            "policy: [own.yaml]\n"
            "guards:\n"
            "  rules: {mode: monitor, on_error: allow, deadline_s: 3}\n"
            "  classifier: {enabled: false}\n"
            "hold: turn\n"
            "on_block: refusal\n"
            "block_message: 'no {tool}'\n"
            "reask: {max: 1}\n"
            "tool_results: withhold\n"
            "request: {allow_fields: [x], allow_provider_tools: [web_search]}\n"
            "limits: {body_bytes: 2048, held_bytes: 4096, deadline_s: 5, keepalive_s: 0.5, concurrent_requests: 7}\n",
        ),
        foundation,
    )
    runtime = built.runtime
    rules, declared = runtime.guards
    assert (rules.name, rules.mode, rules.on_error, rules.deadline_s) == ("rules", Mode.MONITOR, OnError.ALLOW, 3)
    assert (declared.name, declared.mode) == ("declared_tools", Mode.ENFORCE)
    assert runtime.limits == Limits(
        body_bytes=2048, event_bytes=4096, deadline_s=5, keepalive_s=0.5, concurrent_requests=7
    )
    assert runtime.access.client_keys == {hashlib.sha256(b"0123456789abcdef").hexdigest()}
    assert runtime.access.allowed_hosts == {"guard.example"}
    assert runtime.access.allowed_origins == {"https://a.example"}
    assert (runtime.on_block, runtime.block_message) == (OnBlock.REFUSAL, "no {tool}")
    assert (runtime.reask_max, runtime.tool_results, runtime.hold_turn) == (1, ToolResults.WITHHOLD, True)
    assert runtime.request_rules.allow_fields == {"x"}
    assert runtime.request_rules.allow_provider_tools == {"web_search"}
    assert runtime.prefixer is None
    assert runtime.observers == (foundation.metrics, foundation.audit)
    assert runtime.taint is foundation.taint


def test_upstreams_are_routed_in_the_order_in_which_they_are_written(folder, foundation: Foundation) -> None:
    settings = settings_of(
        folder,
        "policy: [own.yaml]\n"
        "guards: {classifier: {enabled: false}}\n"
        "upstreams:\n"
        "  - {name: near, base_url: http://127.0.0.1:1/v1, models: ['qwen*', 'llama*']}\n"
        "  - {name: toy, kind: embedded, models: ['toy', 'qwen-toy']}\n",
    )
    built = build(settings, foundation)
    route = built.runtime.router.route
    assert isinstance(route("qwen-toy"), DiscoveringUpstream)
    assert route("toy").name == "toy"
    with pytest.raises(ModelNotFound):
        route("gpt")


def test_faults_of_every_part_are_told_at_once(folder, foundation: Foundation, tmp_path: Path) -> None:
    settings = settings_of(
        folder,
        "policy: [own.yaml, gone.yaml]\n"
        "prefix: {file: gone-prefix.yaml}\n"
        "guards: {classifier: {model: gone.gguf}}\n"
        "listen: {tls: {cert_file: gone.pem, key_file: gone.key}}\n",
    )
    with pytest.raises(ConfigurationError) as refusal:
        build(settings, foundation)
    told = str(refusal.value)
    for name in ("gone.yaml", "gone-prefix.yaml", "gone.gguf", "gone.pem"):
        assert name in told


def test_a_pack_whose_own_test_fails_is_not_built(folder, foundation: Foundation) -> None:
    folder.write(expect="allow")
    with pytest.raises(ConfigurationError, match=r"own\.yaml:\d+: .*expected allow, came out as block"):
        build(read_settings(folder.settings_file), foundation)


def test_tls_files_must_be_a_pair(folder, foundation: Foundation) -> None:
    authority = trustme.CA()
    first, second = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    first.cert_chain_pems[0].write_to_path(str(folder.path / "cert.pem"))
    second.private_key_pem.write_to_path(str(folder.path / "key.pem"))
    text = (
        "policy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"
        "listen: {tls: {cert_file: cert.pem, key_file: key.pem}}\n"
    )
    settings = settings_of(folder, text)
    with pytest.raises(ConfigurationError, match=r"listen\.tls: certificate and key cannot be used"):
        build(settings, foundation)
    first.private_key_pem.write_to_path(str(folder.path / "key.pem"))
    assert build(settings, foundation).runtime.revision


# --- revisions ----------------------------------------------------------------------------------------------------


def revision(folder, foundation: Foundation) -> str:
    return build(read_settings(folder.settings_file), foundation).runtime.revision


BASE = "policy: [own.yaml]\nguards: {classifier: {enabled: false}}\n"


@pytest.mark.parametrize(
    "change",
    [
        "guards: {classifier: {enabled: false}, rules: {mode: monitor}}\npolicy: [own.yaml]\n",
        f"{BASE}on_block: error\n",
        f"{BASE}reask: {{max: 0}}\n",
        f"{BASE}upstreams: [{{name: other, kind: embedded}}]\n",
    ],
)
def test_what_decides_is_in_the_revision(change: str, folder, foundation: Foundation) -> None:
    folder.write(BASE)
    before = revision(folder, foundation)
    folder.write(change)
    assert revision(folder, foundation) != before


def test_a_pack_is_in_the_revision(folder, foundation: Foundation) -> None:
    before = revision(folder, foundation)
    folder.write(advice="Delete nothing.")
    assert revision(folder, foundation) != before


@pytest.mark.parametrize(
    "change",
    [
        f"# a comment\n{BASE}",
        f"{BASE}listen: {{port: 0}}\n",
        f"{BASE}log: {{level: debug}}\n",
        f"{BASE}audit: {{queue: 7}}\n",
    ],
)
def test_what_decides_nothing_is_not(change: str, folder, foundation: Foundation) -> None:
    folder.write(BASE)
    before = revision(folder, foundation)
    folder.write(change)
    assert revision(folder, foundation) == before


def test_a_secret_does_not_show_in_the_revision(folder, foundation: Foundation) -> None:
    """It is in headers, metrics and the audit: a digest of a short key could be searched for."""
    texts = [f"{BASE}upstreams: [{{base_url: http://h/v1, api_key: {key}}}]\n" for key in ("one", "two")]
    folder.write(texts[0])
    before = revision(folder, foundation)
    folder.write(texts[1])
    assert revision(folder, foundation) == before


# --- what goes over from one build to the next ---------------------------------------------------------------------

TWO = (
    BASE
    + "upstreams: [{name: a, base_url: 'http://a/v1', api_key: one}, {name: b, base_url: 'http://b/v1', models: [b]}]\n"
)


def rebuilt(folder, foundation: Foundation, before: str, after: str) -> tuple[Build, Build]:
    folder.write(before)
    old = build(read_settings(folder.settings_file), foundation)
    folder.write(after)
    return old, build(read_settings(folder.settings_file), foundation, old)


def test_unchanged_upstreams_keep_their_connections(folder, foundation: Foundation) -> None:
    old, new = rebuilt(folder, foundation, TWO, TWO.replace("http://b/", "http://c/"))
    assert new.upstreams["a"] is old.upstreams["a"]
    assert new.upstreams["b"] is not old.upstreams["b"]


def test_a_rotated_key_makes_a_new_upstream(folder, foundation: Foundation) -> None:
    old, new = rebuilt(folder, foundation, TWO, TWO.replace("one", "two"))
    assert new.upstreams["a"] is not old.upstreams["a"]
    assert new.upstreams["b"] is old.upstreams["b"]


@pytest.mark.parametrize("limit", ["held_bytes", "response_bytes", "concurrent_requests"])
def test_a_limit_that_upstreams_keep_makes_new_ones(limit: str, folder, foundation: Foundation) -> None:
    old, new = rebuilt(folder, foundation, TWO, f"{TWO}limits: {{{limit}: 4096}}\n")
    assert new.upstreams["a"] is not old.upstreams["a"]


def test_only_what_was_not_taken_over_is_closed(folder, foundation: Foundation) -> None:
    async def closed_sessions() -> list[bool]:
        old, new = rebuilt(folder, foundation, TWO, TWO.replace("http://b/", "http://c/"))
        await old.start()
        await new.start()
        sessions = [old.upstreams[name]._inner._session for name in "ab"]
        await old.close_unshared(new)
        closed = [session.closed for session in sessions]
        await new.close()
        return [*closed, sessions[0].closed]

    assert asyncio.run(closed_sessions()) == [False, True, True]


def test_a_prefix_is_injected_where_one_is_named(folder, foundation: Foundation) -> None:
    shipped = Path(__file__).parents[2] / "policies" / "prefixes" / "starter.yaml"
    text = f"{BASE}prefix: {{file: {shipped}}}\n"
    old, new = rebuilt(folder, foundation, text, f"{text}reask: {{max: 1}}\n")
    assert old.runtime.prefixer is not None
    assert new.runtime.prefixer is old.runtime.prefixer, "what it learnt of the servers is kept"
    _, kept = rebuilt(folder, foundation, text, f"{BASE}prefix: {{file: {shipped}, keep: true}}\n")
    assert kept.runtime.prefixer is not None
    assert kept.runtime.prefixer.keep
    assert kept.runtime.revision != old.runtime.revision
