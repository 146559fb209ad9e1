"""What the head is trained on: the seed corpus of this folder, and rows of third-party benchmarks if there are any.

Both are turned into text by the proxy's own serialiser. Benchmark rows are read where they lie and never stored here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guardproxy.classifier.serialise import serialise_call
from guardproxy.model import CallKey, CallKind, Request, ToolCall, ToolSpec
from training.classifier.samples import SOURCES, Source

SEED = Path(__file__).parent.parent / "corpus" / "seed.tsv"


@dataclass(frozen=True, slots=True)
class Example:
    source: str
    family: str
    text: str
    harmful: bool

    @property
    def key(self) -> str:
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()


def read_examples(folder: Path | None) -> list[Example]:
    """The seed corpus, then every usable row of the allowed sources in `folder`, in a stable order, without repeats.

    Beside benchmarks the corpus is one family; alone it is left out theme by theme (shell, mail, money...).
    """
    examples = [*_seed(one_family=folder is not None), *(_benchmarks(folder) if folder is not None else ())]
    return list({(e.source, e.harmful, e.key): e for e in examples}.values())


def _seed(*, one_family: bool) -> Iterator[Example]:
    for line in SEED.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            label, theme, tool, arguments = line.split("\t")
            json.loads(arguments)
            yield Example("seed", "seed" if one_family else theme, _serialise(tool, arguments, ()), label != "benign")


def _benchmarks(folder: Path) -> Iterator[Example]:
    for source in SOURCES:
        path = folder / f"{source.name}.jsonl"
        if path.exists():
            with path.open(encoding="utf-8") as lines:
                rows = map(json.loads, lines)
                yield from (_example(row, source) for row in rows if _usable(row))


def _usable(row: Mapping[str, Any]) -> bool:
    """Read-only steps of an attack look innocent by themselves, and are."""
    return row["kind"] == "tool_call" and "aux_read_step" not in (row["note"] or "")


def _example(row: Mapping[str, Any], source: Source) -> Example:
    call = row["tool_call"]
    text = _serialise(call["name"], json.dumps(call["arguments"]), tuple(_tools(row["tools"] or [])))
    return Example(source.name, source.family, text, row["label"] == "harmful")


def _tools(tools: list[dict[str, Any]]) -> Iterator[ToolSpec]:
    for tool in tools:
        function = tool["function"]
        yield ToolSpec(CallKind.FUNCTION, function["name"], function.get("description", ""), None)


def _serialise(tool: str, arguments: str, tools: tuple[ToolSpec, ...]) -> str:
    call = ToolCall(CallKey(0, 0), CallKind.FUNCTION, "", tool, arguments)
    return serialise_call(call, Request("chat_completions", "", False, {}, (), tools)).text
