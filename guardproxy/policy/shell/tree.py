"""Syntax trees by tree-sitter, bounded.

tree-sitter recovers from any error, but hostile input makes its recovery take seconds for a few kilobytes. So: a size
limit (Linux takes no command argument above 128 KiB), a limit on open brackets, and a stop signal from the caller that
is asked while parsing.
"""

from collections.abc import Callable, Iterator
from functools import cache

import tree_sitter

MAX_SOURCE = 131_072  # bytes, MAX_ARG_STRLEN of Linux
MAX_OPEN_BRACKETS = 100

# A node of a tree that was read through a callback asks the callback for its text, a whole chunk each time.
_CHUNK = 256

Stop = Callable[[], bool]


class TooComplex(Exception):
    """The text is too large or too nested to be read in time."""


def never() -> bool:
    """The stop signal of a caller that has time."""
    return False


@cache
def _language(name: str) -> tree_sitter.Language:
    if name == "python":
        import tree_sitter_python

        return tree_sitter.Language(tree_sitter_python.language())
    import tree_sitter_bash

    return tree_sitter.Language(tree_sitter_bash.language())


def parse(language: str, source: bytes, stop: Stop) -> tree_sitter.Node:
    """The root of the tree of `source`; `language` is bash or python. Raises TooComplex."""
    if len(source) > MAX_SOURCE or _too_nested(source):
        raise TooComplex
    parser = tree_sitter.Parser(_language(language))
    if len(source) < 512:
        return parser.parse(source).root_node
    try:
        tree = parser.parse(lambda at, _: source[at : at + _CHUNK], progress_callback=lambda _at, _error: stop())
    except ValueError:
        raise TooComplex from None
    return tree.root_node


def _too_nested(source: bytes) -> bool:
    if source.count(b"(") + source.count(b"{") + source.count(b"[") <= MAX_OPEN_BRACKETS:
        return False
    depth = 0
    for byte in source:
        if byte in b"({[":
            depth += 1
            if depth > MAX_OPEN_BRACKETS:
                return True
        elif byte in b")}]" and depth:
            depth -= 1
    return False


def text_of(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def descendants(node: tree_sitter.Node, *types: str) -> Iterator[tree_sitter.Node]:
    """The nodes of the given types under `node`, itself included, in the order of the text. Iterative."""
    stack = [node]
    while stack:
        here = stack.pop()
        if here.type in types:
            yield here
        stack.extend(reversed(here.named_children))
