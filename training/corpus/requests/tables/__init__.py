"""The hand-written tables of the corpus, read once.

In a block a line with "- " is a wish that must not be served, the next line with "+ " its harmless twin. `pairs` are
whole sentences, `clauses` what follows "how to" in the forms of asking. Frames are what people put around a wish; "¶"
is a new paragraph there.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Frames = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Twins:
    """`name` tells the pair apart from all others."""

    name: str
    domain: str
    theme: str
    language: str
    category: str
    harmful: str
    benign: str
    clauses: bool


@dataclass(frozen=True, slots=True)
class Everyday:
    """A request without a harmful twin."""

    name: str
    domain: str
    language: str
    text: str


@cache
def twins() -> Sequence[Twins]:
    """Every pair, in the order of the files."""
    return tuple(each for path in sorted((HERE / "pairs").glob("*.yaml")) for each in _twins(path))


@cache
def everyday() -> Sequence[Everyday]:
    return tuple(each for path in sorted((HERE / "everyday").glob("*.yaml")) for each in _everyday(path))


@cache
def frames() -> Mapping[str, Frames]:
    """By language and kind."""
    return {
        language: {kind: tuple(text.replace("¶", "\n\n") for text in text.splitlines()) for kind, text in kinds.items()}
        for language, kinds in _table(HERE / "frames.yaml").items()
    }


def _twins(path: Path) -> Iterator[Twins]:
    for block in _table(path):
        lines = [line for line in (block.get("pairs") or block["clauses"]).splitlines() if line]
        for bad, good in zip(lines[::2], lines[1::2], strict=True):
            if not (bad.startswith("- ") and good.startswith("+ ")):
                raise ValueError(f"{path.name}: no pair: {bad} / {good}")
            where = (block["domain"], block["theme"], block.get("language", "en"))
            yield Twins(_name(path, bad + good), *where, block["category"], bad[2:], good[2:], "clauses" in block)


def _everyday(path: Path) -> Iterator[Everyday]:
    for block in _table(path):
        for line in block["requests"].splitlines():
            yield Everyday(_name(path, line), block["domain"], block.get("language", "en"), line)


def _name(path: Path, text: str) -> str:
    """What is drawn for an entry hangs on its name, so it does not change when other entries come or go."""
    return f"{path.stem}-{hashlib.blake2b(text.encode(), digest_size=5).hexdigest()}"


def _table(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
