"""A real llama.cpp server behind the proxy: a model of random weights, made here, whose words mean nothing."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from openai import OpenAI

from guardproxy.testing.service import Service, eventually, serving

WIDTH, LAYERS, HEADS, HIDDEN = 32, 2, 2, 64
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PREFIX = "I will do this only as long as it is harmless."
ARTIFACT = {
    "version": 1,
    "id": "test",
    "text": PREFIX,
    "instruction": None,
    "learned": {"method": "hand-written", "date": None, "source": "a test"},
    "models": ["*"],
    "position": "prefill",
    "scores": None,
}
SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.model_alias = {"tiny"}
params.hostnames, params.port = ["127.0.0.1"], 0
params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 4096, 2, False, 0
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
print("LISTENING", server.listening_address, flush=True)
sys.stdin.read()
"""


def write_model(path: Path) -> None:
    """Llama's architecture, a vocabulary of bytes and letters; it only ever says letters."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS, "\u2581"]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(LETTERS) + 1)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * len(pieces))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in tensors(len(pieces)):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(vocabulary: int) -> Iterator[tuple[str, Any]]:
    random = np.random.default_rng(3)

    def weights(*shape: int) -> Any:
        return random.normal(0, 0.3, shape).astype(np.float32)

    ones = np.ones(WIDTH, np.float32)
    yield "token_embd.weight", weights(vocabulary, WIDTH)
    output = weights(vocabulary, WIDTH)
    output[: 3 + 256] = 0  # the logits of everything but letters
    yield "output.weight", output
    yield "output_norm.weight", ones
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", ones
        yield block + "ffn_norm.weight", ones
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}{name}.weight", weights(WIDTH, WIDTH)
        yield block + "ffn_gate.weight", weights(HIDDEN, WIDTH)
        yield block + "ffn_up.weight", weights(HIDDEN, WIDTH)
        yield block + "ffn_down.weight", weights(WIDTH, HIDDEN)


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server's API."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_model(model)
    assert model.stat().st_size < 1 << 20
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = next((line.split()[1] for line in process.stdout if line.startswith("LISTENING")), None)
        assert address, "llama.cpp's server did not start"
        try:
            yield f"{address}/v1"
        finally:
            process.kill()


def config(base_url: str, **prefix: object) -> str:
    upstream = {"name": "llama", "base_url": base_url, "server": "llamacpp"}
    return json.dumps({"upstreams": [upstream], "guards": {"classifier": {"enabled": False}}, "prefix": prefix})


@pytest.fixture(scope="module")
def plain(llamacpp: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("plain"), config(llamacpp)) as running:
        yield running


@pytest.fixture(scope="module")
def prefixed(llamacpp: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from guardproxy.prefix.artifact import digest_of

    directory = tmp_path_factory.mktemp("prefixed")
    artifact = {**ARTIFACT, "digest": digest_of(ARTIFACT)}
    (directory / "prefix.yaml").write_text(json.dumps(artifact))
    with serving(directory, config(llamacpp, file="prefix.yaml")) as running:
        yield running


def say(base_url: str, stream: bool, **more: Any) -> tuple[str, Any]:
    """What the model says at temperature 0, and its usage."""
    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 12,
        "temperature": 0,
        **more,
    }
    with OpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=20) as client:
        if not stream:
            answer = client.chat.completions.create(**asked)
            return answer.choices[0].message.content or "", answer.usage
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    return "".join(texts), chunks[-1].usage


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_ways
def test_what_it_says_comes_through(llamacpp: str, plain: Service, stream: bool) -> None:
    (through, usage), (past, expected) = say(plain.url, stream), say(llamacpp, stream)
    assert through == past
    assert through.isalpha()
    assert usage.to_dict()["completion_tokens"] == expected.to_dict()["completion_tokens"] == 12


@both_ways
def test_tools_may_be_declared(plain: Service, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    assert say(plain.url, stream, tools=[tool], tool_choice="none")[0]


@both_ways
def test_the_prefix_reaches_the_model_and_stays_out_of_the_answer(
    llamacpp: str, plain: Service, prefixed: Service, stream: bool
) -> None:
    prefill = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": PREFIX}]
    flags = {"continue_final_message": True, "add_generation_prompt": False}
    continued, expected = say(llamacpp, True, messages=prefill, extra_body=flags)
    text, usage = say(prefixed.url, stream)
    assert text == continued, "not what the model says after the prefix"
    assert text != say(plain.url, stream)[0]
    assert usage.prompt_tokens == expected.prompt_tokens


def test_a_whole_answer_shows_that_the_prefix_was_applied(prefixed: Service) -> None:
    say(prefixed.url, False)
    counted = eventually(
        lambda: prefixed.metric("guardproxy_prefix_total", outcome="applied_echo") or None, "a counted prefix"
    )
    assert counted >= 1
    record = next(r for r in prefixed.records() if not r["stream"])
    assert record["prefix"] == {
        "position": "continue_final_message",
        "outcome": "applied_echo",
        "id": "test",
        "arm": "main",
        "reply": "text",
        "tampering": [],
    }


def test_a_stream_does_not_show_it_so_a_probe_does(prefixed: Service) -> None:
    def verified() -> str | None:
        say(prefixed.url, True)
        outcomes = [record["prefix"]["outcome"] for record in prefixed.records() if record["stream"]]
        return next((outcome for outcome in outcomes if outcome != "unverified"), None)

    assert eventually(verified, "a stream whose prefix is known to be applied") == "applied_tokens"


def test_models_are_listed(plain: Service) -> None:
    with urllib.request.urlopen(f"{plain.url}/models", timeout=10) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["tiny"]
