import pytest

from guardproxy.model import Position
from guardproxy.prefix.capability import Capability, continues, positions, thinks

CONTINUE, FLAG, TRAILING, SUFFIX, INSTRUCTION = (
    Position.CONTINUE_FINAL_MESSAGE,
    Position.PREFIX_FLAG,
    Position.TRAILING_ASSISTANT,
    Position.SUFFIX,
    Position.INSTRUCTION,
)


@pytest.mark.parametrize(
    ("server", "model", "best"),
    [
        ("vllm", "meta-llama/Llama-3.1-8B-Instruct", CONTINUE),
        ("sglang", "qwen2.5-7b-instruct", CONTINUE),
        ("tgi", "mistral-7b", CONTINUE),
        ("llamacpp", "anything", CONTINUE),
        ("ollama", "llama3.2", TRAILING),
        ("deepseek", "deepseek-chat", FLAG),
        ("mistral", "mistral-large-latest", FLAG),
        ("anthropic", "claude-3-5-sonnet-20241022", TRAILING),
        ("anthropic", "claude-2.1", TRAILING),
        ("anthropic", "claude-instant-1.2", TRAILING),
        ("anthropic", "claude-opus-4-20250514", TRAILING),
        ("anthropic", "claude-sonnet-4-5-20250929", TRAILING),
        ("anthropic", "anthropic/claude-haiku-4.5", TRAILING),
        ("anthropic", "anthropic.claude-3-haiku-20240307-v1:0", TRAILING),
        ("anthropic", "claude-opus-4-6", INSTRUCTION),
        ("anthropic", "claude-sonnet-4.6", INSTRUCTION),
        ("anthropic", "claude-opus-5", INSTRUCTION),
        ("anthropic", "claude-latest", INSTRUCTION),
        ("gemini", "gemini-2.0-flash", TRAILING),
        ("gemini", "gemini-2.5-pro", TRAILING),
        ("gemini", "gemini-3-flash-preview", TRAILING),
        ("gemini", "gemini-3.1-flash", TRAILING),
        ("gemini", "gemini-3.5-flash", TRAILING),
        ("gemini", "gemini-3.5-flash-lite", INSTRUCTION),
        ("gemini", "gemini-3.6-flash", INSTRUCTION),
        ("gemini", "gemini-3.8-flash", INSTRUCTION),
        ("gemini", "gemini-flash-latest", INSTRUCTION),
        ("openrouter", "anthropic/claude-3.5-sonnet", TRAILING),
        ("openrouter", "google/gemini-2.0-flash-001", TRAILING),
        ("openrouter", "meta-llama/llama-3.3-70b-instruct", INSTRUCTION),
        ("openai", "gpt-4o", INSTRUCTION),
        ("unknown", "llama", INSTRUCTION),
        ("something-new", "llama", INSTRUCTION),
        ("vllm", "deepseek-r1-distill-llama-8b", INSTRUCTION),
        ("vllm", "Qwen/Qwen3-8B", INSTRUCTION),
        ("vllm", "Qwen/Qwen3-30B-A3B-Instruct-2507", CONTINUE),
        ("vllm", "Qwen/Qwen3-Coder-480B", CONTINUE),
        ("deepseek", "deepseek-reasoner", INSTRUCTION),
        ("mistral", "magistral-medium", INSTRUCTION),
    ],
)
def test_auto_begins_with_the_best_and_always_ends_with_an_instruction(server, model, best):
    found = positions(Capability("auto", server), model)
    assert found[0] is best
    assert found[-1] is INSTRUCTION


@pytest.mark.parametrize("position", list(Position))
def test_an_explicit_position_comes_first_whatever_the_server(position):
    for server, model in (("openai", "gpt-4o"), ("vllm", "deepseek-r1")):
        found = positions(Capability(position.value, server), model)
        assert found[0] is position
        assert found[-1] is INSTRUCTION
        assert len(set(found)) == len(found)


def test_off_is_off():
    assert positions(Capability("off", "vllm"), "llama") == ()


def test_a_position_that_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match="middle"):
        positions(Capability("middle", "vllm"), "llama")


@pytest.mark.parametrize(
    ("prefill", "expected"),
    [
        ("auto", (SUFFIX, INSTRUCTION)),
        ("suffix", (SUFFIX, INSTRUCTION)),
        ("instruction", (INSTRUCTION,)),
        ("prefix_flag", (FLAG, INSTRUCTION)),
        ("off", ()),
    ],
)
def test_a_text_that_was_learned_as_a_suffix_is_one_unless_the_operator_says_otherwise(prefill, expected):
    assert positions(Capability(prefill, "vllm"), "llama", suffix=True) == expected


def test_a_suffix_is_never_guessed():
    assert SUFFIX not in positions(Capability("auto", "unknown"), "llama")


@pytest.mark.parametrize(
    "model", ["o1", "o3-mini", "openai/o4-mini", "gpt-5-nano", "openai/gpt-oss-20b", "QwQ-32B", "x-thinking"]
)
def test_models_that_think(model):
    assert thinks(model)


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4o-mini", "llama-3.1", "proto1", "qwen2.5", "mistral-large", "phi-4"])
def test_models_that_do_not(model):
    assert not thinks(model)


@pytest.mark.parametrize(
    ("capability", "model", "position"),
    [
        (Capability(server="vllm"), "llama", Position.CONTINUE_FINAL_MESSAGE),
        (Capability(server="vllm"), "deepseek-r1", Position.CONTINUE_FINAL_MESSAGE),
        (Capability(server="mistral"), "mistral-large", Position.PREFIX_FLAG),
        (Capability("prefix_flag", "vllm"), "llama", Position.PREFIX_FLAG),
        (Capability("off", "vllm"), "llama", Position.TRAILING_ASSISTANT),
        (Capability(), "llama", INSTRUCTION),
        (Capability("suffix", "vllm"), "llama", Position.TRAILING_ASSISTANT),
        (Capability("instruction", "vllm"), "llama", Position.TRAILING_ASSISTANT),
    ],
)
def test_how_a_server_goes_on_with_what_a_client_began(capability, model, position):
    assert continues(capability, model) is position
