"""What a rule pack may say. Unknown keys are refused; every list may be written as a single value."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from guardproxy.decision import Mode, OnError, Verdict


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _verdict(value: object) -> object:
    names = {v.label: v for v in (Verdict.BLOCK, Verdict.REASK, Verdict.REWRITE)}
    if isinstance(value, Verdict):
        return value
    if value not in names:
        raise ValueError(f"must be one of {', '.join(names)}")
    return names[str(value)]


Text = Annotated[str, StringConstraints(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(strict=False)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{1,63}$")]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,47}$")]
PackVerdict = Annotated[Verdict, BeforeValidator(_verdict)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class TextMatch(_Strict):
    """Matches one text. All the kinds that are given must hold, each through any one of its entries."""

    contains: Texts = ()  # words, case-insensitive
    regex: Texts = ()  # linear-time syntax: no look-around, no back-references
    glob: Texts = ()  # whole text
    path: Texts = ()  # file paths: `~/.ssh/**`, `/etc/shadow`, `**/.env`
    whole: Texts = ()  # a directory itself or all that is in it: `/`, `/*`
    host: Texts = ()  # `loopback:9901`, `169.254.169.254`, `10.0.0.0/8`, `*.internal`
    not_path: Texts = ()
    not_regex: Texts = ()

    @model_validator(mode="after")
    def _says_something(self) -> "TextMatch":
        if not (self.contains or self.regex or self.glob or self.path or self.whole or self.host):
            raise ValueError("needs one of contains, regex, glob, path, whole, host")
        return self


class ArgumentMatch(TextMatch):
    """Matches an argument of the call; `name` limits which, by its key or its path (`files[0].name`)."""

    name: Texts = ()


class CommandMatch(_Strict):
    """Matches one simple command of a script, or what code does told as a command. All that is given must hold."""

    program: Texts = ()  # names, globs
    flags: Texts = ()  # each must be there; alternatives in one entry: `r|R|recursive`
    without: Texts = ()  # none may be there
    ignore_values: Texts = ()  # options whose values are not looked at: `i`, `identity`
    subcommand: Texts = ()  # the first words that are no options: `push`, `reset --hard` is flags
    argument: "TextMatch | None" = None  # some word of the command
    arguments: "tuple[TextMatch, ...]" = ()  # each matches some word
    redirect: "TextMatch | None" = None  # a file that output goes to
    text: "TextMatch | None" = None  # the whole command, words joined by blanks; or what it reads
    input: "CommandMatch | None" = None  # a command whose output it is fed
    dynamic: bool | None = None  # runs something that cannot be read from the text

    @model_validator(mode="after")
    def _says_something(self) -> "CommandMatch":
        if not self.model_fields_set - {"without", "dynamic", "ignore_values"} and not self.dynamic:
            raise ValueError("matches every command; say what it should match")
        return self


Commands = Annotated[tuple[CommandMatch, ...], BeforeValidator(_listed), Field(min_length=1)]
Arguments = Annotated[tuple[ArgumentMatch, ...], BeforeValidator(_listed), Field(min_length=1)]


class RuleModel(_Strict):
    """One rule. `command`, `arguments`, `text` and `when` must all hold; entries of one list are alternatives."""

    id: Slug
    description: Text
    tools: Texts = ("*",)
    except_tools: Texts = ()
    on: Literal["call", "tool_result"] = "call"
    command: Commands | None = None
    arguments: Arguments | None = None
    text: TextMatch | None = None
    when: Text | None = None
    verdict: PackVerdict = Verdict.BLOCK
    rewrite: dict[str, JsonValue] | None = None
    code: Code
    advice: str = ""
    mode: Mode = Mode.ENFORCE
    on_error: OnError = OnError.BLOCK

    @model_validator(mode="after")
    def _fits_together(self) -> "RuleModel":
        if (self.verdict is Verdict.REWRITE) != (self.rewrite is not None):
            raise ValueError("verdict rewrite and the key rewrite belong together")
        if self.on == "tool_result" and (self.command or self.arguments or self.verdict is not Verdict.BLOCK):
            raise ValueError(
                "a rule on tool_result has text or when, and no verdict but block (which flags the result)"
            )
        if (
            self.on == "call"
            and self.tools == ("*",)
            and not (self.command or self.arguments or self.text or self.when)
        ):
            raise ValueError("matches every call; give it tools, command, arguments, text or when")
        return self


class CallModel(_Strict):
    tool: Text
    arguments: JsonValue = Field(default_factory=dict)  # a string is the raw argument text
    kind: Literal["function", "custom", "function_call", "builtin", "approval", "text", "opaque"] = "function"


class HistoryModel(_Strict):
    """One earlier call and its result."""

    tool: Text
    arguments: JsonValue = Field(default_factory=dict)
    result: str = ""
    tainted: bool = False


class ResultModel(_Strict):
    tool: Text
    text: str


class RequestModel(_Strict):
    model: str = "any"
    surface: str = "chat_completions"
    stream: bool = False
    user: str = ""
    tools: tuple[str, ...] = ()


class CaseModel(_Strict):
    """A pack's own test. `rule` names a rule that must be among the findings."""

    name: Text
    call: CallModel | None = None
    result: ResultModel | None = None
    request: RequestModel = RequestModel()
    history: tuple[HistoryModel, ...] = ()
    text: str = ""  # what the model said beside the call
    task: str = ""  # what the user asked for
    expect: Literal["allow", "block", "reask", "rewrite", "flag", "monitor"]
    rule: Slug | None = None
    rewritten: JsonValue = None

    @model_validator(mode="after")
    def _judges_one_thing(self) -> "CaseModel":
        if (self.call is None) == (self.result is None):
            raise ValueError("needs either call or result")
        return self


class PackModel(_Strict):
    """A whole file."""

    version: Literal[1]
    pack: Slug
    description: str = ""
    extends: Texts = ()
    allow_opaque: Texts = ()  # kinds or names of calls that this version cannot read, allowed all the same
    hold_text_actions: bool = False  # judge code and actions in text although nothing says that the agent runs them
    lists: dict[str, Texts] = Field(
        default_factory=dict
    )  # used as `$name` in any list, in packs that extend this one too
    modes: dict[Slug, Mode] = Field(default_factory=dict)  # the mode of inherited rules, changed
    rules: tuple[RuleModel, ...]
    tests: tuple[CaseModel, ...] = ()

    @model_validator(mode="after")
    def _not_empty(self) -> "PackModel":
        if not self.rules:
            raise ValueError("a pack needs at least one rule")
        return self


CommandMatch.model_rebuild()
