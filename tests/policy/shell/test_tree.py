import subprocess
import sys

import pytest

from guardproxy.policy.shell.tree import TooComplex, never, parse, text_of

LONG = b'for f in *.txt; do cat "$f" | sort -u > out/$f; done\n' * 20  # long enough to be read with a stop signal


@pytest.mark.parametrize("source", [b"echo a b", LONG])
def test_nodes_have_their_text(source: bytes) -> None:
    root = parse("bash", source, never)
    assert text_of(root.children[0]) == source.decode().splitlines()[0]


def test_characters_beyond_the_c_library_s_tables_do_not_end_the_process() -> None:
    """They did in one process of two, by where its memory lay."""
    program = """
import random
from guardproxy.policy.shell.tree import never, parse
draw = random.Random(1)
marks = " ${}()'|&;<>#=[]*?ab1_-"
for _ in range(2000):
    pieces = [draw.choice([chr(draw.randint(0x10000, 0x10FFFF)), draw.choice(marks)]) for _ in range(40)]
    parse("bash", "".join(pieces).encode(), never)
"""
    for _ in range(4):
        assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_they_stay_part_of_a_word() -> None:
    root = parse("bash", "cat ~/\U0001f4c1/.ssh/id_rsa".encode(), never)
    assert [text_of(word) for word in root.children[0].children] == ["cat", "~/\u00ff\u00ff/.ssh/id_rsa"]


def test_a_stop_signal_ends_it() -> None:
    with pytest.raises(TooComplex):
        parse("bash", LONG * 50, lambda: True)


def test_a_stack_that_is_full_does_not_end_the_process() -> None:
    """A text that is asked for where no Python call is possible any more."""
    program = f"""
from guardproxy.policy.shell.tree import never, parse, text_of
node = parse("bash", {LONG!r}, never).children[3]
def deep(n):
    return deep(n - 1) if n else text_of(node)
for n in range(900, 1000):
    try:
        deep(n)
    except RecursionError:
        pass
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
