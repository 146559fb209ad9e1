"""Whose words a message holds, whatever its role claims.

Frameworks send what a tool said as a user's message, wrap it in tags, or put a summary of the conversation in its
place. Such text is a tool's. Where it cannot be told how far it goes, it goes to the end of the message.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple

from guardproxy.model import Message


class Origin(StrEnum):
    """Where a text, or a value, comes from. What is unclear counts as a tool's result."""

    USER = "user"
    SYSTEM = "system"
    RESULT = "result"
    MODEL = "model"


class Claim(NamedTuple):
    """A part of a message, and who is taken to have said it."""

    origin: Origin
    text: str


_OBSERVED: Final = re.compile(
    r"""(?imx)
    ^[ \t>*_\#-]{0,8}(?:\d{1,3}[.)][ \t]{0,4})?(?:
        observations?(?:\s*\d{1,3})? | (?:tool|function|action|search|execution|command|api|code)[\s_-]?(?:call[\s_-])?
        (?:results?|outputs?|responses?|returns?|observations?) 
        | results?\ of\ (?:the\ )?(?:tool|function|action)s?[^\n:]{0,80}
        | output\ of\ [^\n:]{1,60} | retrieved\ (?:documents?|context|passages?) | environment
        | beobachtung | observación | observacion | ergebnis\ des\ werkzeugs | résultat\ de\ l['’]outil
        | 观察 | 工具(?:结果|输出|返回) | 観察
    )(?:[ ]?\([^()\n]{0,80}\)|[ ]?\[[^\[\]\n]{0,80}\]|[ ](?:for|from|of)[ ][^\n:]{1,80})?[*_]{0,3}[ \t]{0,4}[:：=]
    | ^[ \t]{0,8}\[[ \t]{0,4}(?:tool|function|observation|command|execution|search)[\s_-]?
      (?:call\s)?(?:results?|outputs?|responses?)?
      (?:[^\[\]\n]{0,80})\]
    | the\ knowledge\ i\ get\ from\ [^\n:]{1,80}\ is\s*:
    | \b(?:tool|function)\ [`'"]?[\w.:/-]{1,80}[`'"]?\ (?:returned|responded|output|said)\b
    | here\ (?:is|are)\ the\ (?:results?|outputs?)\ (?:of|from)\ (?:the\ |your\ )?
      (?:tool|function|command|search|execution)
    """
)
_TAGGED: Final = re.compile(
    r"(?i)<[\s|｜]*(/?)\s*(?:tool[_▁-]?(?:response|result|output)s?(?:[_▁](?:begin|end))?|function[_-]?(?:result|response|output)s?"
    r"|observations?|search[_-]?results?|documents?|document[_-]?content|retrieved[_-]?\w{0,20}|web[_-]?page|web[_-]?content"
    r"|file[_-]?contents?|(?:std|local-command-std)(?:out|err)|command[_-]?output|context|email[_-]?body|mcp[_-]?\w{0,20}|page"
    r"|ipython|environment_details|untrusted\w{0,20}|external\w{0,20}|data)\b[^<>]{0,200}>"
)
_SUMMARY: Final = re.compile(
    r"""(?ix)
    \A.{0,200}?(?:
        this\ (?:session|conversation)\ is\ being\ continued\ from
        | (?:summary|recap)\ of\ (?:the\ |our\ |this\ )?(?:previous\ |earlier\ |prior\ )?
          (?:conversation|messages|chat|session|context|history|work|turns)
        | (?:previous|prior|earlier)\ conversation\ (?:has\ been\ |was\ )?(?:summary|summari[sz]ed)
        | conversation\ (?:history\ )?summary | <\s*(?:conversation[_-])?summary\b
        | context\ (?:was\ )?(?:compacted|compaction|summary)
        | the\ conversation\ (?:so\ far|history)\ (?:has\ been|was|is)\ (?:compacted|compressed|condensed|summari[sz]ed)
        | zusammenfassung\ (?:der|des)\ (?:bisherigen\ )?(?:unterhaltung|gesprächs|konversation)
        | résumé\ de\ la\ conversation | resumen\ de\ la\ conversaci[óo]n | 对话(?:摘要|总结)
    )"""
)

# In plain letters neither is there without one of these, which are found sooner.
_OBSERVED_HAS: Final = tuple(
    "observa result output respon return retrieved environment beobachtung ergebnis knowledge said [".split()
)
_SUMMARY_HAS: Final = tuple("continued summar recap conversation compact zusammenfassung resumen".split())
_SUMMARY_WITHIN: Final = 400  # characters from the beginning


def claims(message: Message, *, begun: bool = False) -> Iterator[Claim]:
    """The parts of a message by origin, without a look at other messages. Once the conversation has `begun` a system
    message is read like a user's: before, it may well explain what an observation looks like."""
    if message.result is not None:
        yield Claim(Origin.RESULT, message.result.text)
        if message.text and message.text != message.result.text:
            yield Claim(Origin.RESULT, message.text)
        return
    match message.role:
        case "user":
            yield from _parts(message.text, Origin.USER)
        case "system" | "developer":
            yield from _parts(message.text, Origin.SYSTEM) if begun else [Claim(Origin.SYSTEM, message.text)]
        case "assistant" | "model":
            yield Claim(Origin.MODEL, message.text)
        case _:
            yield Claim(Origin.RESULT, message.text)


def _parts(text: str, own: Origin) -> Iterator[Claim]:
    if _may_have(text[:_SUMMARY_WITHIN], _SUMMARY_HAS) and _SUMMARY.search(text):
        yield Claim(Origin.RESULT, text)
        return
    start, end = _foreign(text)
    parts = ((own, text[:start]), (Origin.RESULT, text[start:end]), (own, text[end:]))
    yield from (Claim(origin, part) for origin, part in parts if part.strip())


def _foreign(text: str) -> tuple[int, int]:
    """From where to where a user's message holds what a tool said. What follows a label has no end."""
    label = _OBSERVED.search(text) if _may_have(text, _OBSERVED_HAS) else None
    tags = list(_TAGGED.finditer(text))
    start = min([m.start() for m in (label, *tags[:1]) if m], default=len(text))
    if label is not None or not tags:
        return start, len(text)
    closing = sum(bool(tag[1]) for tag in tags)
    closed = closing * 2 == len(tags) and bool(tags[-1][1])
    return start, tags[-1].end() if closed else len(text)


def _may_have(text: str, marks: tuple[str, ...]) -> bool:
    if not text.isascii():
        return True
    folded = text.lower()
    return any(mark in folded for mark in marks)
