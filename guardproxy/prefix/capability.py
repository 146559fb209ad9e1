"""At which positions a server lets a prefix into the model's turn, best first. Pure tables; servers move, so what is
written here is only where to begin: a refusal or a probe that shows otherwise is remembered over it (`injector`).

Where nothing is known the prefix goes in as an instruction, which every server takes. Sources by server: vLLM's and
SGLang's `continue_final_message`, TGI's of the same name, llama.cpp's server README, the prefix completion pages of
DeepSeek and Mistral, Anthropic's migration guide (prefill is refused from 4.6 on), Google's model pages.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from guardproxy.model import Position

_CONTINUE = (Position.CONTINUE_FINAL_MESSAGE, Position.INSTRUCTION)
_FLAG = (Position.PREFIX_FLAG, Position.INSTRUCTION)
_TRAILING = (Position.TRAILING_ASSISTANT, Position.INSTRUCTION)
_INSTRUCTION = (Position.INSTRUCTION,)
_SUFFIX = (Position.SUFFIX, Position.INSTRUCTION)

_BY_SERVER = {
    "vllm": _CONTINUE,
    "sglang": _CONTINUE,
    "tgi": _CONTINUE,
    "llamacpp": _CONTINUE,
    "ollama": _TRAILING,
    "embedded": _TRAILING,
    "deepseek": _FLAG,
    "mistral": _FLAG,
}

# Models that think first: a prefix as content would make them skip it. Hybrids count when thinking is their default.
_THINKS = re.compile(
    r"\bo[134](?:-|$)|gpt-5|gpt-6|gpt-oss|thinking|reason|deepseek-r\d|[-/]r1\b|qwq|magistral|minimax-m\d|exaone-deep"
    r"|seed-oss|qwen-?3(?!.*(?:instruct|coder|embedding))",
    re.IGNORECASE,
)
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?!\d)(?:[.-](\d{1,2})(?!\d))?", re.IGNORECASE)
_GEMINI = re.compile(r"gemini-(\d+)(?:\.(\d+))?(?:-([a-z-]+))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Capability:
    """What the operator says of an upstream: `prefill` is "auto", "off" or a position, `server` the software's name."""

    prefill: str = "auto"
    server: str = "unknown"


@lru_cache(maxsize=1024)  # asked for every request, of the same few models
def positions(capability: Capability, model: str, *, suffix: bool = False) -> tuple[Position, ...]:
    """The positions to try, in order; none where injection is off. An operator's explicit choice comes first.

    `suffix`: for a text that was learned as one. Every server takes it; where an API has no place for it, it is an
    instruction.
    """
    match capability.prefill:
        case "off":
            return ()
        case "auto" if suffix:
            return _SUFFIX
        case "auto":
            return _INSTRUCTION if thinks(model) else _known(capability.server, model)
        case chosen:
            return tuple(dict.fromkeys((Position(chosen), Position.INSTRUCTION)))


def continues(capability: Capability, model: str) -> Position:
    """How a message of the assistant that a client ends its request with is gone on with: as it is, where no mark is
    known. Thinking models are no exception here: their client has asked for it."""
    match capability.prefill:
        case "auto":
            return _known(capability.server, model)[0]
        case "off":
            return Position.TRAILING_ASSISTANT
        case chosen:
            position = Position(chosen)
            return position if position.prefills else Position.TRAILING_ASSISTANT


def thinks(model: str) -> bool:
    """Whether a model of this name thinks before it answers unless told otherwise."""
    return _THINKS.search(model) is not None


def _known(server: str, model: str) -> tuple[Position, ...]:
    match server:
        case "anthropic":
            return _TRAILING if _claude_continues(model) else _INSTRUCTION
        case "gemini":
            return _TRAILING if _gemini_continues(model) else _INSTRUCTION
        case "openrouter":  # passes a trailing assistant turn on; what comes of it is up to the model's provider
            return _TRAILING if _claude_continues(model) or _gemini_continues(model) else _INSTRUCTION
        case _:
            return _BY_SERVER.get(server, _INSTRUCTION)


def _claude_continues(model: str) -> bool:
    """Claude up to 4.5. A name without a version may be any, and so may one to come."""
    found = _CLAUDE.search(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) <= (4, 5)


def _gemini_continues(model: str) -> bool:
    """Gemini 2, and of Gemini 3 the flash models up to 3.5 but not flash-lite."""
    found = _GEMINI.search(model)
    if found is None:
        return False
    version, kind = (int(found[1]), int(found[2] or 0)), found[3] or ""
    return version[0] == 2 or (version <= (3, 5) and "flash" in kind and "lite" not in kind)
