"""The places where a call may begin that are known by their first characters: tags, tokens, actions and fences."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache, lru_cache
from typing import NamedTuple

from guardproxy.text_calls.watch import Format, Watch

# --- the markers of models' own formats ------------------------------------------------------------------------

_EDGE = r"(?![A-Za-z0-9])"
_LEAD = r"<[\s|｜]{0,8}(?:\w{1,20}[:|｜])?"
MARKER = re.compile(
    rf"""{_LEAD}(?:longcat_)?tool[ _▁-]?calls?(?![ _▁](?:end|arg|section[_▁]end)){_EDGE}
    |{_LEAD}function[ _▁-]?calls?{_EDGE}
    |{_LEAD}start_function_call{_EDGE}
    |<\s{{0,8}}function\s{{0,8}}=
    |{_LEAD}(?:invoke|function|tool)\s{{1,8}}name\s{{0,8}}=
    |<\s{{0,8}}tool(?:_use|_request|_code)?\s{{0,8}}>
    |<\|(?:python_tag|action_start|plugin|start_action|channel|start)\|>
    |\[\s{{0,8}}tool_(?:calls?|requests?)\s{{0,8}}\]
    |✿FUNCTION✿""",
    re.IGNORECASE | re.VERBOSE,
)
"""Closing tags are none: what they end has begun before them."""

_MARKER_OPEN = re.compile(
    r"<[\s|｜]{0,8}[\w▁:|｜.-]{0,40}(?:\s{0,8}[a-z]{0,5}\s{0,8})?\Z|\[\s{0,8}(?:t[a-z_]{0,14}\s{0,8})?\Z|✿[A-Z]{0,8}\Z",
    re.IGNORECASE,
)

# --- actions ---------------------------------------------------------------------------------------------------

ACTION = re.compile(r"(?:Action|(?<!\w)(?i:action))(?:[\s\d*_]{0,199}:|[\s\d*_]{200})")
_ACTION_OPEN = re.compile(
    r"(?:A(?:c(?:t(?:i(?:o(?:n[\s\d*_]{0,200})?)?)?)?)?|(?<!\w)(?i:a(?:c(?:t(?:i(?:o(?:n[\s\d*_]{0,200})?)?)?)?)?))\Z"
)

# --- programs --------------------------------------------------------------------------------------------------

CODE_TAGS = frozenset(
    "code execute execute_code execute_python execute_ipython execute_bash python py bash shell tool_code "
    "code_interpreter interpreter".split()
)
FENCE = re.compile(r"((?<!`)`{3,}+|(?<!~)~{3,}+)(\s{0,64})([\w+#.-]{0,64})(?:(?=[^\w+#.`~-])|(?<=[\w+#.-]{64}))")
_FENCE_OPEN = re.compile(
    r"(?:(?<!`)`{3,}+|(?<!~)~{3,}+)\s{0,64}[\w+#.-]{0,64}\s{0,64}\Z|(?:(?<!`)`{1,2}|(?<!~)~{1,2})\Z"
)

SHELLS = frozenset("bash sh shell zsh console terminal shell-script shellscript bat cmd powershell pwsh ps1".split())
_PYTHON = frozenset("python py python3 py3 ipython ipython3 pycon tool_code python-repl".split())
_INERT = frozenset(
    "json jsonc json5 jsonl text txt plaintext plain markdown md diff patch html css scss xml svg yaml yml toml ini "
    "csv tsv log mermaid latex tex bibtex graphql protobuf proto http dockerfile makefile cmake nginx sql".split()
)


def is_inert(label: str) -> bool:
    return label.casefold() in _INERT


def is_program(label: str) -> bool:
    label = label.casefold()
    return label in SHELLS or label.startswith(tuple(_PYTHON))


class Fence(NamedTuple):
    """An opening fence around a program, with its label."""

    start: int
    end: int
    label: str


@dataclass(slots=True)
class Fences:
    """Tells opening fences from closing ones, in the order in which they stand."""

    inert: bool = False  # within a fence around what is no program
    within: bool = False  # within a fence around a program

    def opens(self, mark: re.Match[str]) -> Fence | None:
        """The opening fence around a program that this mark is; some agents skip lines before the label."""
        label = mark[3]
        if "\n" in mark[2] and not (is_program(label) and mark.string.startswith(("\n", "\r\n"), mark.end())):
            label = ""
        end = mark.end() if label else mark.end(1)
        if label and is_program(label):
            self.inert, self.within = False, True
            return Fence(mark.start(), end, label)
        if self.inert or self.within:
            self.inert, self.within = (False, False) if not label else (self.inert, self.within)
            return None
        if is_inert(label):
            self.inert = True
            return None
        self.within = True
        return Fence(mark.start(), end, label)


def fences(text: str) -> Iterator[Fence]:
    """All opening fences around programs; the text counts as ended by a line break."""
    state = Fences()
    for mark in FENCE.finditer(text + "\n"):
        fence = state.opens(mark)
        if fence is not None:
            yield fence


def code_tag(tags: frozenset[str]) -> re.Pattern[str]:
    """The opening tags around programs."""
    names = "|".join(map(re.escape, sorted(CODE_TAGS | tags)))
    return re.compile(rf"<\s{{0,8}}(?P<tag>{names})(?=[\s>/])[^<>]{{0,200}}>", re.IGNORECASE)


def code_tag_open(tags: frozenset[str]) -> re.Pattern[str]:
    """The beginning of such a tag at the end of a text."""
    longest = max(map(len, CODE_TAGS | tags))
    names = "|".join(map(re.escape, sorted(CODE_TAGS | tags)))
    return re.compile(rf"<\s{{0,8}}(?:[\w.-]{{0,{longest}}}|(?:{names})[\s/][^<>]{{0,200}})\Z", re.IGNORECASE)


# --- elements --------------------------------------------------------------------------------------------------

KNOWN_ELEMENTS = frozenset(
    "execute_command write_to_file replace_in_file read_file edit_file fast_edit_file delete_file apply_diff "
    "insert_content search_and_replace search_files list_files list_code_definition_names codebase_search "
    "browser_action web_fetch use_mcp_tool access_mcp_resource load_mcp_documentation fetch_instructions "
    "ask_followup_question attempt_completion plan_mode_respond new_task switch_mode update_todo_list "
    "run_slash_command generate_image new_rule condense".split()
)
"""The tools of agents that read elements."""

_HTML = frozenset(
    "a article aside audio b blockquote body button canvas code data details dialog div dl em fieldset figure footer "
    "form g head header html i iframe label li link main map menu nav object ol p picture pre script section select "
    "span strong style summary svg table tbody td template tfoot th thead time title tr ul video".split()
)


def _names(names: frozenset[str]) -> str:
    return "|".join(map(re.escape, sorted(names))) or r"(?!)"


def _elements(elements: frozenset[str], tools: frozenset[str] | None) -> tuple[str, str, int]:
    """Patterns for both kinds of names, and the length of the longest."""
    declared = frozenset(name for name in tools or () if name.casefold() not in _HTML and not name.isspace() and name)
    return _names(elements), _names(declared), max(map(len, elements | declared), default=0)


def element(elements: frozenset[str], tools: frozenset[str] | None) -> re.Pattern[str]:
    """The opening tags of elements that are calls; a declared tool's is one where a parameter follows."""
    known, declared, _ = _elements(elements, tools)
    return re.compile(
        rf"""<\s{{0,8}}(?:(?P<element>{known})(?=[\s>/])[^<>]{{0,200}}>
        |(?P<declared>{declared})(?=[\s>])[^<>]{{0,200}}>(?=\s{{0,512}}<\s{{0,8}}[A-Za-z_]))""",
        re.IGNORECASE | re.VERBOSE,
    )


def element_open(elements: frozenset[str], tools: frozenset[str] | None) -> re.Pattern[str]:
    """The beginning of such a tag at the end of a text."""
    known, declared, longest = _elements(elements, tools)
    return re.compile(
        rf"""<\s{{0,8}}(?:[\w.:-]{{0,{longest}}}|(?:{known}|{declared})[\s/][^<>]{{0,200}}
        |(?:{declared})(?:\s[^<>]{{0,200}})?>\s{{0,512}}(?:<\s{{0,8}})?)\Z""",
        re.IGNORECASE | re.VERBOSE,
    )


# --- a whole answer that is a program ---------------------------------------------------------------------------

_KEYWORDS = (
    "False None True and as assert async await break class continue def del elif else except finally for from global "
    "if import in is lambda nonlocal not or pass raise return try while with yield match case type _ print exec"
).split()
_NO_KEYWORD = rf"(?!(?:{'|'.join(_KEYWORDS)})\b)"
NO_PROGRAM = re.compile(
    rf"""\s*(?:{_NO_KEYWORD}\w+:\s+)?
    {_NO_KEYWORD}(?:[^\W\d]\w*|(?![rbufRBUF]{{1,2}}')[^\W\d]\w*['’](?:ll|m|s|ve|d|re|t))[ \t]+
    {_NO_KEYWORD}[^\W\d]\w*(?=[ \t.,;:!?\n])""",
    re.VERBOSE,
)
"""Two plain words side by side, at the start: no Python program begins so."""


class Mark(Enum):
    NONE = auto()
    OPEN = auto()  # the text ends in what could become one
    FOUND = auto()


_MAX_CARRY = 1_024
_NOTHING = re.compile(r"(?!)")


class _Kind(NamedTuple):
    """Marks that begin with one of the `first` characters."""

    first: re.Pattern[str]
    complete: re.Pattern[str]
    unfinished: re.Pattern[str]  # at the end of a text


@lru_cache(maxsize=128)
def _kinds(watch: Watch) -> Sequence[_Kind]:
    """Agents ask again and again with the same tools."""
    kinds = [_Kind(re.compile("[`~]"), _NOTHING, _FENCE_OPEN)]
    if Format.MARKERS in watch.formats:
        kinds.append(_Kind(re.compile(r"[<\[✿]"), MARKER, _MARKER_OPEN))
    if Format.CODE in watch.formats:
        kinds.append(_Kind(re.compile("<"), code_tag(watch.tags), code_tag_open(watch.tags)))
    if Format.XML in watch.formats and (watch.elements or watch.tools):
        names = watch.elements, watch.tools
        kinds.append(_Kind(re.compile("<"), element(*names), element_open(*names)))
    if Format.REACT in watch.formats:
        kinds.append(_Kind(re.compile("[Aa]"), ACTION, _ACTION_OPEN))
    return tuple(kinds)


class Marks:
    """Watches a text that comes in pieces for the first of these places. Once found, it stays found."""

    def __init__(self, watch: Watch) -> None:
        self.state = Mark.NONE
        self._carry = ""  # what the last piece ended in, if it may go on as a mark
        self._before = ""  # the character before that
        self._fences = Fences() if Format.CODE in watch.formats else None
        self._kinds = _kinds(watch)

    def feed(self, piece: str, before: str) -> Mark:
        """`before` is the character before the piece. Between two pieces only what `first_characters` does not match
        may be left out, and nothing while the state is OPEN."""
        if self.state is Mark.OPEN:
            before, piece = self._before, self._carry + piece
        if self.state is not Mark.FOUND:
            self.state = self._examine(before + piece, len(before))
        return self.state

    def _examine(self, text: str, start: int) -> Mark:
        at = len(text)
        for kind in self._kinds:
            if kind.first.search(text, start) is None:
                continue
            if _found(kind.complete.search(text, start), text):
                return Mark.FOUND
            if unfinished := kind.unfinished.search(text, start):
                at = min(at, unfinished.start())
        if self._fences and any(self._fences.opens(m) for m in FENCE.finditer(text, start) if m.start() < at):
            return Mark.FOUND
        if at == len(text):
            return Mark.NONE
        self._carry, self._before = text[at:], text[max(0, at - 1) : at]
        return Mark.OPEN if len(self._carry) <= _MAX_CARRY else Mark.FOUND


@cache
def first_characters(formats: frozenset[Format]) -> re.Pattern[str]:
    """What a piece of text must hold for a mark or a bracket to begin in it."""
    tags = "<" * bool(formats & {Format.MARKERS, Format.CODE, Format.XML}) + "✿" * (Format.MARKERS in formats)
    action = r"|A(?:c|\Z)|\b[Aa](?:[Cc]|\Z)" if Format.REACT in formats else ""
    return re.compile(rf"[`~{{\[{tags}]{action}")


def _found(match: re.Match[str] | None, text: str) -> bool:
    """Whether it is one whatever comes next: a name at the end of the text may yet become a longer one."""
    return match is not None and (match.end() < len(text) or not text[-1].isalpha())
