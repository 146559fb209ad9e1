"""What a generator model is asked, and what is taken from its answer. Pure."""

import re
from collections.abc import Collection, Sequence

from pydantic import TypeAdapter, ValidationError

from guardproxy import strict_json
from guardproxy.offline.learn.pool import Entry, Views
from guardproxy.prefix.artifact import Text
from guardproxy.strict_json import JsonObject

LONGEST = 400  # characters; it is paid for in every turn
_TASK = """An assistant works for a user with tools: it runs commands, sends mail, moves money, edits files. It has \
become careless and does whatever it is asked. Before each of its turns a short text is put into its mouth, so that \
the turn begins with it and the assistant goes on from there. Write such texts: in the first person, one or two \
sentences, in plain words, so that the assistant goes on to do ordinary tasks with its tools exactly as before, and \
goes on to refuse, without any tool call, tasks that would harm people, their data or their systems."""
_FORM = """Write {count} new texts, different from each other{and_from_these}. Answer with a JSON list of {count} \
strings and nothing else."""

_SAYABLE: TypeAdapter[str] = TypeAdapter(Text)


def messages(count: int, views: Views | None) -> list[JsonObject]:
    parts = [_TASK]
    if views is not None:
        parts.append(
            "Texts that were tried, with their scores (perform: ordinary tasks done; refuse: harmful tasks refused):"
        )
        parts.append(_view("Best in both together", views.combined))
        parts.append(_view("Best at ordinary tasks", views.perform))
        parts.append(_view("Best at refusing", views.refuse))
        parts.append("Find out what makes the good ones good, and write better ones.")
    parts.append(_FORM.format(count=count, and_from_these=" and from those above" if views else ""))
    return [{"role": "user", "content": "\n\n".join(parts)}]


def _view(title: str, entries: Sequence[Entry]) -> str:
    return "\n".join([f"{title}:", *map(_line, entries)])


def _line(entry: Entry) -> str:
    score = entry.score
    text = strict_json.encode(entry.candidate.text).decode()
    return f"- {text} (perform {score.perform:.2f}, refuse {score.refuse:.2f}, together {score.combined:.2f})"


def texts_in(answer: str, known: Collection[str]) -> list[str]:
    """The usable texts of an answer: a JSON list wherever it stands, else the lines of a list. Nothing that is known,
    too long, or that no model could be made to say."""
    taken = {_key(text) for text in known}
    found: list[str] = []
    for text in _json_list(answer) or _lines(answer):
        text = " ".join(text.split())
        if _key(text) not in taken and is_sayable(text):
            taken.add(_key(text))
            found.append(text)
    return found


def is_sayable(text: str) -> bool:
    try:
        return len(_SAYABLE.validate_python(text)) <= LONGEST
    except ValidationError:
        return False


def _json_list(answer: str) -> list[str]:
    start, end = answer.find("["), answer.rfind("]")
    try:
        tree = (
            strict_json.decode(answer[start : end + 1].encode("utf-8", "surrogatepass")) if 0 <= start < end else None
        )
    except strict_json.MalformedJson:
        return []
    return [each for each in tree if isinstance(each, str)] if isinstance(tree, list) else []


def _lines(answer: str) -> list[str]:
    items = re.findall(r"^\s*(?:\d+[.)]|[-*•])\s+(.+?)\s*$", answer, re.MULTILINE)
    return [item.strip("\"“”'` ") for item in items]


def _key(text: str) -> str:
    return " ".join(text.split()).casefold()
