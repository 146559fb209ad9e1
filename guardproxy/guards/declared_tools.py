"""The guard that holds a call against the request: is the tool declared, are the arguments what its schema says?"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from guardproxy import strict_json
from guardproxy.decision import Finding, Mode, OnError, Verdict
from guardproxy.errors import GuardError
from guardproxy.guards.guard import Context
from guardproxy.guards.tool_schema import SchemaCache, UnusableSchema
from guardproxy.model import CallKey, CallKind, Request, ToolCall, ToolResult, ToolSpec, Turn
from guardproxy.strict_json import JsonObject


class DeclaredToolsGuard:
    """Blocks calls to tools that the request does not declare, and arguments that do not fit the declared schema.

    `allow_opaque` holds the names of opaque calls that the policy lets pass; it says nothing else about them.
    """

    name = "declared_tools"
    reads_requests = False

    def __init__(
        self,
        *,
        mode: Mode = Mode.ENFORCE,
        on_error: OnError = OnError.BLOCK,
        deadline_s: float = 1.0,
        allow_opaque: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.mode = mode
        self.on_error = on_error
        self.deadline_s = deadline_s
        self._allow_opaque = allow_opaque
        self._schemas = SchemaCache()

    async def review(
        self, turn: Turn, calls: Sequence[ToolCall], context: Context
    ) -> Mapping[CallKey, Sequence[Finding]]:
        specs: dict[str, list[ToolSpec]] = {}
        for spec in context.request.tools:
            specs.setdefault(spec.name, []).append(spec)
        return {call.key: tuple(self._judge(call, specs.get(call.name, []))) for call in calls}

    async def review_result(self, result: ToolResult, context: Context) -> Sequence[Finding]:
        return ()

    async def review_request(self, request: Request, context: Context) -> Sequence[Finding]:
        return ()

    def _judge(self, call: ToolCall, specs: Sequence[ToolSpec]) -> Iterator[Finding]:
        if call.kind is CallKind.OPAQUE:
            if not self._allow_opaque(call.name):
                yield self._finding("opaque_call", "This kind of call cannot be inspected.")
            return
        if call.kind is CallKind.TEXT:  # an agent that parses text tells the model of its tools in text
            return
        fitting = [s for s in specs if _same_kind(s.kind, call.kind)]
        if not fitting:
            yield self._finding("undeclared_tool", "No tool of this name was declared in the request.")
        elif call.kind is not CallKind.CUSTOM:  # the input of a custom tool is free text
            yield from self._judge_arguments(call, fitting)

    def _judge_arguments(self, call: ToolCall, specs: Sequence[ToolSpec]) -> Iterator[Finding]:
        try:
            arguments = decode_arguments(call.arguments)
        except strict_json.MalformedJson:
            yield self._finding("malformed_arguments", "The arguments are not one valid JSON object. Send them again.")
            return
        for spec in specs:  # two tools of one name: the client may run either, so both must fit
            yield from self._judge_schema(arguments, spec)

    def _judge_schema(self, arguments: JsonObject, spec: ToolSpec) -> Iterator[Finding]:
        if spec.parameters is None:
            return
        try:
            fits = self._schemas.compiled(spec.parameters).fits(arguments)
        except UnusableSchema:
            verdict = Verdict.ALLOW if self.on_error is OnError.ALLOW else Verdict.BLOCK
            advice = "The tool's schema cannot be used to check the arguments."
            yield Finding(self.name, "unusable-schema", "unusable_schema", verdict, self.mode, advice)
            return
        except Exception as error:  # the library raises several kinds, among them its own panics
            raise GuardError("a schema could not be applied") from error
        if not fits:
            yield self._finding("schema_violation", "The arguments do not fit the tool's schema. Send them again.")

    def _finding(self, code: str, advice: str) -> Finding:
        return Finding(self.name, code.replace("_", "-"), code, Verdict.BLOCK, self.mode, advice)


def decode_arguments(text: str) -> JsonObject:
    """The arguments as an object. Raises MalformedJson.

    Several models send an empty text for a tool without arguments, and clients read it as `{}`. It is judged as `{}`
    here and forwarded as it is: no reader of an empty text can take it for anything but no arguments.
    """
    if not text.strip():
        return {}
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise strict_json.MalformedJson("lone surrogate") from None
    return strict_json.decode_object(data)


def _same_kind(declared: CallKind, called: CallKind) -> bool:
    """A function may be called in the legacy form too, and a built-in tool as one; the rest only as what they are."""
    match called:
        case CallKind.FUNCTION | CallKind.LEGACY_FUNCTION:
            return declared in (CallKind.FUNCTION, CallKind.LEGACY_FUNCTION, CallKind.BUILTIN)
        case _:
            return declared is called
