"""A learned prefix as it is written down: what the model says first, where that was learned, how well it does.

    version: 1
    id: starter
    text: "…"                    # put into the model's mouth
    instruction: null            # what it is told where that cannot be done; null: made from the text
    learned: {method: …, date: 2026-11-20, source: …}   # and model and tasks, where `guardproxy learn` made it
    models: ["*"]                # globs over model names
    position: prefill            # or suffix or instruction: never prefilled
    scores: null                 # or perform and refuse, each {value, low, high, n}
    gate: null                   # or {threshold, scores}: not injected where a request's risk is below the threshold
    digest: "sha256:…"           # over everything above

The digest is an integrity check against hand edits and cut files: scores belong to one text and to no other. It is no
signature.
"""

import hashlib
import json
import re
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from guardproxy import strict_yaml
from guardproxy.errors import ConfigurationError, Fault
from guardproxy.strict_yaml import Document, Plain

MAX_TEXT = 2000  # characters; published prefixes have 100 to 300

# What chat templates use to mark turns, tools and thoughts. In a prefix it would end the turn that it is to begin.
_CONTROL_TOKENS = re.compile(
    r"<[|｜][^<>\n]{0,60}[|｜]>|\[/?(?:INST|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|THINK)\]|<</?SYS>>"
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|</?(?:think|thinking|tool_call|tool_response|function_calls?)>"
    r"|<function=|<unused\d+>",
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


class Use(StrEnum):
    """How the text may reach the model's turn."""

    PREFILL = "prefill"  # as the turn's own beginning; as an instruction only where that is not possible
    SUFFIX = "suffix"  # at the end of what the user said last
    INSTRUCTION = "instruction"


def _sayable(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if text != text.strip():
        raise ValueError("begins or ends with white space, which some servers refuse and others drop")
    if _CONTROL_TOKENS.search(text):
        raise ValueError("holds a control token of a chat template")
    if _CONTROL_CHARACTERS.search(text):
        raise ValueError("holds a control character")
    return text


def _iso_date(text: str) -> str:
    try:
        date.fromisoformat(text)
    except ValueError:
        raise ValueError("is not a date such as 2026-11-20") from None
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_sayable)]
Line = Annotated[str, Field(min_length=1, max_length=500)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Learned(_Section):
    """Where a prefix comes from. `method` is "hand-written" for one that was not learned. `model` is the one that it
    was learned for, `tasks` the digests of the task sets, by what they were used for."""

    method: Line
    date: Annotated[str, AfterValidator(_iso_date)] | None
    source: Line
    model: Line | None = None
    tasks: dict[Line, Digest] = Field(default_factory=dict)


class Score(_Section):
    """A share of tasks, with its confidence interval and the number of tasks."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    n: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Score":
        if not self.low <= self.value <= self.high:
            raise ValueError("low, value and high are not in this order")
        return self


class Scores(_Section):
    """`perform`: benign tasks done; `refuse`: harmful ones refused, without acting; `over_refuse`: benign ones."""

    perform: Score
    refuse: Score
    over_refuse: Score | None = None


class Gate(_Section):
    """From which risk of a request on the prefix goes in, as learned with it on tasks of their own. `scores` are those
    of the prefix behind its gate, on the tasks of the artifact's own scores."""

    threshold: float = Field(ge=0, le=1)
    scores: Scores | None = None


class PrefixArtifact(_Section):
    version: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    text: Text
    instruction: Text | None = None
    learned: Learned
    models: Annotated[list[Line], Field(min_length=1)]
    position: Annotated[Use, Field(strict=False)]
    scores: Scores | None
    gate: Gate | None = None
    digest: Digest

    def fits(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    @property
    def instruction_text(self) -> str:
        """The prefix for a model that cannot be made to say it: told, not said."""
        return self.instruction or f"Begin each of your turns from this resolution, without quoting it: {self.text}"


def load_artifact(path: Path) -> PrefixArtifact:
    """Raises ConfigurationError with every fault of the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError([Fault(str(path), None, "", error.strerror or "cannot be read")]) from None
    return parse_artifact(data, str(path))


def parse_artifact(data: bytes, source: str) -> PrefixArtifact:
    """As `load_artifact`, of bytes. `source` names them in faults."""
    document, faults = strict_yaml.scan(data, source)
    try:
        artifact = PrefixArtifact.model_validate(document.tree)
    except ValidationError as error:
        raise ConfigurationError([*faults, *_faults(document, error)]) from None
    expected = digest_of(document.tree)
    if artifact.digest != expected:
        problem = f"does not belong to this content, whose digest is {expected}; scores hold for one text only"
        faults.append(document.fault(("digest",), problem))
    if faults:
        raise ConfigurationError(faults)
    return artifact


def digest_of(content: Plain) -> str:
    """The digest that an artifact of this content carries, its own `digest` field left out."""
    fields = {key: value for key, value in content.items() if key != "digest"} if isinstance(content, dict) else content
    canonical = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _faults(document: Document, error: ValidationError) -> list[Fault]:
    return [document.fault(fault["loc"], _problem(fault["type"], fault["msg"])) for fault in error.errors()]


def _problem(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "unknown key"
        case "missing":
            return "is missing"
        case _:
            return message.removeprefix("Value error, ")
