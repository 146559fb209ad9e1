"""What an operator may write, in one file of YAML. Every default is here, and `guardproxy schema` is made from it.

Nothing is built here: `read` turns a file into Settings, `runtime` turns Settings into what runs. Relative paths name
files beside the one they are written in.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo

from guardproxy.decision import Mode, OnError
from guardproxy.judge.formats import FormatName
from guardproxy.runtime import ToolResults
from guardproxy.surfaces.refusal import DEFAULT_TEMPLATE
from guardproxy.surfaces.surface import OnBlock, ProviderTools
from guardproxy.telemetry.record import Content
from guardproxy.text_calls import TextCallMode

STDOUT = "-"


def _beside_the_file(path: Path, info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("directory", "."), path.expanduser())


def _pack(name: str, info: ValidationInfo) -> str:
    if not name:
        raise ValueError("a pack needs a name or a path")
    return str(_beside_the_file(Path(name), info)) if is_pack_file(name) else name


def is_pack_file(name: str) -> bool:
    """Shipped packs go by a bare name; whatever looks like a file is one."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def _audit_target(target: str, info: ValidationInfo) -> str:
    return target if target == STDOUT else str(_beside_the_file(Path(target), info))


def _base_url(url: str) -> str:
    """Messages never quote the URL: someone may have put a password into it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://HOST… or https://HOST…")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; use api_key")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    return url.rstrip("/") if parts.path else f"{url}/v1"


def _host(host: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.:%_-]+", host):
        raise ValueError("must be a host name or an IP address, without brackets")
    return host


def _origin(origin: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+", origin):
        raise ValueError("must be an origin such as https://app.example.org, without a path")
    return origin.lower()


def _block_message(template: str) -> str:
    if set(re.findall(r"\{([^{}]*)\}", template)) - {"tool", "code", "advice"}:
        raise ValueError("only {tool}, {code} and {advice} may stand in braces")
    return template


def _client_key(key: SecretStr) -> SecretStr:
    secret = key.get_secret_value()
    if len(secret) < 16 or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("must be at least 16 printable ASCII characters, without spaces")
    return key


FilePath: TypeAlias = Annotated[Path, AfterValidator(_beside_the_file)]
Host: TypeAlias = Annotated[str, Field(max_length=253), AfterValidator(_host)]
Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Bytes: TypeAlias = Annotated[int, Field(ge=1024, le=1 << 40)]
Score: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Section(BaseModel):
    """An unknown key is a fault, and no message quotes what was written."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, protected_namespaces=())


class Tls(Section):
    cert_file: FilePath = Field(description="PEM file with the certificate and its chain.")
    key_file: FilePath = Field(description="PEM file with the private key.")


class Listen(Section):
    host: Host = Field("127.0.0.1", description="Address for agents. Beyond loopback it needs client_keys.")
    port: Port = Field(8080, description="Port for agents; 0 takes a free one.")
    admin_host: Host = Field("127.0.0.1", description="Address of /metrics, /healthz and /readyz.")
    admin_port: Port = Field(9901, description="Port of /metrics, /healthz and /readyz; 0 takes a free one.")
    admin_exposed: bool = Field(
        False,
        description="Allow an admin_host beyond loopback. The admin port asks for no key: it shows numbers only, "
        "but keep strangers out by other means, such as a network policy.",
    )
    drain_s: Seconds = Field(30, description="Seconds that streams get to end after SIGTERM.")
    tls: Tls | None = Field(None, description="Certificate and key, to serve agents over TLS.")
    client_keys: tuple[Annotated[SecretStr, AfterValidator(_client_key)], ...] = Field(
        (),
        description="Keys of which clients must send one, as `Authorization: Bearer KEY`. "
        "Write them as ${VAR} or ${file:/path}.",
    )
    allowed_hosts: tuple[Host, ...] = Field(
        (), description="Names that a Host header may carry beside the listen address and loopback names."
    )
    allowed_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        (), description="Web origins that may call. None by default, so that no page in a browser reaches the proxy."
    )


class UpstreamKind(StrEnum):
    OPENAI = "openai"
    LITELLM = "litellm"
    EMBEDDED = "embedded"


class Api(StrEnum):
    """An API that a server speaks, by the name of its surface."""

    CHAT_COMPLETIONS = "chat_completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    COMPLETIONS = "completions"


class Server(StrEnum):
    """What software answers; it decides how a learned prefix can be put into the model's turn."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"
    OLLAMA = "ollama"
    TGI = "tgi"
    DEEPSEEK = "deepseek"
    MISTRAL = "mistral"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OPENAI = "openai"
    OPENROUTER = "openrouter"
    UNKNOWN = "unknown"


class Prefill(StrEnum):
    AUTO = "auto"
    CONTINUE_FINAL_MESSAGE = "continue_final_message"
    PREFIX_FLAG = "prefix_flag"
    TRAILING_ASSISTANT = "trailing_assistant"
    SUFFIX = "suffix"
    INSTRUCTION = "instruction"
    OFF = "off"


class Upstream(Section):
    name: Name = Field("main", description="Its label in metrics and in the audit.")
    kind: UpstreamKind = Field(
        UpstreamKind.OPENAI,
        description="openai: any server that speaks the OpenAI API. litellm: other providers, through that library. "
        "embedded: a scripted model and a tiny real one, for trying things out.",
    )
    base_url: Annotated[str, Field(max_length=2048), AfterValidator(_base_url)] | None = Field(
        None,
        description="The API's root, such as http://127.0.0.1:8000/v1. Without any path, /v1 is added; "
        "a lone trailing slash says that there is none.",
    )
    api_key: SecretStr | None = Field(
        None,
        description="The key sent to the server, best written as ${VAR} or ${file:/path}. "
        "Without it the client's own Authorization header is passed on.",
    )
    models: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        ("*",), min_length=1, description="Model names served here, as globs. The first upstream that matches is taken."
    )
    serves: Annotated[tuple[Api, ...], Field(min_length=1)] | None = Field(
        None,
        description="The APIs that an openai server speaks itself. Responses and Messages that it does not are "
        "translated to chat completions. null: the first request in an API shows whether the server speaks it. "
        "The other kinds speak chat completions only.",
    )
    remembers: bool = Field(
        True,
        description="The server keeps answers that a later request can go on from (previous_response_id). "
        "If not, the proxy sends it the whole conversation.",
    )
    model_prefix: str = Field(
        "", max_length=128, description="litellm only: put before the client's model name, such as anthropic/."
    )
    options: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="litellm only: what is passed to it, such as aws_region_name.",
    )
    prefill: Prefill = Field(Prefill.AUTO, description="How a learned prefix reaches the model's turn.")
    server: Server = Field(Server.UNKNOWN, description="The software that answers, where prefill is auto.")
    ca_file: FilePath | None = Field(None, description="PEM file of certificate authorities, in place of the system's.")
    connect_timeout_s: Seconds = Field(10, description="Seconds to wait for a connection.")
    idle_timeout_s: Seconds = Field(300, description="Seconds of silence before the server counts as gone.")

    @property
    def software(self) -> str:
        """What answers: `server`, and the embedded model under its own name."""
        return "embedded" if self.kind is UpstreamKind.EMBEDDED else self.server.value


class Guard(Section):
    mode: Mode = Field(Mode.ENFORCE, description="enforce, or monitor: judge and record, but let pass.")
    on_error: OnError = Field(OnError.BLOCK, description="What happens to a call when the guard gives no verdict.")
    deadline_s: Seconds = Field(1, description="Seconds that one review may take.")
    enabled: bool = Field(True, description="A guard that is not enabled is not asked at all.")


class Stages(StrEnum):
    ALL = "all"
    FIRST = "first"


class OnModelFault(StrEnum):
    REFUSE = "refuse"
    DEGRADE = "degrade"


class ToolBands(Section):
    """Other thresholds for some tools. What is null is as for every tool."""

    threshold: Score | None = Field(None, description="Score from which a call is blocked.")
    reask_threshold: Score | None = Field(None, description="Score from which the model is asked again.")
    review_threshold: Score | None = Field(None, description="Score from which a call is marked for a person.")


class Band(Section):
    low: Score = Field(0.2, description="Scores below are left as they are.")
    high: Score = Field(0.9, description="Scores above are left as they are.")


class SecondStage(Section):
    model: FilePath | None = Field(None, description="A GGUF file of a guard model or an instruct model, or:")
    litellm: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="a model elsewhere, as litellm names it, such as openai/NAME. It is shown the calls."
    )
    api_key: SecretStr | None = Field(
        None, description="litellm only: the provider's key. Without it litellm looks into the environment."
    )
    base_url: Annotated[str, Field(max_length=2048), AfterValidator(_base_url)] | None = Field(
        None, description="litellm only: the root of the provider's API."
    )
    format: FormatName = Field(
        FormatName.AUTO, description="model only: the prompt's format. auto goes by what the file says of itself."
    )
    band: Band = Field(default_factory=Band, description="Which of the first stages' scores it is asked about.")
    context_tokens: int = Field(
        2048, ge=1024, le=131072, description="model only: tokens of a whole prompt. Longer calls are read in parts."
    )
    workers: int = Field(
        1, ge=1, le=64, description="model only: calls judged at once, each with a context of its own."
    )
    threads: int = Field(2, ge=1, le=256, description="model only: cores for each of the workers.")
    queue: int = Field(
        16, ge=1, le=65536, description="Calls that may wait for a worker, or with litellm be under way. More fail."
    )
    deadline_s: Seconds = Field(10, description="Seconds that one call may take, waiting included.")
    on_error: OnError = Field(OnError.BLOCK, description="What happens to a call that it gives no verdict on.")


class ClassifierGuard(Guard):
    mode: Mode = Field(Mode.MONITOR, description="enforce, or monitor: judge and record, but let pass.")
    deadline_s: Seconds = Field(2, description="Seconds that one review may take.")
    stages: Stages = Field(
        Stages.ALL, description="all, or first: wording and provenance alone, in microseconds, without llama.cpp."
    )
    model: FilePath | None = Field(
        None, description="A GGUF file that judges in place of both stages; null takes the shipped ones."
    )
    on_model_fault: OnModelFault = Field(
        OnModelFault.REFUSE,
        description="What is done where a model's file is missing, altered or of another shape: refuse to start, or "
        "degrade: go on with the models that can be had, at the least with the other guards, and say so.",
    )
    threads: int = Field(2, ge=1, le=256, description="Worker threads, each with a context of its own.")
    queue: int = Field(64, ge=1, le=65536, description="Inputs that may wait for a thread. Above it a review fails.")
    threshold: Score | None = Field(None, description="Score from which a call is blocked; null takes the model's own.")
    tainted_threshold: Score | None = Field(
        None,
        description="The same once a tool result or the user's request was flagged; null takes the model's own.",
    )
    reask_threshold: Score | None = Field(
        None, description="Score from which, below the threshold, the model is asked again; null never asks."
    )
    review_threshold: Score | None = Field(
        None, description="Score from which a call that passes is marked for a person to look at; null marks none."
    )
    result_threshold: Score | None = Field(
        None, description="Score from which a tool result counts as holding orders; null takes the model's own."
    )
    request_threshold: Score | None = Field(
        None, description="Score from which the user's request counts as asking for harm; null takes the model's own."
    )
    tools: dict[str, ToolBands] = Field(
        default_factory=dict,
        description="Thresholds by pattern of tool names, as in send_*; the first that fits counts.",
    )
    cache_size: int = Field(
        4096, ge=0, le=1 << 24, description="Verdicts that are kept, by digest of all that was read."
    )
    second_stage: SecondStage | None = Field(
        None, description="A larger model that is asked about scores in a band; null asks none."
    )


class Guards(Section):
    rules: Guard = Field(default_factory=Guard, description="The rule packs that `policy` names.")
    declared_tools: Guard = Field(
        default_factory=Guard, description="Calls must name a declared tool and fit its JSON Schema."
    )
    classifier: ClassifierGuard = Field(default_factory=ClassifierGuard, description="A small model, in this process.")


class Hold(StrEnum):
    CALLS = "calls"
    TURN = "turn"


class Reask(Section):
    max: int = Field(2, ge=0, le=2, description="How often a turn may be asked for again before its call is blocked.")


class PrefixTurns(StrEnum):
    EVERY = "every"
    FIRST = "first"


class PrefixArm(Section):
    name: Name = Field(description="Its label in metrics and in the audit.")
    weight: float = Field(
        1, gt=0, le=1000, allow_inf_nan=False, description="Its share of the conversations, beside the other arms'."
    )
    files: tuple[FilePath, ...] = Field(
        (), description="Its prefix artifacts, the first for a model counts; none makes it the arm to compare with."
    )
    shadow: bool = Field(False, description="Work out and count what would be injected, and inject nothing.")


class Prefix(Section):
    file: FilePath | None = Field(None, description="The prefix artifact to inject; null injects nothing.")
    files: tuple[FilePath, ...] = Field(
        (), description="Artifacts for other models: the first whose models fit is used, that of file before them."
    )
    arms: tuple[PrefixArm, ...] = Field(
        (),
        max_length=16,
        description="In place of file: prefixes to compare. A conversation stays in the arm that it began in.",
    )
    keep: bool = Field(False, description="Leave the prefix in the client's answer instead of taking it out.")
    turns: PrefixTurns = Field(
        PrefixTurns.EVERY, description="every: on every turn of the model. first: on a conversation's first alone."
    )
    gate: bool = Field(
        True,
        description="Keep the prefix from requests whose risk is below the gate that was learned with it. "
        "Where the risk is not known it goes in.",
    )
    gate_threshold: Score | None = Field(None, description="The gate's threshold, in place of the artifact's own.")
    floor: Score | None = Field(
        None, description="Refuse artifacts with which less than this share of the benign tasks was done."
    )


class HiddenContent(StrEnum):
    COUNT = "count"
    REFUSE = "refuse"


class RequestPolicy(Section):
    allow_fields: tuple[str, ...] = Field(
        (),
        description="Request fields, of any type, that pass though unknown here; "
        "input.TYPE is an input item of that type in the Responses API.",
    )
    allow_provider_tools: tuple[str, ...] = Field(
        (), description="Types of tools that the provider runs itself, unseen by the guards, and that may be declared."
    )
    provider_tools: ProviderTools = Field(
        ProviderTools.REFUSE, description="refuse a request that declares another one, or strip it of the tool."
    )
    hidden_content: HiddenContent = Field(
        HiddenContent.COUNT,
        description="What a request refers to and the guards cannot read (stored prompts, conversations, files, "
        "encrypted compactions): count it as not inspected, or refuse the request.",
    )
    text_calls: TextCallMode = Field(
        TextCallMode.AUTO,
        description="Calls written in text (<tool_call>, ReAct, code): auto judges them where the request shows that "
        "the agent parses text, always does in every answer.",
    )


class HistoryStore(Section):
    redis_url: SecretStr | None = Field(
        None,
        description="Where stored answers are remembered by all replicas, as redis://HOST:PORT/DB. "
        "null remembers them in this process.",
    )
    max_bytes: Bytes = Field(64 << 20, description="Most that is remembered in this process.")
    keep_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        30 * 86400, description="Seconds for which Redis keeps an answer."
    )


class Audit(Section):
    path: Annotated[str, AfterValidator(_audit_target)] | None = Field(
        None,
        description="Where one JSON line for each exchange goes; - is standard output. "
        "null: guardproxy/audit.jsonl in $XDG_STATE_HOME (~/.local/state), or standard output "
        "where that cannot be written.",
    )
    content: Content = Field(
        Content.REDACTED,
        description="digest: keyed digests only. redacted: lengths and keyed digests. "
        "full: everything, in a file of mode 0600.",
    )
    key_file: FilePath | None = Field(
        None, description="File with the key of the digests. null draws a fresh key at each start."
    )
    max_bytes: Bytes = Field(100_000_000, description="Size at which the file is rotated.")
    backups: int = Field(5, ge=0, le=1000, description="Rotated files that are kept.")
    queue: int = Field(
        4096, ge=1, le=1 << 20, description="Records that may wait for the disk; more are dropped and counted."
    )


class Limits(Section):
    body_bytes: Bytes = Field(10 << 20, description="Largest request body, after decompression.")
    response_bytes: Bytes = Field(64 << 20, description="Largest answer of an upstream.")
    held_bytes: Bytes = Field(8 << 20, description="Most that is held of one stream while its calls are judged.")
    deadline_s: Seconds = Field(600, description="Seconds for one request, asking again included.")
    keepalive_s: Seconds = Field(1.0, description="Seconds of holding after which a comment keeps the stream alive.")
    concurrent_requests: int = Field(1024, ge=1, le=1 << 20, description="Requests under way; more are answered 503.")


class Log(Section):
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged to standard error.")


class Settings(Section):
    """guardproxy's configuration."""

    listen: Listen = Field(default_factory=Listen, description="Where the proxy listens, and who may call it.")
    upstreams: tuple[Upstream, ...] = Field(
        default=(Upstream(name="embedded", kind=UpstreamKind.EMBEDDED),),
        min_length=1,
        description="The servers that models are asked of. By default the one that OPENAI_BASE_URL and "
        "OPENAI_API_KEY name, else the embedded one.",
    )
    policy: tuple[Annotated[str, AfterValidator(_pack)], ...] = Field(
        ("default",), min_length=1, description="Rule packs: names of shipped ones, or files."
    )
    guards: Guards = Field(default_factory=Guards, description="What is asked about each turn, and how.")
    hold: Hold = Field(
        Hold.CALLS, description="calls: text streams and calls wait. turn: everything waits for the verdict."
    )
    on_block: OnBlock = Field(OnBlock.MESSAGE, description="What a client sees in place of a blocked call.")
    block_message: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(_block_message)] = Field(
        DEFAULT_TEMPLATE, description="Text in place of a blocked call. {tool}, {code} and {advice} are filled in."
    )
    reask: Reask = Field(default_factory=Reask, description="Asking the model again.")
    tool_results: ToolResults = Field(
        ToolResults.TAINT,
        description="A flagged tool result: taint makes later calls be judged more strictly, "
        "withhold also gives the model a notice in its place.",
    )
    prefix: Prefix = Field(default_factory=Prefix, description="The learned safety prefix.")
    request: RequestPolicy = Field(
        default_factory=RequestPolicy, description="What requests may hold beside the usual."
    )
    history: HistoryStore = Field(
        default_factory=HistoryStore, description="What is remembered of answers that later requests go on from."
    )
    audit: Audit = Field(default_factory=Audit, description="The record of every exchange.")
    limits: Limits = Field(default_factory=Limits, description="Sizes, times and numbers.")
    log: Log = Field(default_factory=Log, description="The log on standard error.")
