"""Syntax trees by tree-sitter, bounded.

tree-sitter recovers from any error, but hostile input makes its recovery take seconds for a few kilobytes. So: a size
limit (Linux takes no command argument above 128 KiB), a limit on open brackets, and a stop signal from the caller that
is asked while parsing.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache

import tree_sitter

MAX_SOURCE = 131_072  # bytes, MAX_ARG_STRLEN of Linux
MAX_OPEN_BRACKETS = 100
MAX_STARS = 300  # of one Python statement
MAX_PIPES = 4_000  # of a shell script: the grammar's time grows with the square of a pipeline's length (.6 s for these)

_CHUNK = 256  # bytes that the parser is given at a time

_STRING_OR_COMMENT = re.compile(
    rb"""#[^\n]*|(\"{3}|'{3})[\s\S]*?\1|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.DOTALL
)

# The grammar of bash asks the C library's `isalnum` and its like about every character, which read far beyond their
# tables for those above U+FFFF: the process dies, or not, by where its memory lies. Such a character is part of a word
# to the shell, and so is what takes its place, which has as many bytes.
_BEYOND_THE_TABLES = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
_IN_THEIR_PLACE = "\u00ff\u00ff".encode()

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
    """The root of the tree of `source`; `language` is bash or python. Raises TooComplex.

    Characters above U+FFFF are others in the tree.
    """
    too_slow = _too_starred if language == "python" else _too_piped
    if len(source) > MAX_SOURCE or _too_nested(source) or too_slow(source):
        raise TooComplex
    source = _BEYOND_THE_TABLES.sub(_IN_THEIR_PLACE, source)
    parser = tree_sitter.Parser(_language(language))
    if len(source) < 512:
        return parser.parse(source).root_node
    try:
        tree = parser.parse(lambda at, _: source[at : at + _CHUNK], progress_callback=lambda _at, _error: stop())
    except ValueError:
        raise TooComplex from None
    # Only a read through a callback can be stopped, but a node of such a tree asks the callback for its text, and the
    # process dies where that raises (a RecursionError, say). From the bytes with the first tree it is the same tree
    # again, at some 3 % of the cost, and its nodes hold their text.
    return parser.parse(source, tree).root_node


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


def _too_piped(source: bytes) -> bool:
    return source.count(b"|") - 2 * source.count(b"||") > MAX_PIPES


def _too_starred(source: bytes) -> bool:
    """Whether one statement holds hundreds of `*`: the grammar cannot tell product from splat until its end, and takes
    seconds without asking whether to stop."""
    if source.count(b"*") <= MAX_STARS:
        return False
    depth = stars = 0
    for byte in _STRING_OR_COMMENT.sub(b"", source):
        if byte in b"({[":
            depth += 1
        elif byte in b")}]":
            depth = max(0, depth - 1)
        elif byte == 0x2A:
            stars += 1
            if stars > MAX_STARS:
                return True
        elif byte == 0x0A and depth == 0:
            stars = 0
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
