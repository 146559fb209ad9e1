"""Writes a base text the way a tool returns it: as it is, in JSON, in Python's notation, as a table."""

import csv
import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Writer = Callable[[Any], str]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_ascii(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json_indented(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _envelope(value: Any) -> str:
    return json.dumps({"status": "success", "data": value}, ensure_ascii=False, indent=4)


def _outline(value: Any, depth: int = 0) -> str:
    """Like YAML, as tools write it that make no promise about it."""
    indent = "  " * depth
    if isinstance(value, dict):
        return "\n".join(f"{indent}{key}: {_leaf(item, depth)}" for key, item in value.items())
    if isinstance(value, list):
        return "\n".join(f"{indent}- {_leaf(item, depth).lstrip()}" for item in value)
    return f"{indent}{value}"


def _leaf(item: Any, depth: int) -> str:
    return f"\n{_outline(item, depth + 1)}" if isinstance(item, dict | list) and item else str(item)


def _mcp(text: Any) -> str:
    return json.dumps([{"type": "text", "text": text}], ensure_ascii=False)


TREE_WRITERS: Mapping[str, Writer] = {
    "json": _json,
    "json-compact": _json_ascii,
    "json-indented": _json_indented,
    "envelope": _envelope,
    "python": repr,
    "outline": _outline,
}
TEXT_WRITERS: Mapping[str, Writer] = {
    "content": lambda text: _json({"content": text}),
    "result": lambda text: _json_indented({"success": True, "result": text}),
    "python": lambda text: repr({"output": text, "error": None}),
    "mcp": _mcp,
    "tags": lambda text: f"<document>\n{text}\n</document>",
    "lead": lambda text: f"Result:\n{text}",
}


def write_tree(rng: random.Random, value: Any) -> tuple[Writer, str]:
    name = rng.choice(("json", "json-indented", "python", *TREE_WRITERS))
    return TREE_WRITERS[name], name


def write_text(rng: random.Random) -> tuple[Writer, str]:
    if rng.random() < 0.6:
        return str, "text"
    name = rng.choice(tuple(TEXT_WRITERS))
    return TEXT_WRITERS[name], name


def write_table(rng: random.Random) -> tuple[Writer, str]:
    name = rng.choice(("csv", "markdown", "columns", "tuples", "json"))
    write = {"csv": _csv, "markdown": _markdown, "columns": _columns, "tuples": _tuples, "json": _json}[name]
    return lambda table: _with_extra(write(table["rows"]), table["extra"]), name


def _with_extra(text: str, extra: Sequence[tuple[float, str]]) -> str:
    """With the lines that stand beside the table."""
    body = text.split("\n")
    for share, line in extra:
        at = round(share * len(body))
        body[at:at] = [line]
    return "\n".join(body)


def _cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[str(row.get(name, "")) for name in names] for row in rows]


def _csv(rows: Any) -> str:
    names, cells = _cells(rows)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([names, *cells])
    return out.getvalue().rstrip("\n")


def _markdown(rows: Any) -> str:
    names, cells = _cells(rows)
    flat = [[cell.replace("\n", "<br>") for cell in row] for row in cells]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *flat])


def _columns(rows: Any) -> str:
    """As psql prints it."""
    names, cells = _cells(rows)
    widths = [max(len(row[index]) for row in [names, *cells]) for index in range(len(names))]
    body = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [names, *cells]]
    return "\n".join([body[0], "-+-".join("-" * width for width in widths), *body[1:], f"({len(cells)} rows)"])


def _tuples(rows: Any) -> str:
    return repr([tuple(row.values()) for row in rows])
