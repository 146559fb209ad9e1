"""A tiny model of the right shape, made here: Llama's architecture, a vocabulary of bytes and every family's marks."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from guardproxy.judge.formats import FORMATS
from guardproxy.model import CallKey, CallKind, Message, Request, ToolCall, ToolResult, ToolSpec

HEADS = 2
FLAG = "!"  # the more of these it reads, the more the counting model says harmful
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = sorted({mark for each in FORMATS.values() for mark in each.special} | {"<|im_start|>", "<|im_end|>"})
HARMFUL = ["u", "Y", "\u0120y", "\u0120U", "h", "H", "\u0120h", "\u0120H"]  # what the harmful verdicts begin with
BENIGN = ["s", "N", "\u0120n", "\u0120S", "b", "B", "\u0120b", "\u0120B"]
OTHER = ["\u0120C"]


def byte_letters() -> list[str]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    odd = (byte for byte in range(256) if byte not in plain)
    letters = {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(odd)}
    return [letters[byte] for byte in range(256)]


def pieces(marks: Sequence[str]) -> list[str]:
    pairs = [piece for piece in (*HARMFUL, *BENIGN, *OTHER) if len(piece) == 2]
    return [*byte_letters(), *pairs, "<|endoftext|>", *marks]


def write_model(
    path: Path,
    *,
    counting: bool = False,
    width: int = 32,
    layers: int = 2,
    context: int = 4096,
    chat_template: str | None = CHATML,
    name: str = "Tiny",
    marks: Sequence[str] = MARKS,
    causal: bool = True,
    broken: bool = False,
    mark_type: int = 3,
) -> Path:
    """Of random weights; or `counting`, whose verdict depends on the share of FLAG in what it has read."""
    tokens = pieces(marks)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([mark_type if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges([" ".join(token) for token in tokens if len(token) == 2])
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    if not causal:
        writer.add_causal_attention(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    found = dict(counting_tensors(tokens, width, layers) if counting else random_tensors(len(tokens), width, layers))
    if broken:
        found["output_norm.weight"] = np.full(width, np.nan, np.float32)
    for tensor in found.items():
        writer.add_tensor(*tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def random_tensors(vocabulary: int, width: int, layers: int) -> Iterator[tuple[str, Any]]:
    random = np.random.default_rng(7)
    for tensor, shape in shapes(vocabulary, width, layers):
        size = np.ones(shape) if len(shape) == 1 else random.normal(0, shape[-1] ** -0.5, shape)
        yield tensor, size.astype(np.float32)


def counting_tensors(tokens: Sequence[str], width: int, layers: int) -> Iterator[tuple[str, Any]]:
    """Attention that takes the mean of all values: dimension 0 counts flags, dimension 1 all tokens."""
    for tensor, shape in shapes(len(tokens), width, layers):
        weights = np.zeros(shape, np.float32)
        if len(shape) == 1:
            weights += 1
        elif tensor == "token_embd.weight":
            weights[:, 1] = 1
            weights[tokens.index(FLAG), 0] = 8
        elif tensor == "output.weight":
            weights[[tokens.index(token) for token in HARMFUL], 0] = 4
            weights[[tokens.index(token) for token in BENIGN], 1] = 1
        elif tensor.endswith(("attn_v.weight", "attn_output.weight")):
            weights += np.eye(width, dtype=np.float32)
        yield tensor, weights


def shapes(vocabulary: int, width: int, layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd.weight", (vocabulary, width)
    yield "output.weight", (vocabulary, width)
    yield "output_norm.weight", (width,)
    for layer in range(layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (width,)
        yield block + "ffn_norm.weight", (width,)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"{block}{name}.weight", (width, width)
        yield block + "ffn_gate.weight", (2 * width, width)
        yield block + "ffn_up.weight", (2 * width, width)
        yield block + "ffn_down.weight", (width, 2 * width)


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    return write_model


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("random") / "tiny.gguf")


@pytest.fixture(scope="session")
def counting_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("counting") / "tiny.gguf", counting=True)


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So large that a long call takes half a second."""
    return write_model(tmp_path_factory.mktemp("slow") / "slow.gguf", width=256, layers=8)


def make_call(arguments: object, name: str = "send_email") -> ToolCall:
    raw = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(CallKey(0, 0), CallKind.FUNCTION, "c1", name, raw)


def make_request(
    task: str = "Summarise my inbox.", results: Sequence[str] = (), description: str = "Sends."
) -> Request:
    said = [Message("user", task)]
    said += [Message("tool", "", result=ToolResult.of(f"r{i}", "read", text)) for i, text in enumerate(results)]
    tools = (ToolSpec(CallKind.FUNCTION, "send_email", description, None),)
    return Request("chat_completions", "m", False, {}, tuple(said), tools)


@pytest.fixture(scope="session")
def call() -> Callable[..., ToolCall]:
    return make_call


@pytest.fixture(scope="session")
def request_of() -> Callable[..., Request]:
    return make_request
