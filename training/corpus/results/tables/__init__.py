"""The hand-written tables of the corpus, read once."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def table(name: str) -> Any:
    return yaml.load((HERE / f"{name}.yaml").read_text(encoding="utf-8"), Loader=LOADER)


@cache
def pools() -> Mapping[str, Sequence[str]]:
    return {name: _values(text) for name, text in table("pools").items()}


@cache
def errands() -> Mapping[str, Sequence[str]]:
    return {area: tuple(text.splitlines()) for area, text in table("errands").items()}


@cache
def calls() -> Sequence[str]:
    return tuple(table("calls")["calls"].splitlines())


@cache
def scenes() -> Sequence[Mapping[str, Any]]:
    """Every base text, in the order of the files."""
    return tuple(scene for path in sorted((HERE / "scenes").glob("*.yaml")) for scene in table(f"scenes/{path.stem}"))


@cache
def tools() -> Mapping[str, Sequence[str]]:
    return {domain: text.split("; ") for domain, text in table("tools").items()}


def _values(text: str) -> Sequence[str]:
    return tuple(line for line in (text.splitlines() if "\n" in text.strip() else text.strip().split("; ")) if line)
